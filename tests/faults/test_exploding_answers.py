"""Answers made to exhaust a worker: it stays small, goes on with the runs of others, and ends the run that asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import environment
from tests.support.client import RunClient, prompt
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.hostile_server import ATTACKS, running_hostile_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer

MAX_WORKER_BYTES = 400 << 20
END_SECONDS = 240.0
TOO_LARGE = "model_answer_too_large"
PROTOCOL = "model_protocol_error"

REASONS = {
    "gzip": {PROTOCOL},
    "gzip_twice": {PROTOCOL},
    "deflate": {PROTOCOL},
    "br": {PROTOCOL},
    "zstd": {PROTOCOL},
    # What breaks the rules of HTTP itself is not read any further, however little it is.
    "chunks_longer_than_their_size": {"model_connection_lost"},
    "endless_chunk_extension": {"model_connection_lost"},
    "endless_trailers": {"model_connection_lost"},
}
"""Of attacks that do not end as too large."""

OTHER_WIRES = ("openai-responses", "anthropic", "google")
SOME = ("gzip_twice", "endless_line", "endless_comments", "endless_event", "endless_error", "many_values")


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    with running_hostile_server() as url:
        yield url


@pytest.fixture(scope="module")
def attacked(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[GunicornServer]:
    """One worker, in memory that is its own. It counts events and pieces less far, which takes minutes otherwise."""
    settings = environment(redis_server.url, daemon.url, redis_prefix="exploding", allow_private_urls=True)
    with running_server(settings, app="tests.support.impatient_app:app", cold=True) as server:
        client = RunClient(server.url)
        assert client.finish(client.create(prompt()))["type"] == "run_succeeded"
        yield server


@pytest.mark.parametrize(
    ("wire", "attack"),
    [*(("openai", attack) for attack in ATTACKS), *((wire, attack) for wire in OTHER_WIRES for attack in SOME)],
)
def test_a_models_answer_cannot_exhaust_a_worker(
    attacked: GunicornServer, hostile: str, wire: str, attack: str
) -> None:
    model = {"model": f"{wire}:model", "base_url": f"{hostile}/{attack}/v1"}

    with watched(attacked):
        end = ended(attacked, {"name": "llm", "type": "greenrun.llm", "config": model})

    assert end["type"] == "run_failed"
    assert end["data"]["reason"] in REASONS.get(attack, {TOO_LARGE}), end


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_mcp_servers_answer_cannot_exhaust_a_worker(attacked: GunicornServer, hostile: str, attack: str) -> None:
    config = {"url": f"{hostile}/{attack}/mcp", "connect_timeout_seconds": 30}

    with watched(attacked):
        end = ended(attacked, {"name": "tools", "type": "greenrun.mcp", "config": config})

    assert end["type"] == "run_failed"
    assert "is not available" in end["data"]["error"], end


def ended(server: GunicornServer, layer: dict[str, Any]) -> dict[str, Any]:
    """How a run with the layer ended."""
    client = RunClient(server.url)
    run_id = client.create(prompt(), layer)
    deadline = time.monotonic() + END_SECONDS
    while client.status(run_id)["status"] == "running":
        assert time.monotonic() < deadline, "the run does not end"
        time.sleep(0.05)
    return dict(client.page(run_id)["events"][-1])


@contextmanager
def watched(server: GunicornServer) -> Iterator[None]:
    """Runs of others go on meanwhile, one after another, and the worker's memory stays small."""
    [worker] = server.workers()
    Path(f"/proc/{worker}/clear_refs").write_text("5")  # the peak counts from here
    others = Others(server)
    others.start()
    try:
        yield
    finally:
        others.stop.set()
        others.join(END_SECONDS)
    assert others.failures == []
    assert others.successes > 0
    assert server.workers() == [worker]
    assert peak_bytes(worker) < MAX_WORKER_BYTES


class Others(threading.Thread):
    """Short runs of another caller."""

    def __init__(self, server: GunicornServer) -> None:
        super().__init__()
        self.stop = threading.Event()
        self.successes = 0
        self.failures: list[object] = []
        self._client = RunClient(server.url)

    def run(self) -> None:
        while not self.stop.is_set() or not self.successes:
            try:
                end = self._client.finish(self._client.create(prompt()))
            except Exception as error:
                self.failures.append(error)
                return
            if end["type"] != "run_succeeded":
                self.failures.append(end)
            self.successes += 1


def peak_bytes(process: int) -> int:
    """The most memory that a process has had resident."""
    status = Path(f"/proc/{process}/status").read_text()
    [peak] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peak.split()[1]) << 10
