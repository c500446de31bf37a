"""``dify.ask_human`` over HTTP: a question ends a run, and its answer goes into the next one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.client import RunClient, plugin_layers, prompt
from tests.support.plugin_daemon import USAGE, Answer, ScriptedDaemon

SYSTEM = "You deploy."
DONE: Answer = [{"text": "Deployed."}, {"finish": "stop", "usage": USAGE}]
ANSWER = {
    "status": "submitted",
    "action": {"id": "go", "label": "Go"},
    "values": {"why": "It is time."},
    "message": None,
    "rendered_content": "Go? Go.",
}
QUESTION = {
    "question": "Go?",
    "fields": [{"type": "paragraph", "name": "why", "label": "Why"}],
    "actions": [{"id": "go", "label": "Go", "style": "primary"}, {"id": "stop", "label": "Stop"}],
}


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model name for this test alone, so that no two tests share a script."""
    return str(request.node.name)


def asks(*calls: tuple[str, dict[str, Any]]) -> Answer:
    steps: Answer = [
        {"tool_call": {"id": call_id, "name": "ask_human", "arguments": json.dumps(arguments)}}
        for call_id, arguments in calls
    ]
    return [*steps, {"finish": "tool_calls", "usage": USAGE}]


def layers(model: str, *, user: str = "Deploy it.", system: str = SYSTEM, **config: Any) -> list[dict[str, Any]]:
    return [
        prompt(user, prefix=system),
        {"name": "history", "type": "pydantic_ai.history"},
        {"name": "ask", "type": "dify.ask_human", "config": config},
        *plugin_layers(model),
    ]


def succeed(client: RunClient, *parts: dict[str, Any], **rest: Any) -> dict[str, Any]:
    """Runs to a success and returns the data of the terminal event."""
    event = client.finish(client.create(*parts, **rest))
    assert event["type"] == "run_succeeded", event
    return dict(event["data"])


def answered(call_id: str, value: object = ANSWER) -> dict[str, Any]:
    return {"calls": {call_id: value}}


def refusal(client: RunClient, *parts: dict[str, Any], **rest: Any) -> str:
    response = client.post({"composition": {"layers": list(parts)}, **rest})
    assert response.status_code == 422, response.text
    assert response.json()["code"] == "invalid_composition"
    return str(response.json()["detail"])


def shown(daemon: ScriptedDaemon, model: str, number: int) -> list[dict[str, Any]]:
    """The prompt messages in one of the model's calls."""
    return list(daemon.calls(model)[number]["body"]["data"]["prompt_messages"])


def roles(messages: list[dict[str, Any]]) -> list[str]:
    return [message["role"] for message in messages]


def stored(data: dict[str, Any]) -> list[dict[str, Any]]:
    (history,) = [entry for entry in data["session_snapshot"]["layers"] if entry["name"] == "history"]
    return list(history["runtime_state"]["messages"])


def test_a_question_ends_the_run_with_the_call_in_the_place_of_an_output(
    client: RunClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks(("call-1", QUESTION)))

    run_id = client.create(*layers(model))
    events = [frame.data for frame in client.stream(run_id)]

    data = events[-1]["data"]
    assert events[-1]["type"] == "run_succeeded"
    assert set(data) == {"deferred_tool_call", "session_snapshot"}
    call = data["deferred_tool_call"]
    assert call == {
        "tool_call_id": call["tool_call_id"],
        "tool_name": "ask_human",
        "args": {
            "question": "Go?",
            "fields": [{"type": "paragraph", "name": "why", "label": "Why", "required": False}],
            "actions": [
                {"id": "go", "label": "Go", "style": "primary"},
                {"id": "stop", "label": "Stop", "style": "default"},
            ],
            "urgency": "normal",
        },
        "metadata": {"layer_type": "dify.ask_human", "tool_name": "ask_human", "schema_version": 1},
    }
    kinds = [event["data"]["event_kind"] for event in events[1:-1]]
    assert kinds == ["part_start", "final_result", "part_end", "function_tool_call"]
    assert client.status(run_id)["status"] == "succeeded"
    assert [message["kind"] for message in stored(data)] == ["request", "response"]
    assert SYSTEM not in json.dumps(data["session_snapshot"])


def test_the_model_is_shown_the_tool_and_a_hint(client: RunClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, DONE)

    assert succeed(client, *layers(model, tool_name="human_gate"))["output"] == "Deployed."

    data = daemon.calls(model)[0]["body"]["data"]
    assert [tool["name"] for tool in data["tools"]] == ["human_gate"]
    assert data["tools"][0]["parameters"]["required"] == ["question"]
    assert roles(data["prompt_messages"]) == ["system", "system", "user"]
    assert "human_gate" in data["prompt_messages"][1]["content"]


def test_a_layer_that_is_not_enabled_shows_nothing(client: RunClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, DONE)

    succeed(client, *layers(model, enabled=False))

    data = daemon.calls(model)[0]["body"]["data"]
    assert not data["tools"]
    assert roles(data["prompt_messages"]) == ["system", "user"]


def test_the_answer_goes_to_the_model_as_the_result_of_its_call(
    client: RunClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks(("call-1", QUESTION)), DONE)
    first = succeed(client, *layers(model))
    call_id = first["deferred_tool_call"]["tool_call_id"]

    run_id = client.create(
        *layers(model, user="", system="You deploy with care."),
        session_snapshot=first["session_snapshot"],
        deferred_tool_results=answered(call_id),
    )
    events = [frame.data for frame in client.stream(run_id)]

    messages = shown(daemon, model, 1)
    assert roles(messages) == ["system", "system", "user", "assistant", "tool"]
    assert messages[0]["content"] == "You deploy with care."
    assert messages[2]["content"] == "Deploy it."
    assert messages[3]["tool_calls"][0]["id"] == messages[4]["tool_call_id"] == call_id
    assert json.loads(messages[4]["content"]) == ANSWER
    assert events[-1]["data"]["output"] == "Deployed."
    assert "deferred_tool_call" not in events[-1]["data"]
    assert [event["data"]["event_kind"] for event in events[1:3]] == ["function_tool_call", "function_tool_result"]
    assert [message["kind"] for message in stored(events[-1]["data"])] == ["request", "response"] * 2


def test_a_question_can_be_answered_twice_from_the_same_snapshot(
    client: RunClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks(("call-1", QUESTION)), DONE)
    first = succeed(client, *layers(model))
    call_id = first["deferred_tool_call"]["tool_call_id"]

    outputs = []
    for status in ("timeout", "submitted"):
        resumed = succeed(
            client,
            *layers(model),
            session_snapshot=first["session_snapshot"],
            deferred_tool_results=answered(call_id, {"status": status, "values": {}}),
        )
        outputs.append(resumed["output"])

    assert outputs == ["Deployed.", "Deployed."]
    given = [json.loads(shown(daemon, model, number)[-1]["content"])["status"] for number in (1, 2)]
    assert given == ["timeout", "submitted"]


def test_a_conversation_goes_on_through_several_questions(
    client: RunClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(
        model, asks(("call-1", QUESTION)), asks(("call-2", {"question": "Sure?"})), DONE, [{"text": "Twice."}]
    )

    data = succeed(client, *layers(model))
    for _ in range(2):
        data = succeed(
            client,
            *layers(model),
            session_snapshot=data["session_snapshot"],
            deferred_tool_results=answered(data["deferred_tool_call"]["tool_call_id"]),
        )
    last = succeed(client, *layers(model, user="How often?"), session_snapshot=data["session_snapshot"])

    assert last["output"] == "Twice."
    assert roles(shown(daemon, model, 3)) == [
        "system",
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert len(stored(last)) == 8


def test_a_question_beyond_the_limits_goes_back_to_the_model(
    client: RunClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks(("call-1", {"question": "Where to?"})), asks(("call-2", {"question": "Go?"})))

    data = succeed(client, *layers(model, max_question_chars=5))

    assert data["deferred_tool_call"]["args"]["question"] == "Go?"
    refused = shown(daemon, model, 1)[-1]
    assert refused["role"] == "tool"
    assert "question: at most 5 characters are allowed" in refused["content"]


def test_a_model_that_never_keeps_within_the_limits_fails_the_run(
    client: RunClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks(("call-1", {"question": "Where to?"})))

    event = client.finish(client.create(*layers(model, max_question_chars=5)))

    assert event["type"] == "run_failed"
    assert "ask_human" in event["data"]["error"]


def test_only_one_of_two_questions_is_asked(client: RunClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, asks(("call-1", QUESTION), ("call-2", {"question": "Where?"})), DONE)
    first = succeed(client, *layers(model))
    assert first["deferred_tool_call"]["args"]["question"] == "Go?"

    resumed = succeed(
        client,
        *layers(model),
        session_snapshot=first["session_snapshot"],
        deferred_tool_results=answered(first["deferred_tool_call"]["tool_call_id"]),
    )

    assert resumed["output"] == "Deployed."
    results = [message["content"] for message in shown(daemon, model, 1) if message["role"] == "tool"]
    assert len(results) == 2
    assert any("was not asked" in result for result in results)


def test_a_question_that_nobody_answered_does_not_stop_the_conversation(
    client: RunClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks(("call-1", QUESTION)), DONE)
    first = succeed(client, *layers(model))

    data = succeed(client, *layers(model, user="Never mind."), session_snapshot=first["session_snapshot"])

    assert data["output"] == "Deployed."
    messages = shown(daemon, model, 1)
    assert roles(messages)[-3:] == ["assistant", "tool", "user"]
    assert json.loads(messages[-2]["content"])["status"] == "unavailable"
    assert messages[-1]["content"] == "Never mind."


def test_results_that_do_not_fit_the_question_are_refused(
    client: RunClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks(("call-1", QUESTION)))
    snapshot = succeed(client, *layers(model))["session_snapshot"]
    history = {"name": "history", "type": "pydantic_ai.history"}

    def resumed(results: dict[str, Any]) -> str:
        return refusal(client, *layers(model), session_snapshot=snapshot, deferred_tool_results=results)

    assert resumed(answered("other")) == "deferred_tool_results: no such call waits for a result: 'other'"
    assert resumed({"calls": {}}) == "deferred_tool_results: a result is missing: 'call-1'"
    assert "the result of 'call-1' is invalid: status" in resumed(answered("call-1", {"status": "done"}))
    assert "the result of 'call-1' is invalid: value" in resumed(answered("call-1", "yes"))
    assert refusal(client, prompt(), deferred_tool_results=answered("call-1")) == (
        "deferred_tool_results need a layer of type 'pydantic_ai.history'"
    )
    assert refusal(client, prompt(), history, deferred_tool_results=answered("call-1")) == (
        "deferred_tool_results: no such call waits for a result: 'call-1'"
    )
    without_history = [layer for layer in layers(model) if layer["name"] != "history"]
    assert refusal(client, *without_history) == "layer 'ask': it needs a layer of type 'pydantic_ai.history'"


def test_the_current_dialect_reports_usage_and_the_deferred_call(
    start_server: StartServer, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks(("call-1", QUESTION)))
    client = RunClient(start_server(redis_prefix="ask-current", wire_dialect="current").url)

    events = [frame.data for frame in client.stream(client.create(*layers(model)))]

    assert set(events[-1]["data"]) == {"deferred_tool_call", "session_snapshot", "usage"}
    assert events[-1]["data"]["usage"]["total_tokens"] == USAGE["total_tokens"]
    assert events[-2]["data"]["event_kind"] == "deferred_tool_requests"


def test_a_dialect_that_cannot_report_a_question_refuses_the_layer(start_server: StartServer, model: str) -> None:
    client = RunClient(start_server(redis_prefix="ask-may", wire_dialect="2026-05-27").url)

    assert refusal(client, *layers(model)) == "layer 'ask': the dialect 2026-05-27 knows no deferred tool calls"
