"""Admission: a worker executes a limited number of runs, lets a limited number wait, and refuses the others."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.conftest import StartServer, environment
from tests.support.client import RunClient, plugin_layers, prompt, wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def narrow_server(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[GunicornServer]:
    """A server with one worker, which executes one run and lets two wait."""
    env = environment(redis_server.url, daemon.url, redis_prefix="narrow", max_active_runs=1, max_waiting_runs=2)
    with running_server(env) as server:
        yield server


@pytest.fixture
def narrow(narrow_server: GunicornServer) -> RunClient:
    return RunClient(narrow_server.url)


def script_until_released(daemon: ScriptedDaemon, *models: str) -> None:
    """Scripts models that answer once they are released by name."""
    for model in models:
        daemon.script(model, [{"wait": model}, {"text": "done"}, {"finish": "stop"}])


def begin(client: RunClient, daemon: ScriptedDaemon, model: str) -> str:
    """Creates a run and waits until it is executed; runs of the test before may have to leave their places first."""
    run_id = create_when_there_is_room(client, model)
    daemon.wait_for_call(model)
    return run_id


def post(client: RunClient, model: str) -> requests.Response:
    return client.post({"composition": {"layers": [prompt(), *plugin_layers(model)]}})


def create_when_there_is_room(client: RunClient, model: str) -> str:
    """Creates a run, retrying while there is no place: one is free only a moment after its run's end is seen."""
    responses: list[requests.Response] = []

    def is_accepted() -> bool:
        responses.append(post(client, model))
        return responses[-1].status_code == 202

    wait_until(is_accepted)
    return str(responses[-1].json()["run_id"])


def test_runs_beyond_the_limit_wait_and_begin_in_order(narrow: RunClient, daemon: ScriptedDaemon) -> None:
    script_until_released(daemon, "order-1", "order-2", "order-3")
    first = begin(narrow, daemon, "order-1")
    second, third = (narrow.create(prompt(), *plugin_layers(model)) for model in ("order-2", "order-3"))

    assert narrow.status(second)["status"] == "running"
    assert [event["type"] for event in narrow.page(second)["events"]] == ["run_started"]
    daemon.release("order-1")
    daemon.wait_for_call("order-2")
    assert narrow.finish(first)["type"] == "run_succeeded"
    assert daemon.calls("order-3") == []
    daemon.release("order-2")
    daemon.wait_for_call("order-3")
    daemon.release("order-3")

    assert narrow.finish(second)["data"]["output"] == "done"
    assert narrow.finish(third)["data"]["output"] == "done"


def test_a_run_is_refused_when_as_many_wait_as_may(narrow: RunClient, daemon: ScriptedDaemon) -> None:
    script_until_released(daemon, "occupies", "waits", "refused")
    runs = [begin(narrow, daemon, "occupies"), *(narrow.create(prompt(), *plugin_layers("waits")) for _ in range(2))]

    response = post(narrow, "refused")

    assert (response.status_code, response.json()["code"]) == (503, "run_capacity_reached")
    assert int(response.headers["Retry-After"]) >= 1
    daemon.release("occupies")
    daemon.release("waits")
    assert [narrow.finish(run_id)["type"] for run_id in runs] == ["run_succeeded"] * 3
    assert daemon.calls("refused") == []


def test_a_waiting_run_that_is_cancelled_ends_at_once_and_leaves_its_place_to_another(
    narrow: RunClient, daemon: ScriptedDaemon
) -> None:
    script_until_released(daemon, "holds", "never", "next")
    occupying = begin(narrow, daemon, "holds")
    cancelled, waiting = (narrow.create(prompt(), *plugin_layers(model)) for model in ("never", "next"))

    assert narrow.cancel(cancelled, {"reason": "user"}).status_code == 200

    assert [frame.event for frame in narrow.follow(cancelled)] == ["run_started", "run_cancelled"]
    another = create_when_there_is_room(narrow, "next")
    assert narrow.status(occupying)["status"] == "running"
    daemon.release("holds")
    daemon.release("next")
    assert narrow.finish(waiting)["type"] == "run_succeeded"
    assert narrow.finish(another)["type"] == "run_succeeded"
    assert daemon.calls("never") == []


def test_each_of_two_workers_has_its_own_limit(start_server: StartServer, daemon: ScriptedDaemon) -> None:
    daemon.script("crowd", [{"hang": True}])
    server = start_server(redis_prefix="crowd", workers=2, max_active_runs=1, max_waiting_runs=1)
    accepted: list[str] = []
    refused: list[str] = []

    def ask(_: int) -> None:
        response = post(RunClient(server.url), "crowd")
        if response.status_code == 202:
            accepted.append(response.json()["run_id"])
        else:
            refused.append(response.json()["code"])

    def are_full() -> bool:
        with ThreadPoolExecutor(10) as callers:
            list(callers.map(ask, range(10)))
        return len(accepted) >= 4

    wait_until(are_full)
    are_full()

    assert len(accepted) == 4
    assert set(refused) == {"run_capacity_reached"}
    daemon.wait_for_call("crowd", count=2)
    client = RunClient(server.url)
    waiting_first = sorted(accepted, key=lambda run_id: client.status(run_id)["created_at"], reverse=True)
    assert [client.cancel(run_id).status_code for run_id in waiting_first] == [200] * 4
    assert [client.finish(run_id)["type"] for run_id in accepted] == ["run_cancelled"] * 4
    assert len(daemon.calls("crowd")) == 2


def test_a_run_whose_turn_does_not_come_in_time_fails(start_server: StartServer, daemon: ScriptedDaemon) -> None:
    script_until_released(daemon, "slow", "late", "after")
    client = RunClient(start_server(redis_prefix="late", max_active_runs=1, max_wait_seconds=1).url)
    occupying = begin(client, daemon, "slow")

    terminal = client.finish(client.create(prompt(), *plugin_layers("late")))

    assert terminal["type"] == "run_failed"
    assert terminal["data"] == {"error": "the run waited longer than 1 seconds for its turn", "reason": "timeout"}
    assert daemon.calls("late") == []
    daemon.release("slow")
    daemon.release("after")
    assert client.finish(occupying)["type"] == "run_succeeded"
    assert client.finish(client.create(prompt(), *plugin_layers("after")))["type"] == "run_succeeded"


def is_draining(server: GunicornServer) -> bool:
    """Whether the server says that it drains, or already accepts no connections any more."""
    try:
        return server.get("/ready").status_code == 503
    except requests.ConnectionError:
        return True


def test_a_waiting_run_begins_while_the_worker_drains(start_server: StartServer, daemon: ScriptedDaemon) -> None:
    script_until_released(daemon, "drains", "begins")
    server = start_server(redis_prefix="begins", max_active_runs=1, shutdown_grace_seconds=30)
    client = RunClient(server.url)
    runs = [begin(client, daemon, "drains"), client.create(prompt(), *plugin_layers("begins"))]
    streams = [client.stream(run_id) for run_id in runs]
    assert [next(stream).event for stream in streams] == ["run_started"] * 2

    server.send_signal(signal.SIGTERM)
    wait_until(lambda: is_draining(server))
    daemon.release("drains")
    daemon.release("begins")

    assert [list(stream)[-1].event for stream in streams] == ["run_succeeded"] * 2
    assert server.wait() == 0


def test_a_run_that_still_waits_when_the_grace_is_over_ends_with_reason_shutdown(
    start_server: StartServer, daemon: ScriptedDaemon
) -> None:
    daemon.script("outlasting", [{"hang": True}])
    daemon.script("waited", [{"text": "never"}, {"finish": "stop"}])
    server = start_server(redis_prefix="waited", max_active_runs=1, shutdown_grace_seconds=1)
    client = RunClient(server.url)
    runs = [begin(client, daemon, "outlasting"), client.create(prompt(), *plugin_layers("waited"))]
    streams = [client.stream(run_id) for run_id in runs]
    assert [next(stream).event for stream in streams] == ["run_started"] * 2

    server.send_signal(signal.SIGTERM)
    with ThreadPoolExecutor(2) as readers:
        ends = list(readers.map(lambda stream: list(stream)[-1], streams))

    assert [end.data["data"]["reason"] for end in ends] == ["shutdown"] * 2
    assert daemon.calls("waited") == []
    assert server.wait() == 0
