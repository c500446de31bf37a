"""The two servers that are compared: ours with one worker, and the yardstick. Each has its own Redis."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from redis import Redis

from benchmarks import yardstick
from benchmarks.support.measure import RedisWork, cpu_seconds, resident_bytes
from dev.processes import kill_session, log_tail, start_process
from dev.stop_signals import wait_until
from tests.support.gunicorn_server import CHECKOUT, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.ports import listen_on
from tests.support.redis_server import running_redis

DAEMON_KEY = "daemon-key"
MERGING_VARIABLE = "DIFY_AGENT_DELTA_MERGING"
OURS_PREFIX = "greenrun-bench"
START_SECONDS = 30.0
END_SECONDS = 120.0
POLL_SECONDS = 0.01
MGET_AT_ONCE = 500


@dataclass(frozen=True)
class Subject:
    """A server under test. ``pid`` is that of its one serving process."""

    name: str
    url: str
    pid: int
    redis: Redis
    prefix: str

    def cpu(self) -> float:
        return cpu_seconds(self.pid)

    def memory(self) -> int:
        return resident_bytes(self.pid)

    def redis_work(self) -> RedisWork:
        return RedisWork.of(self.redis)

    def create(self, layers: list[dict[str, Any]]) -> str:
        """Posts a run and returns its id."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(f"{self.url}/runs", json={"composition": {"layers": layers}}, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["run_id"])

    def wait_until_ended(self, run_ids: Sequence[str]) -> None:
        """Waits until all these runs have succeeded according to Redis: the server is not asked.

        Raises RuntimeError when one failed or they took too long.
        """
        deadline = time.monotonic() + END_SECONDS
        waiting = list(run_ids)
        while waiting:
            asked, rest = waiting[:MGET_AT_ONCE], waiting[MGET_AT_ONCE:]
            raw: Any = self.redis.mget([f"{self.prefix}:runs:{run_id}:record" for run_id in asked])
            statuses = [json.loads(record)["status"] for record in raw]
            if any(status not in ("running", "succeeded") for status in statuses):
                raise RuntimeError(f"{self.name}: a run ended as {sorted(set(statuses))}")
            running = [one for one, status in zip(asked, statuses, strict=True) if status == "running"]
            if len(running) == len(asked):
                time.sleep(POLL_SECONDS)
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: runs did not end in {END_SECONDS:g} s")
            waiting = running + rest


@contextmanager
def both_servers(daemon: ScriptedDaemon) -> Iterator[tuple[Subject, Subject]]:
    """Runs our server and the yardstick, both warmed up."""
    with ExitStack() as stack:
        subjects = (stack.enter_context(our_server(daemon)), stack.enter_context(yardstick_server(daemon)))
        for subject in subjects:
            subject.wait_until_ended([subject.create(tiny_layers()) for _ in range(5)])
        yield subjects


@contextmanager
def our_server(daemon: ScriptedDaemon) -> Iterator[Subject]:
    """Runs one gunicorn worker with production settings, but with room for the load."""
    with running_redis() as redis:
        env = {
            "DIFY_AGENT_REDIS_URL": redis.url,
            "DIFY_AGENT_REDIS_PREFIX": OURS_PREFIX,
            "DIFY_AGENT_PLUGIN_DAEMON_URL": daemon.url,
            "DIFY_AGENT_PLUGIN_DAEMON_API_KEY": DAEMON_KEY,
            "DIFY_AGENT_PLUGIN_DAEMON_MAX_CONNECTIONS": "1000",
            MERGING_VARIABLE: delta_merging(),
        }
        with running_server(env, cold=True) as server:
            yield Subject("ours", server.url, server.workers()[0], redis.client(), OURS_PREFIX)


@contextmanager
def yardstick_server(daemon: ScriptedDaemon) -> Iterator[Subject]:
    """Runs the yardstick in its own process."""
    with running_redis() as redis, listen_on(0) as listener:
        log_path = redis.folder / "yardstick.log"
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "benchmarks.yardstick", "--fd", str(listener.fileno())]
        command += ["--redis-url", redis.url, "--daemon-url", daemon.url, "--daemon-key", DAEMON_KEY]
        with log_path.open("wb") as log:
            process = start_process(command, output=log, cwd=CHECKOUT, keep_fds=(listener.fileno(),))
        try:
            if not wait_until(lambda: process.poll() is not None or _answers(url), START_SECONDS):
                raise RuntimeError(f"the yardstick does not start:\n{log_tail(log_path)}")
            yield Subject("yardstick", url, process.pid, redis.client(), yardstick.PREFIX)
        except Exception as error:
            error.add_note(f"What the yardstick wrote:\n{log_tail(log_path)}")
            raise
        finally:
            kill_session(process)


def wait_for_models(daemon: ScriptedDaemon, calls: int) -> None:
    """Waits until the daemon has ``calls`` open calls. Raises RuntimeError when that takes too long."""
    if not wait_until(lambda: daemon.stats()["open"] >= calls, START_SECONDS):
        raise RuntimeError(f"only {daemon.stats()['open']} calls of models instead of {calls}")


def delta_merging() -> str:
    """Returns the mode of delta merging of our server: the environment variable, or the default."""
    return os.environ.get(MERGING_VARIABLE, "adaptive")


def tiny_layers() -> list[dict[str, Any]]:
    """Returns a run whose model answers with one word, without a network."""
    prompt = {"name": "prompt", "type": "plain.prompt", "config": {"user": "Hello"}}
    return [prompt, {"name": "llm", "type": "greenrun.demo_llm", "config": {"answer": "ok"}}]


def machine() -> str:
    """Returns one line about the machine, for the head of a table."""
    with Path("/proc/cpuinfo").open() as info:
        model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), "unknown CPU")
    version = ".".join(map(str, sys.version_info[:3]))
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, {model}, Python {version}, load {load:.1f}, delta merging {delta_merging()}"


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/runs/none", timeout=5, proxies={"http": ""}).status_code == 404
    except requests.RequestException:
        return False
