"""Requests exactly as Dify's releases send them: each is accepted, and its release accepts every answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.conftest import StartServer, environment
from tests.support.client import RunClient, parse_frames
from tests.support.golden import Golden, check, check_event, knows, run_requests
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import USAGE, Answer, ScriptedDaemon
from tests.support.redis_server import RedisServer

PREFIX = "golden"
MODEL, TOOL = "fake-large", "web_search"
SERVED = ["2026-05-14", "2026-05-20", "2026-05-27", "2026-06-16"]
OUTPUT = {"verdict": "fine", "ok": True, "tags": ["budget"], "score": 0.5}
TEXT_OUTPUT = {"text": "Paris."}
QUESTION = {"question": "Ship it?"}


@pytest.fixture(scope="module")
def golden_server(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[GunicornServer]:
    with running_server(environment(redis_server.url, daemon.url, redis_prefix=PREFIX), workers=2) as server:
        yield server


@pytest.fixture
def client(golden_server: GunicornServer, redis_server: RedisServer) -> RunClient:
    """A client of a new server: the dates share idempotency keys, of which it has seen none."""
    redis = redis_server.client()
    for key in redis.scan_iter(f"{PREFIX}:idempotency:*"):
        redis.delete(key)
    return RunClient(golden_server.url)


def calls(name: str, arguments: dict[str, Any], call_id: str = "call-1") -> Answer:
    call = {"id": call_id, "name": name, "arguments": json.dumps(arguments)}
    return [{"tool_call": call}, {"finish": "tool_calls", "usage": USAGE}]


def says(text: str) -> Answer:
    return [{"text": text, "split": 3}, {"finish": "stop", "usage": USAGE}]


def script(daemon: ScriptedDaemon, golden: Golden) -> object:
    """Scripts the model to use the request's tools and to answer as required; returns the expected output."""
    answers = []
    if golden.layer("tools") is not None:
        daemon.script(TOOL, [{"data": {"type": "text", "message": {"text": "Paris"}}}])
        answers.append(calls(TOOL, {"query": "France"}))
        answers.append(calls("no_such_tool", {}, "call-2"))
    output = golden.layer("output")
    if output is None:
        daemon.script(MODEL, *answers, says("Paris."))
        return "Paris."
    is_free = "text" in output["config"]["json_schema"]["properties"]
    value = TEXT_OUTPUT if is_free else OUTPUT
    name = output["config"]["name"] if golden.date == "2026-05-14" else "final_output"
    daemon.script(MODEL, *answers, calls(name, value, "call-3"))
    return value


def begin(client: RunClient, golden: Golden) -> str:
    """Sends a request that must be accepted, and returns the id of its run."""
    response = golden.send(client.url)
    assert response.status_code == 202, response.text
    check(golden.date, "CreateRunResponse", response.json())
    return str(response.json()["run_id"])


def read(client: RunClient, date: str, name: str, run_id: str) -> requests.Response:
    """Sends one of the requests with which a release reads runs."""
    response = Golden(date, name).send(client.url, run_id=run_id)
    assert response.status_code == 200, response.text
    return response


def frames(response: requests.Response) -> list[dict[str, Any]]:
    return [frame.data for frame in parse_frames(iter([response.content]))]


def followed(client: RunClient, date: str, run_id: str) -> list[dict[str, Any]]:
    """Follows a run to its end in every way that a release knows; its models must accept each event."""
    events = frames(read(client, date, "read-sse", run_id))
    for event in events:
        check_event(date, event)
    # Its cursor lies behind all events that a run of this server has before its end.
    assert frames(read(client, date, "read-sse-resumed", run_id)) == events[-1:]
    page = read(client, date, "read-events", run_id).json()
    check(date, "RunEventsResponse", page)
    assert page["events"] == events
    status = read(client, date, "read-status", run_id).json()
    check(date, "RunStatusResponse", status)
    assert status["status"] == events[-1]["type"].removeprefix("run_")
    return events


@pytest.mark.parametrize("golden", run_requests(*SERVED), ids=str)
def test_a_request_is_accepted_and_ends_as_its_date_reads_it(
    client: RunClient, daemon: ScriptedDaemon, golden: Golden
) -> None:
    output = script(daemon, golden)

    events = followed(client, golden.date, begin(client, golden))

    end = events[-1]
    assert end["type"] == "run_succeeded"
    layers = end["data"]["session_snapshot"]["layers"]
    assert [layer["name"] for layer in layers] == [layer["name"] for layer in golden.body["composition"]["layers"]]
    if golden.is_cleanup:
        assert [event["type"] for event in events] == ["run_started", "run_succeeded"]
        assert (end["data"]["output"], daemon.calls(MODEL)) == (None, [])
        assert {layer["lifecycle_state"] for layer in layers} == {"closed"}
    else:
        assert end["data"]["output"] == output


@pytest.mark.parametrize("golden", [one for one in run_requests(*SERVED) if not one.is_cleanup], ids=str)
def test_a_failure_is_one_that_its_date_reads(client: RunClient, daemon: ScriptedDaemon, golden: Golden) -> None:
    daemon.script(MODEL, [{"text": "I am"}, {"error": {"error_type": "InvokeRateLimitError", "message": "slow down"}}])

    end = followed(client, golden.date, begin(client, golden))[-1]

    assert (end["type"], end["data"]) == ("run_failed", {"error": "slow down", "reason": "InvokeRateLimitError"})


@pytest.mark.parametrize(
    ("cancel", "begun"),
    [
        (Golden("2026-05-20", "cancel"), "workflow-node-first"),
        (Golden("2026-05-27", "cancel"), "workflow-node-first-full"),
        (Golden("2026-06-16", "cancel-agent-app"), "agent-app-first-full"),
    ],
    ids=str,
)
def test_a_cancel_is_answered_as_its_date_reads_it(
    client: RunClient, daemon: ScriptedDaemon, cancel: Golden, begun: str
) -> None:
    daemon.script(MODEL, [{"text": "I am"}, {"hang": True}])
    run_id = begin(client, Golden(cancel.date, begun))
    daemon.wait_for_call(MODEL)

    for _ in range(2):
        response = cancel.send(client.url, run_id=run_id)
        assert response.status_code == 200, response.text
        check(cancel.date, "CancelRunResponse", response.json())

    end = followed(client, cancel.date, run_id)[-1]
    assert (end["type"], end["data"]) == ("run_cancelled", {})


def test_a_cancel_of_14_may_ends_as_a_failure(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script(MODEL, [{"text": "I am"}, {"hang": True}])
    run_id = begin(client, Golden("2026-05-14", "run-first"))
    assert not knows("2026-05-14", "RunCancelledEvent")

    client.cancel(run_id)

    assert followed(client, "2026-05-14", run_id)[-1]["type"] == "run_failed"


# A workflow node of June that asks a person


def test_a_node_goes_on_after_the_answer_under_its_first_key(client: RunClient, daemon: ScriptedDaemon) -> None:
    first, resumed, retried = (
        Golden("2026-06-16", f"workflow-node-{name}") for name in ("first-full", "resume-submitted", "resume-retry")
    )
    assert resumed.body["idempotency_key"] == first.body["idempotency_key"]
    daemon.script(MODEL, calls("ask_human", QUESTION, "call_example_1"), calls("final_output", OUTPUT, "call-2"))

    asked = begin(client, first)
    question = followed(client, first.date, asked)[-1]
    went_on = begin(client, resumed)
    answer = followed(client, first.date, went_on)[-1]
    again = begin(client, retried)
    attempt = followed(client, first.date, again)[-1]

    assert question["data"]["deferred_tool_call"]["tool_call_id"] == "call_example_1"
    assert "output" not in question["data"]
    assert len({asked, went_on, again}) == 3
    assert answer["data"]["output"] == attempt["data"]["output"] == OUTPUT
    told = [message["content"] for message in daemon.calls(MODEL)[1]["body"]["data"]["prompt_messages"]]
    assert any("Ship it? fine" in str(content) for content in told)
    # Results that the history already has are not repeated: the next attempt begins with the user prompt.
    last = daemon.calls(MODEL)[2]["body"]["data"]["prompt_messages"]
    assert [message["role"] for message in last].count("tool") == 2
    assert last[-1]["role"] == "user"


# Dates whose requests are not served yet, but whose clients can read what is written for them


@pytest.mark.parametrize(
    ("date", "dialect"), [("2026-07-17", "2026-07-17"), ("2026-07-28", "2026-07-17"), ("2026-08-10", "2026-08-10")]
)
def test_what_a_later_dialect_writes_is_what_its_dates_read(
    start_server: StartServer, daemon: ScriptedDaemon, date: str, dialect: str
) -> None:
    prefix = f"{PREFIX}-{date}"
    client = RunClient(start_server(redis_prefix=prefix, wire_dialect=dialect, max_model_requests=3).url)
    first = Golden("2026-06-16", "workflow-node-first-full")
    ends = {
        "run_succeeded": [calls(TOOL, {"query": "France"}), calls("no_tool", {}), calls("final_output", OUTPUT)],
        "deferred": [calls("ask_human", QUESTION, "call_example_1")],
        "run_failed": [calls(TOOL, {"query": "France"})],  # again and again, until it may call no model any more
    }
    daemon.script(TOOL, [{"data": {"type": "text", "message": {"text": "Paris"}}}])
    for number, (kind, answers) in enumerate(ends.items()):
        daemon.script(MODEL, *answers)
        created = client.post({**first.body, "idempotency_key": f"{kind}-{number}"})
        run_id = str(created.json()["run_id"])

        events = [frame.data for frame in client.stream(run_id)]

        check(date, "CreateRunResponse", created.json())
        for event in events:
            check_event(date, event)
        check(date, "RunEventsResponse", client.page(run_id, limit=500))
        check(date, "RunStatusResponse", client.status(run_id))
        assert events[-1]["type"] == ("run_failed" if kind == "run_failed" else "run_succeeded")
        assert any("agent_message_delta" in event for event in events)
