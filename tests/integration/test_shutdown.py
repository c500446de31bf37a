"""Graceful shutdown: accepted runs are ended, never lost, and the process exits on time."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.conftest import StartServer
from tests.support.client import RunClient, demo_llm, plugin_layers, prompt, wait_until
from tests.support.plugin_daemon import ScriptedDaemon

EXIT_MARGIN_SECONDS = 4.0

Settings = dict[str, str | int | float]


def test_an_active_run_and_its_stream_continue_within_the_grace(start_server: StartServer) -> None:
    server = start_server(redis_prefix="grace", shutdown_grace_seconds=20)
    client = RunClient(server.url)
    run_id = client.create(prompt(), demo_llm(answer="word " * 20, delay_ms=100))
    stream = client.stream(run_id)
    first = next(stream)

    begun = time.monotonic()
    code = server.stop(signal.SIGTERM)
    frames = [first, *stream]

    assert code == 0
    assert frames[-1].event == "run_succeeded"
    assert time.monotonic() - begun < 15


def test_a_run_that_nobody_watches_is_finished_before_the_exit(start_server: StartServer) -> None:
    settings: Settings = {"redis_prefix": "unwatched", "shutdown_grace_seconds": 20}
    server = start_server(settings)
    run_id = RunClient(server.url).create(prompt(), demo_llm(answer="word " * 20, delay_ms=100))

    assert server.stop(signal.SIGTERM) == 0

    after = RunClient(start_server(settings).url)
    assert after.status(run_id)["status"] == "succeeded"
    assert after.finish(run_id)["type"] == "run_succeeded"


@pytest.mark.parametrize("watched", [True, False])
def test_a_run_that_outlasts_the_grace_fails_with_reason_shutdown(
    start_server: StartServer, daemon: ScriptedDaemon, watched: bool
) -> None:
    daemon.script("outlasts", [{"text": "begun"}, {"hang": True}])
    settings: Settings = {"redis_prefix": f"outlast-{watched}", "shutdown_grace_seconds": 1.5}
    server = start_server(settings)
    client = RunClient(server.url)
    run_id = client.create(prompt(), *plugin_layers("outlasts"))
    daemon.wait_for_call("outlasts")
    stream = client.stream(run_id) if watched else iter(())
    first = next(stream, None)

    begun = time.monotonic()
    with ThreadPoolExecutor(1) as reader:
        rest = reader.submit(list, stream)
        code = server.stop(signal.SIGTERM)

    assert code == 0
    assert time.monotonic() - begun < 1.5 + EXIT_MARGIN_SECONDS
    assert daemon.wait_until_ended("outlasts")["closed_by_client"]
    after = RunClient(start_server(settings).url)
    terminal = after.finish(run_id)
    assert terminal["data"] == {"error": "run cancelled during server shutdown", "reason": "shutdown"}
    assert after.status(run_id)["status"] == "failed"
    if watched:
        assert first is not None
        assert rest.result()[-1].data == terminal


def test_new_runs_are_refused_while_the_server_drains(start_server: StartServer) -> None:
    server = start_server(redis_prefix="refused", shutdown_grace_seconds=20)
    client = RunClient(server.url)
    run_id = client.create(prompt(), demo_llm(answer="word " * 80, delay_ms=100))
    body = json.dumps({"composition": {"layers": [prompt()]}}).encode()
    head = f"POST /runs HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"

    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=30) as late:
        late.sendall(head.encode() + body[:10])
        wait_until(lambda: client.session.get(f"{client.url}/ready", timeout=10).status_code == 200)
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining: " in server.log)
        late.sendall(body[10:])
        response = http.client.HTTPResponse(late)
        response.begin()
        answer = json.loads(response.read())

    assert response.status == 503
    assert answer["detail"] == "run scheduler is shutting down"
    assert answer["code"] == "shutting_down"
    assert server.wait() == 0
    after = RunClient(start_server(redis_prefix="refused").url)
    assert after.status(run_id)["status"] == "succeeded"


def test_an_idle_server_exits_at_once(start_server: StartServer) -> None:
    server = start_server(redis_prefix="idle", shutdown_grace_seconds=60, workers=2, cold=True)

    begun = time.monotonic()

    assert server.stop(signal.SIGTERM) == 0
    assert time.monotonic() - begun < 10


def test_a_quick_shutdown_ends_runs_without_a_grace(start_server: StartServer, daemon: ScriptedDaemon) -> None:
    daemon.script("quick", [{"hang": True}])
    settings: Settings = {"redis_prefix": "quick", "shutdown_grace_seconds": 60}
    server = start_server(settings)
    run_id = RunClient(server.url).create(prompt(), *plugin_layers("quick"))
    daemon.wait_for_call("quick")

    begun = time.monotonic()
    server.stop(signal.SIGINT)

    assert time.monotonic() - begun < 15
    assert RunClient(start_server(settings).url).finish(run_id)["data"]["reason"] == "shutdown"


def test_a_reader_of_another_servers_run_is_asked_to_reconnect(start_server: StartServer) -> None:
    settings: Settings = {"redis_prefix": "viewer", "shutdown_grace_seconds": 1}
    executing, viewing = start_server(settings), start_server(settings)
    run_id = RunClient(executing.url).create(prompt(), demo_llm(answer="word " * 100, delay_ms=100))
    response = RunClient(viewing.url).session.get(f"{viewing.url}/runs/{run_id}/events/sse", stream=True, timeout=30)
    chunks = response.iter_content(None)
    received = next(chunks)

    with ThreadPoolExecutor(1) as reader:
        rest = reader.submit(b"".join, chunks)
        assert viewing.stop(signal.SIGTERM) == 0
        received += rest.result()

    assert received.endswith(b"retry: 500\n\n")
    assert b"run_succeeded" not in received
    RunClient(executing.url).cancel(run_id)


def test_a_reader_that_takes_nothing_does_not_hold_up_the_exit(
    start_server: StartServer, daemon: ScriptedDaemon
) -> None:
    daemon.script("flood", [{"stream": {"chunks": 2000, "rate": 0, "text": "x" * 10_000}}, {"finish": "stop"}])
    server = start_server(redis_prefix="stuck", shutdown_grace_seconds=1)
    client = RunClient(server.url)
    run_id = client.create(prompt(), *plugin_layers("flood"))
    client.finish(run_id)
    response = client.session.get(f"{client.url}/runs/{run_id}/events/sse?after=1-1", stream=True, timeout=30)
    stuck = response.iter_content(1)
    next(stuck)

    begun = time.monotonic()
    code = server.stop(signal.SIGTERM)

    assert code == 0
    assert time.monotonic() - begun < 1 + EXIT_MARGIN_SECONDS + 3
    response.close()


def test_a_reload_lets_runs_finish_on_the_old_worker(start_server: StartServer) -> None:
    server = start_server(redis_prefix="reload", shutdown_grace_seconds=20, cold=True)
    client = RunClient(server.url)
    run_id = client.create(prompt(), demo_llm(answer="word " * 20, delay_ms=100))
    old = server.workers()

    server.send_signal(signal.SIGHUP)

    assert RunClient(server.url).finish(run_id)["type"] == "run_succeeded"
    wait_until(lambda: server.workers() and not set(old) & set(server.workers()))
    assert RunClient(server.url).finish(RunClient(server.url).create(prompt()))["type"] == "run_succeeded"


def test_settings_that_cannot_work_stop_the_start(start_server: StartServer) -> None:
    with pytest.raises(Exception, match="shutdown_grace_seconds"):
        start_server(shutdown_grace_seconds=-1, cold=True)
    with pytest.raises(Exception, match="default model"):
        start_server(default_llm='{"type": "plain.prompt"}', cold=True)
    with pytest.raises(Exception, match="names no token"):
        start_server(api_token=" , ", cold=True)
    with pytest.raises(Exception, match="default_llm"):
        start_server(default_llm="{", cold=True)
