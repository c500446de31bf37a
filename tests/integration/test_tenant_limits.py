"""Limits of a tenant: each counts exactly, is told by its name, leaves others alone, and is free again afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import StartServer
from tests.support.chat_client import ChatClient
from tests.support.client import RunClient, plugin_layers, prompt, wait_until
from tests.support.feed_client import FeedClient
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.session_client import says
from tests.support.socket_client import UPGRADE, SocketClient, events_path
from tests.support.tenants import Tenant, limited_server, refused

HANGS: list[dict[str, Any]] = [{"hang": True}]
AT_ONCE = 12


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def becomes_free(ask: Callable[[], requests.Response]) -> requests.Response:
    """A place is free a moment after the end of what had it is seen."""
    answers: list[requests.Response] = []

    def is_free() -> bool:
        answers.append(ask())
        return answers[-1].status_code < 400

    wait_until(is_free)
    return answers[-1]


def test_a_tenant_executes_no_more_runs_than_it_may_and_others_begin_at_once(
    start_server: StartServer, tmp_path: Path, daemon: ScriptedDaemon, model: str
) -> None:
    server = limited_server(start_server, tmp_path, "tenant-active", max_tenant_active_runs=2)
    daemon.script(model, [{"wait": model}, *says("done")])
    daemon.script(f"{model}-b", says("done"))
    one, other = Tenant(server.url), Tenant(server.url)

    runs = [one.start_run(model) for _ in range(6)]
    daemon.wait_for_call(model, count=2)
    assert other.finish(other.start_run(f"{model}-b"))["type"] == "run_succeeded"
    without_tenant = RunClient(server.url)
    free = [without_tenant.create(prompt(), *plugin_layers(f"{model}-b")) for _ in range(4)]
    assert {without_tenant.finish(run_id)["type"] for run_id in free} == {"run_succeeded"}

    assert len(daemon.calls(model)) == 2
    assert one.runs().cancel(runs[0]).status_code == 200
    daemon.wait_for_call(model, count=3)
    daemon.release(model)
    assert {one.finish(run_id)["type"] for run_id in runs[1:]} == {"run_succeeded"}


def test_of_runs_that_come_at_once_just_as_many_wait_as_the_tenant_may_have_wait(
    start_server: StartServer, tmp_path: Path, daemon: ScriptedDaemon, model: str
) -> None:
    limits = {"max_tenant_active_runs": 1, "max_tenant_waiting_runs": 3}
    server = limited_server(start_server, tmp_path, "tenant-waiting", **limits)
    daemon.script(model, HANGS)
    one, other = Tenant(server.url), Tenant(server.url)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda _: one.post_run(model), range(2 * AT_ONCE)))

    runs = [answer.json()["run_id"] for answer in answers if answer.status_code == 202]
    assert len(runs) == 1 + 3
    for answer in answers:
        if answer.status_code != 202:
            refused(answer, "3 waiting runs")
    other.start_run(model)
    daemon.wait_for_call(model, count=2)
    one.runs().cancel(runs[-1])
    runs.append(becomes_free(lambda: one.post_run(model)).json()["run_id"])
    one.refused_run(model, "3 waiting runs")


def test_a_tenant_whose_runs_may_not_wait_is_told_how_many_it_executes(
    start_server: StartServer, tmp_path: Path, daemon: ScriptedDaemon, model: str
) -> None:
    limits = {"max_active_runs": 3, "max_waiting_runs": 0, "max_tenant_active_runs": 2}
    server = limited_server(start_server, tmp_path, "tenant-none-waits", **limits)
    daemon.script(model, HANGS)
    one, other = Tenant(server.url), Tenant(server.url)
    runs = [one.start_run(model) for _ in range(2)]

    one.refused_run(model, "2 active runs")

    other.start_run(model)
    response = other.post_run(model)
    assert (response.status_code, response.json()["code"]) == (503, "run_capacity_reached")
    one.runs().cancel(runs[0])
    becomes_free(lambda: one.post_run(model))


def test_places_of_a_killed_worker_are_free_again(
    start_server: StartServer, tmp_path: Path, daemon: ScriptedDaemon, model: str
) -> None:
    limits = {"max_tenant_active_runs": 1, "max_tenant_waiting_runs": 1, "max_tenant_streams": 1, "lease_seconds": 3}
    server = limited_server(start_server, tmp_path, "tenant-killed", **limits)
    daemon.script(model, HANGS)
    one = Tenant(server.url)
    runs = [one.start_run(model) for _ in range(2)]
    one.refused_run(model, "1 waiting runs")
    with one.open(f"/runs/{runs[0]}/events/sse") as stream:
        refused(one.open(f"/runs/{runs[1]}/events/sse"), "1 open streams")
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)
        stream.close()

    def starts() -> bool:
        try:
            return one.post_run(model).status_code == 202
        except requests.ConnectionError:
            return False

    wait_until(starts)
    wait_until(starts)
    one.refused_run(model, "1 waiting runs")
    assert one.open(f"/runs/{runs[0]}/events/sse").status_code == 200


def test_new_runs_of_every_kind_count_on_all_workers_together(
    start_server: StartServer, tmp_path: Path, daemon: ScriptedDaemon, model: str
) -> None:
    server = limited_server(start_server, tmp_path, "tenant-rate", workers=2, max_tenant_runs_per_minute=5)
    daemon.script(model, says("done"))
    one, other = Tenant(server.url), Tenant(server.url)
    agent = one.scripted_agent(model)
    session, chat = one.session(agent), ChatClient(one, model)
    bound = "5 new runs a minute"
    kept = {"Idempotency-Key": "kept"}

    first = one.post_run(model, **kept)
    one.start_run(model)
    assert one.call("POST", f"/agents/{agent['id']}/runs", json={"query": "Hello?"}).status_code == 202
    one.say(session)
    assert chat.say().last["event"] == "message_end"

    refusal = one.refused_run(model, bound)
    assert 1 <= int(refusal.headers["Retry-After"]) <= 12
    refused(one.call("POST", f"/agents/{agent['id']}/runs", json={"query": "Hello?"}), bound)
    refused(one.call("POST", f"/sessions/{session}/runs", json={"query": "Hello?"}), bound)
    refused(chat.post(), bound, "too_many_requests")
    assert len(one.turns(session)) == 1
    assert one.post_run(model, **kept).json()["run_id"] == first.json()["run_id"]
    assert other.post_run(model).status_code == 202
    without_tenant = RunClient(server.url)
    assert {without_tenant.post({"composition": {"layers": [prompt()]}}).status_code for _ in range(8)} == {202}


def test_streams_of_every_kind_count_until_they_are_closed(
    start_server: StartServer, tmp_path: Path, daemon: ScriptedDaemon, model: str
) -> None:
    server = limited_server(start_server, tmp_path, "tenant-streams", max_tenant_streams=5)
    daemon.script(model, HANGS)
    one, other = Tenant(server.url), Tenant(server.url)
    run = one.start_run(model)
    session, chat = one.session(one.scripted_agent(model)), ChatClient(one, model)
    turn = one.start(session)
    sse, chat_events = f"/runs/{run}/events/sse", f"/sessions/{session}/turns/{turn['turn_id']}/chat-events"
    tokens = [one.json("POST", f"{path}/stream-tokens", 201)["token"] for path in (f"/runs/{run}", "/events")]
    bound = "5 open streams"

    with ExitStack() as stack:
        assert [one.open(sse, method="HEAD").status_code for _ in range(8)] == [200] * 8
        streams = [stack.enter_context(one.open(path)) for path in (sse, chat_events)]
        assert [stream.status_code for stream in streams] == [200, 200]
        answering = stack.enter_context(chat.post())
        assert answering.status_code == 200
        socket = SocketClient(one.url, run, query=f"?token={tokens[0]}")
        stack.callback(socket.close)
        feed = FeedClient(one.url, query=f"?token={tokens[1]}")

        for path in (sse, chat_events):
            refused(one.open(path), bound)
        refused(one.open(sse, tokens[0]), bound)
        refused(one.call("GET", events_path(run), headers=UPGRADE), bound)
        refused(one.call("GET", "/events/ws", headers=UPGRADE), bound)
        messages = len(daemon.calls(model))
        refused(chat.post("refused"), bound, "too_many_requests")
        assert len(daemon.calls(model)) == messages

        of_other = other.start_run(model)
        assert other.open(f"/runs/{of_other}/events/sse").status_code == 200
        operator = RunClient(server.url, token="roster-admin")
        assert next(operator.stream(run)).event == "run_started"

        feed.close()
        with becomes_free(lambda: one.open(sse)):
            refused(one.open(sse), bound)
        streams[0].close()
        with becomes_free(lambda: one.open(chat_events)), becomes_free(lambda: one.open(sse)):
            refused(one.open(sse), bound)

    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(becomes_free(lambda: one.open(sse)))
        refused(one.open(sse), bound)


def test_a_stream_that_ends_by_itself_counts_no_longer(
    start_server: StartServer, tmp_path: Path, daemon: ScriptedDaemon, model: str
) -> None:
    server = limited_server(start_server, tmp_path, "tenant-ended-streams", max_tenant_streams=1)
    daemon.script(model, says("done"))
    one = Tenant(server.url)
    chat = ChatClient(one, model)

    for _ in range(3):
        run = one.start_run(model)
        with becomes_free(lambda run=run: one.open(f"/runs/{run}/events/sse")) as stream:  # type: ignore[misc]
            assert b"run_succeeded" in stream.content
        with becomes_free(chat.post) as answer:
            assert b"message_end" in answer.content
        socket = socket_when_free(one, run)
        assert socket.rest()[-1]["type"] == "run_succeeded"


def socket_when_free(one: Tenant, run: str) -> SocketClient:
    """A socket, once there is room for it."""
    sockets: list[SocketClient] = []

    def is_open() -> bool:
        try:
            sockets.append(SocketClient(one.url, run, token=one.key))
        except ConnectionError:
            return False
        return True

    wait_until(is_open)
    return sockets[0]
