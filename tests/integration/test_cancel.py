"""Cancelling runs: from any process, exactly once, and down to the connection to the model."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tests.conftest import StartServer
from tests.support.client import TERMINAL_TYPES, RunClient, demo_llm, plugin_layers, prompt
from tests.support.plugin_daemon import ScriptedDaemon

CLOSE_BOUND_SECONDS = 1.0
"""What operators are promised: a cancelled run stops costing money within a second."""


def test_a_cancelled_run_closes_the_model_call_and_ends_its_stream(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("cancelled", [{"text": "begun"}, {"hang": True}])
    run_id = client.create(prompt(), *plugin_layers("cancelled"))
    stream = client.stream(run_id)
    while next(stream).data.get("agent_message_delta") != "begun":
        pass

    asked_at = time.time()
    response = client.cancel(run_id, {"reason": "user_stop", "message": "enough"})

    assert response.status_code == 200
    assert response.json() == {"run_id": run_id, "status": "cancelled"}
    call = daemon.wait_until_ended("cancelled")
    assert call["closed_by_client"]
    assert call["began_at"] + call["open_seconds"] - asked_at < CLOSE_BOUND_SECONDS
    rest = list(stream)
    assert rest[-1].event == "run_cancelled"
    assert rest[-1].data["data"] == {"reason": "user_stop", "message": "enough"}
    assert [frame.event for frame in rest].count("run_cancelled") == 1
    assert client.status(run_id)["status"] == "cancelled"


def test_a_run_is_cancelled_through_a_server_that_does_not_execute_it(
    start_server: StartServer, daemon: ScriptedDaemon
) -> None:
    daemon.script("elsewhere", [{"text": "begun"}, {"hang": True}])
    owner, other = (RunClient(start_server(redis_prefix="cancel-elsewhere").url) for _ in range(2))
    run_id = owner.create(prompt(), *plugin_layers("elsewhere"))
    daemon.wait_for_call("elsewhere")

    asked_at = time.time()
    response = other.cancel(run_id)

    assert response.json() == {"run_id": run_id, "status": "cancelled"}
    call = daemon.wait_until_ended("elsewhere")
    assert call["closed_by_client"]
    assert call["began_at"] + call["open_seconds"] - asked_at < CLOSE_BOUND_SECONDS
    assert owner.follow(run_id)[-1].data["data"] == {}


def test_cancelling_again_is_no_error_and_changes_nothing(client: RunClient) -> None:
    run_id = client.create(prompt(), demo_llm(delay_ms=500))
    client.cancel(run_id, {"reason": "first"})
    before = client.status(run_id), client.follow(run_id)

    response = client.cancel(run_id, {"reason": "second"})

    assert response.status_code == 200
    assert response.json() == {"run_id": run_id, "status": "cancelled"}
    assert (client.status(run_id), client.follow(run_id)) == before


def test_an_ended_run_cannot_be_cancelled(client: RunClient) -> None:
    run_id = client.create(prompt())
    client.finish(run_id)

    response = client.cancel(run_id)

    assert response.status_code == 409
    assert response.json()["code"] == "run_already_ended"
    assert client.status(run_id)["status"] == "succeeded"


def test_a_run_that_waits_for_a_connection_to_the_model_can_be_cancelled(
    start_server: StartServer, daemon: ScriptedDaemon
) -> None:
    daemon.script("occupied", [{"hang": True}])
    daemon.script("waiting", [{"text": "never"}, {"finish": "stop"}])
    client = RunClient(start_server(redis_prefix="turn", plugin_daemon_max_connections=1).url)
    occupying = client.create(prompt(), *plugin_layers("occupied"))
    daemon.wait_for_call("occupied")
    waiting = client.create(prompt(), *plugin_layers("waiting"))

    client.cancel(waiting)
    client.cancel(occupying)
    after = client.create(prompt(), *plugin_layers("waiting"))

    assert client.finish(after)["data"]["output"] == "never"
    assert len(daemon.calls("waiting")) == 1
    assert client.finish(waiting)["type"] == "run_cancelled"


def test_a_cancel_that_races_the_start_or_the_end_leaves_exactly_one_terminal_event(client: RunClient) -> None:
    def race(number: int) -> None:
        racer = RunClient(client.url)
        run_id = racer.create(prompt(), demo_llm(answer="word " * 5))
        time.sleep(number % 20 * 0.002)
        response = racer.cancel(run_id)
        frames = racer.follow(run_id)
        terminal = [frame.event for frame in frames if frame.event in TERMINAL_TYPES]
        status = racer.status(run_id)["status"]
        assert len(terminal) == 1
        assert frames[-1].event == terminal[0] == f"run_{status}"
        assert response.status_code == (200 if status == "cancelled" else 409)
        time.sleep(0.05)
        assert racer.follow(run_id) == frames

    with ThreadPoolExecutor(8) as racers:
        list(racers.map(race, range(200)))


def test_a_cancelled_run_of_may_ends_as_failed_with_reason_cancelled(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("may", [{"hang": True}])
    plugin = {"tenant_id": "tenant-1", "plugin_id": "langgenius/openai"}
    llm = {"model_provider": "openai", "model": "may", "credentials": {}}
    run_id = client.create(
        prompt(),
        {"name": "plugin", "type": "dify.plugin", "config": plugin},
        {"name": "llm", "type": "dify.plugin.llm", "deps": {"plugin": "plugin"}, "config": llm},
    )

    answers = [client.cancel(run_id) for _ in range(2)]

    assert [answer.json()["status"] for answer in answers] == ["cancelled", "cancelled"]
    terminal = client.finish(run_id)
    assert terminal["type"] == "run_failed"
    assert terminal["data"]["reason"] == "cancelled"
    assert client.status(run_id)["status"] == "failed"
    assert "error_type" not in client.status(run_id)
