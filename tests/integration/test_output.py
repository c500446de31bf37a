"""Validated structured output, from the request's schema to the terminal event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.client import RunClient, plugin_layers, prompt
from tests.support.plugin_daemon import ScriptedDaemon

SCHEMA = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/name"}, "people": {"type": "integer", "minimum": 0}},
    "required": ["city", "people"],
    "additionalProperties": False,
    "$defs": {"name": {"type": "string", "minLength": 1}},
}
GOOD = {"city": "Oslo", "people": 7}
FINISH: dict[str, Any] = {"finish": "stop"}


def output(schema: dict[str, Any] = SCHEMA, **config: Any) -> dict[str, Any]:
    return {"name": "output", "type": "dify.output", "config": {"json_schema": schema, **config}}


def calls_output(arguments: object, *, tool: str = "final_output", finish: str = "tool_calls") -> list[dict[str, Any]]:
    """An answer that calls the output tool."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return [{"tool_call": {"id": "call-1", "name": tool, "arguments": text}}, {"finish": finish}]


def ending(client: RunClient, model: str, *layers: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return client.finish(client.create(prompt(), *plugin_layers(model), *layers, **rest))


def test_the_model_sees_the_schema_inlined_and_its_arguments_are_the_output(
    client: RunClient, daemon: ScriptedDaemon
) -> None:
    daemon.script("direct", calls_output(GOOD))

    terminal = ending(client, "direct", output(description="Where and how many."))

    assert terminal["type"] == "run_succeeded"
    assert terminal["data"]["output"] == GOOD
    assert terminal["data"]["output_validation"] == {"source": "direct", "repairs": [], "errors": []}
    (tool,) = daemon.calls("direct")[0]["body"]["data"]["tools"]
    assert tool["name"] == "final_output"
    assert "Where and how many." in tool["description"]
    assert tool["parameters"]["properties"]["city"] == {"type": "string", "minLength": 1}
    assert "$ref" not in json.dumps(tool["parameters"])


def test_an_invalid_answer_goes_back_to_the_model_with_the_reason(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("retried", calls_output({"city": "Oslo", "people": -1}), calls_output(GOOD))

    terminal = ending(client, "retried", output())

    assert terminal["data"]["output"] == GOOD
    validation = terminal["data"]["output_validation"]
    assert validation["source"] == "model_retry"
    assert "people" in validation["errors"][0]
    told = daemon.calls("retried")[1]["body"]["data"]["prompt_messages"][-1]
    assert told["role"] == "tool"
    assert "people" in told["content"]


def test_two_invalid_calls_in_one_answer_are_one_try(client: RunClient, daemon: ScriptedDaemon) -> None:
    bad = json.dumps({"city": "Oslo"})
    twice: list[dict[str, Any]] = [
        {"tool_call": {"id": "call-1", "name": "final_output", "arguments": bad}},
        {"tool_call": {"id": "call-2", "name": "final_output", "arguments": bad}},
        {"finish": "tool_calls"},
    ]
    daemon.script("twice", twice, calls_output(GOOD))

    terminal = ending(client, "twice", output(output_policy={"max_model_retries": 1}))

    assert terminal["type"] == "run_succeeded", terminal
    assert terminal["data"]["output_validation"]["source"] == "model_retry"


def test_an_answer_that_stays_invalid_fails_the_run(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("stubborn", calls_output({"city": "Oslo"}))

    terminal = ending(client, "stubborn", output(output_policy={"max_model_retries": 2}))

    assert terminal["type"] == "run_failed"
    assert terminal["data"]["reason"] == "output_validation_failed"
    assert "people" in terminal["data"]["error"]
    assert len(daemon.calls("stubborn")) == 3


def test_without_retries_the_first_invalid_answer_fails_the_run(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("once", calls_output("{"))

    terminal = ending(client, "once", output(output_policy={"max_model_retries": 0}))

    assert terminal["data"]["reason"] == "output_validation_failed"
    assert len(daemon.calls("once")) == 1


def test_the_default_replaces_an_answer_and_is_marked_as_one(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("fallback", calls_output({"city": ""}))
    policy = {"max_model_retries": 0, "on_failure": "default", "default": {"city": "nowhere", "people": 0}}

    terminal = ending(client, "fallback", output(output_policy=policy))

    assert terminal["type"] == "run_succeeded"
    assert terminal["data"]["output"] == policy["default"]
    assert terminal["data"]["output_validation"]["source"] == "default"
    assert terminal["data"]["output_validation"]["errors"]


@pytest.mark.parametrize("repair", ["safe", "lenient"])
def test_a_trailing_comma_is_repaired_when_the_policy_allows(
    client: RunClient, daemon: ScriptedDaemon, repair: str
) -> None:
    daemon.script("comma", calls_output('{"city": "a,}", "people": 7,}'))

    terminal = ending(client, "comma", output(output_policy={"repair": repair, "max_model_retries": 0}))

    assert terminal["data"]["output"] == {"city": "a,}", "people": 7}
    assert terminal["data"]["output_validation"]["source"] == "repaired"
    assert terminal["data"]["output_validation"]["repairs"]


@pytest.mark.parametrize(
    "arguments", [json.dumps(json.dumps({"where": GOOD})), json.dumps({"where": json.dumps(GOOD)})], ids=["all", "part"]
)
def test_arguments_that_are_a_string_of_their_json_are_unwrapped_and_the_session_goes_on(
    client: RunClient, daemon: ScriptedDaemon, arguments: str
) -> None:
    model = f"wrapped-{len(arguments)}"
    daemon.script(model, calls_output(arguments), calls_output({"where": GOOD}))
    schema = {"type": "object", "properties": {"where": SCHEMA | {"$defs": {}}}, "$defs": SCHEMA["$defs"]}
    layers = [
        {"name": "history", "type": "pydantic_ai.history"},
        output(schema, output_policy={"repair": "safe", "max_model_retries": 0}),
    ]

    first = ending(client, model, *layers)
    second = ending(client, model, *layers, session_snapshot=first["data"]["session_snapshot"])

    assert first["data"]["output"] == second["data"]["output"] == {"where": GOOD}
    assert first["data"]["output_validation"] == {"source": "repaired", "repairs": ["json_in_string"], "errors": []}


def test_an_answer_that_was_cut_off_is_not_completed_by_guessing(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("cut", calls_output('{"city": "Oslo", "people": 7', finish="length"))

    terminal = ending(client, "cut", output(output_policy={"repair": "lenient", "max_model_retries": 0}))

    assert terminal["type"] == "run_failed"


@pytest.mark.parametrize(
    ("text", "repair", "source"),
    [
        (json.dumps(GOOD), "none", "direct"),
        (f"Here you are:\n```json\n{json.dumps(GOOD)}\n```\n", "safe", "repaired"),
        (f"The answer is {json.dumps(GOOD)}, I think.", "safe", "repaired"),
    ],
)
def test_a_plain_answer_counts_as_well_as_the_output_tool(
    client: RunClient, daemon: ScriptedDaemon, text: str, repair: str, source: str
) -> None:
    daemon.script("plain", [{"text": text, "split": 5}, FINISH])

    terminal = ending(client, "plain", output(output_policy={"repair": repair, "max_model_retries": 0}))

    assert terminal["data"]["output"] == GOOD
    assert terminal["data"]["output_validation"]["source"] == source


def test_prose_instead_of_an_answer_goes_back_to_the_model(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("prose", [{"text": "It is Oslo."}, FINISH], calls_output(GOOD))

    terminal = ending(client, "prose", output())

    assert terminal["data"]["output"] == GOOD
    assert terminal["data"]["output_validation"]["source"] == "model_retry"


def test_a_conversation_goes_on_after_a_checked_answer(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("session", calls_output(GOOD), [{"text": json.dumps(GOOD)}, FINISH], calls_output(GOOD))
    history = {"name": "history", "type": "pydantic_ai.history"}

    snapshot = None
    for _ in range(3):
        terminal = ending(client, "session", history, output(), session_snapshot=snapshot)
        assert terminal["type"] == "run_succeeded", terminal
        snapshot = terminal["data"]["session_snapshot"]

    sent = daemon.calls("session")[2]["body"]["data"]["prompt_messages"]
    assert [message["role"] for message in sent].count("user") == 3


def test_a_question_to_a_person_comes_before_the_checked_answer(client: RunClient, daemon: ScriptedDaemon) -> None:
    asks = calls_output({"question": "Which city?"}, tool="ask_human")
    daemon.script("asks", asks, calls_output({"city": "Oslo"}), calls_output(GOOD))
    layers = [
        {"name": "history", "type": "pydantic_ai.history"},
        {"name": "ask_human", "type": "dify.ask_human"},
        output(),
    ]

    asked = ending(client, "asks", *layers)["data"]
    answer = {"status": "submitted", "values": {}, "message": "Oslo"}
    terminal = ending(
        client,
        "asks",
        *layers,
        session_snapshot=asked["session_snapshot"],
        deferred_tool_results={"calls": {asked["deferred_tool_call"]["tool_call_id"]: answer}},
    )

    assert set(asked) == {"deferred_tool_call", "session_snapshot"}
    assert terminal["data"]["output"] == GOOD


def test_the_output_tool_has_the_configured_name_in_the_oldest_dialect_only(
    client: RunClient, daemon: ScriptedDaemon
) -> None:
    daemon.script("named", calls_output(GOOD, tool="answer"))
    plugin = {"name": "plugin", "type": "dify.plugin", "config": {"tenant_id": "t", "plugin_id": "o/p"}}
    config = {"model_provider": "openai", "model": "named", "credentials": {}}
    llm = {"name": "llm", "type": "dify.plugin.llm", "deps": {"plugin": "plugin"}, "config": config}

    terminal = client.finish(client.create(prompt(), plugin, llm, output(name="answer")))

    assert terminal["data"]["output"] == GOOD
    assert set(terminal["data"]) == {"output", "session_snapshot"}
    assert [tool["name"] for tool in daemon.calls("named")[0]["body"]["data"]["tools"]] == ["answer"]


def test_calls_of_the_output_tool_are_only_sent_where_the_dialect_knows_them(
    client: RunClient, daemon: ScriptedDaemon
) -> None:
    daemon.script("kinds", calls_output(GOOD))

    frames = client.follow(client.create(prompt(), *plugin_layers("kinds"), output()))

    kinds = [frame.data["data"].get("event_kind") for frame in frames]
    assert "output_tool_call" in kinds
    assert "output_tool_result" in kinds


REFUSED: dict[str, dict[str, Any]] = {
    "no object at the top": {"json_schema": {"type": "array"}},
    "no schema": {},
    "remote reference": {"json_schema": {"type": "object", "properties": {"a": {"$ref": "http://example.com/a"}}}},
    "recursive": {
        "json_schema": {
            "type": "object",
            "$defs": {"a": {"$ref": "#/$defs/a"}},
            "properties": {"a": {"$ref": "#/$defs/a"}},
        }
    },
    "invalid": {"json_schema": {"type": "object", "properties": {"a": {"type": "strange"}}}},
    "default that does not satisfy": {
        "json_schema": SCHEMA,
        "output_policy": {"on_failure": "default", "default": {"city": "x"}},
    },
    "default missing": {"json_schema": SCHEMA, "output_policy": {"on_failure": "default"}},
    "too many retries": {"json_schema": SCHEMA, "output_policy": {"max_model_retries": 6}},
    "unknown repair": {"json_schema": SCHEMA, "output_policy": {"repair": "magic"}},
    "unknown key": {"json_schema": SCHEMA, "outputpolicy": {}},
    "bad name": {"json_schema": SCHEMA, "name": "not a name"},
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_output_layer_that_cannot_work_is_refused(client: RunClient, case: str) -> None:
    layer = {"name": "output", "type": "dify.output", "config": REFUSED[case]}

    response = client.post({"composition": {"layers": [prompt(), layer]}})

    assert response.status_code == 422, response.text
    assert response.json()["code"] == "invalid_composition"
    assert response.json()["detail"].startswith("layer 'output': ")


def test_an_output_layer_of_another_name_is_refused(client: RunClient) -> None:
    response = client.post({"composition": {"layers": [prompt(), {**output(), "name": "result"}]}})

    assert response.status_code == 422
    assert "must be named 'output'" in response.json()["detail"]
