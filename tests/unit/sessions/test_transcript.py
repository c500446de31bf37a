"""The messages of a turn, rebuilt from its run's events, against those that Pydantic AI has of the same run."""

from __future__ import annotations

import asyncio
from itertools import zip_longest
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import (
    AgentStreamEvent,
    ModelMessage,
    ModelResponse,
    NativeToolCallPart,
    NativeToolReturnPart,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    repair_messages,
)
from pydantic_ai.models.test import TestModel
from pydantic_core import to_jsonable_python

from services.sessions.transcript import answer_so_far, rebuild_messages
from tests.unit.sessions.scripted_runs import QUERY, Call, Response, Text, Thinking, run_script

INTERRUPTED = "The tool call was interrupted before a result was produced."

TALK: list[Response] = [
    [
        Thinking(("Let me ", "see."), "signed"),
        Text(("I ", "look ", "it up.")),
        Call("lookup", '{"answer": {"näme": [1]}}', "c1", pieces=3),
        Call("refuse", "", "c2"),
        Call("nothing", "{}", "c3"),
    ],
    [Call("lookup", '{"answer": "again"}', "c4"), Call("lookup", '{"answer', "c5")],
    [Thinking(("So it is.",)), Text(("It ", "is ", "so."))],
]
"""A run of 30 events and more, with every kind of result."""


def shape(messages: list[ModelMessage]) -> list[tuple[str, list[Any]]]:
    """All that a model is shown of messages."""
    shapes: list[tuple[str, list[Any]]] = []
    for message in messages:
        parts = [
            {key: value for key, value in to_jsonable_python(part).items() if key not in ("timestamp", "metadata")}
            for part in message.parts
        ]
        shapes.append((message.kind, parts))
    return shapes


def data_of(*events: AgentStreamEvent) -> list[dict[str, Any]]:
    return [to_jsonable_python(event) for event in events]


def parts_of(*events: AgentStreamEvent) -> list[Any]:
    """What is rebuilt of the only response of a run that was cut after these events."""
    messages = rebuild_messages(QUERY, data_of(*events))
    return [part for message in messages if isinstance(message, ModelResponse) for part in message.parts]


def test_a_whole_run_is_rebuilt_as_it_was() -> None:
    run = run_script(*TALK)

    rebuilt = rebuild_messages(QUERY, run.data)

    assert shape(rebuilt) == shape(run.messages)
    assert {message.state for message in rebuilt} == {"complete"}


@pytest.mark.parametrize("cancel_after", range(1, 33))
def test_a_run_cancelled_anywhere_is_rebuilt_as_pydantic_ai_keeps_it(cancel_after: int) -> None:
    run = run_script(*TALK, cancel_after=cancel_after)

    rebuilt = rebuild_messages(QUERY, run.data)

    nothing: tuple[str, list[Any]] = ("", [])
    for mine, theirs in zip_longest(shape(rebuilt), shape(repair_messages(run.messages)), fillvalue=nothing):
        assert mine[0] in ("", theirs[0])
        assert all(map(_is_the_same, mine[1], theirs[1]))
        # Pydantic AI may know of one part more, which was not an event yet or has not come whole. Signed thinking is
        # not kept without what it led to.
        more = [part for part in theirs[1][len(mine[1]) :] if part["part_kind"] != "thinking"]
        assert len(more) <= 1


def _is_the_same(mine: dict[str, Any], theirs: dict[str, Any]) -> bool:
    if mine.get("outcome") == "interrupted":
        return bool(mine["tool_call_id"] == theirs["tool_call_id"])
    return mine == theirs


@pytest.mark.parametrize("cancel_after", range(1, 33))
def test_any_model_can_go_on_from_an_interrupted_run(cancel_after: int) -> None:
    run = run_script(*TALK, cancel_after=cancel_after)
    history = rebuild_messages(QUERY, run.data)

    result = asyncio.run(Agent(TestModel()).run("Go on.", message_history=history))

    shown = result.all_messages()
    calls = [part.tool_call_id for message in shown for part in message.parts if isinstance(part, ToolCallPart)]
    results = [part.tool_call_id for message in shown for part in message.parts if part.part_kind == "tool-return"]
    assert sorted(calls) == sorted(results)


def test_a_call_that_was_under_way_has_a_result_that_says_so() -> None:
    script = [Call("lookup", '{"answer": 1}', "c1"), Call("wait", "{}", "c2")]
    run = run_script(script, cancel_after=7)

    *_, response, request = rebuild_messages(QUERY, run.data)

    assert [part.tool_call_id for part in response.parts if isinstance(part, ToolCallPart)] == ["c1", "c2"]
    results = {part.tool_call_id: part for part in request.parts if part.part_kind == "tool-return"}
    assert results["c1"].content == 1
    assert results["c1"].outcome == "success"
    assert results["c2"].content == INTERRUPTED
    assert results["c2"].outcome == "interrupted"
    assert (response.state, request.state) == ("complete", "interrupted")


def test_calls_with_the_same_id_each_have_a_result() -> None:
    run = run_script([Call("lookup", "{}", "same"), Call("wait", "{}", "same")], cancel_after=4)

    *_, request = rebuild_messages(QUERY, run.data)

    assert [part.tool_call_id for part in request.parts if part.part_kind == "tool-return"] == ["same", "same"]


def test_when_nothing_was_said_there_is_only_the_user() -> None:
    assert shape(rebuild_messages(QUERY, [])) == [("request", [{"content": QUERY, "part_kind": "user-prompt"}])]
    assert rebuild_messages(None, []) == []


def test_the_answer_to_a_call_of_an_earlier_run_stands_before_what_the_user_says() -> None:
    earlier = run_script([Call("lookup", '{"answer": "late"}', "c1")], [Text(("Done.",))]).data
    events = [data for data in earlier if data.get("part", {}).get("part_kind") != "tool-call"]

    with_query = rebuild_messages(QUERY, events)
    without = rebuild_messages(None, events)

    assert [[part.part_kind for part in message.parts] for message in with_query] == [
        ["tool-return", "user-prompt"],
        ["text"],
    ]
    assert [[part.part_kind for part in message.parts] for message in without] == [["tool-return"], ["text"]]


def test_an_answer_that_was_rejected_and_the_next_one_are_two_responses() -> None:
    run = run_script([Text(("no json",))], [Call("final_output", '{"valid": true}', "c1")], structured=True)

    responses = [message for message in rebuild_messages(QUERY, run.data) if isinstance(message, ModelResponse)]

    assert [[part.part_kind for part in message.parts] for message in responses] == [["text"], ["tool-call"]]


def test_thinking_that_its_provider_has_not_signed_yet_is_left_out() -> None:
    start = PartStartEvent(index=0, part=ThinkingPart("Hm", provider_name="anthropic"))
    signed = PartDeltaEvent(index=0, delta=ThinkingPartDelta(signature_delta="s"))
    text = PartStartEvent(index=1, part=TextPart("So"), previous_part_kind="thinking")

    assert parts_of(start) == []
    assert parts_of(start, text) == [TextPart("So")]
    assert [part.part_kind for part in parts_of(start, signed, text)] == ["thinking", "text"]


def test_thinking_of_a_provider_is_not_kept_without_what_it_led_to() -> None:
    thinking = ThinkingPart("Hm", id="rs_1", signature="s", provider_name="openai")
    call = ToolCallPart("lookup", '{"answ', "c1")
    events: list[AgentStreamEvent] = [
        PartStartEvent(index=0, part=thinking),
        PartEndEvent(index=0, part=thinking, next_part_kind="tool-call"),
        PartStartEvent(index=1, part=call, previous_part_kind="thinking"),
    ]

    assert parts_of(*events) == []


def test_thinking_without_a_provider_is_kept_as_far_as_it_arrived() -> None:
    start = PartStartEvent(index=0, part=ThinkingPart("Let "))
    more = PartDeltaEvent(index=0, delta=ThinkingPartDelta(content_delta="me"))

    assert parts_of(start, more) == [ThinkingPart("Let me")]


def test_a_search_of_the_provider_is_kept_only_with_what_it_found() -> None:
    call = NativeToolCallPart("web_search", {"q": "x"}, "n1", provider_name="anthropic")
    found = NativeToolReturnPart("web_search", "page", "n1", provider_name="anthropic")
    started = PartStartEvent(index=0, part=call)
    returned = PartStartEvent(index=1, part=found, previous_part_kind="builtin-tool-call")

    assert parts_of(started) == []
    assert [part.part_kind for part in parts_of(started, returned)] == ["builtin-tool-call", "builtin-tool-return"]


@pytest.mark.parametrize(
    ("arguments", "is_kept"),
    [('{"a": 1}', True), ('{"a": 1', False), ("1", False), ("", False), (None, False), ({"a": 1}, True)],
)
def test_a_call_is_kept_when_its_arguments_had_come_whole(arguments: Any, is_kept: bool) -> None:
    start = PartStartEvent(index=0, part=ToolCallPart("lookup", arguments, "c1"))

    assert bool(parts_of(start)) is is_kept


def test_the_answer_so_far_is_all_text_of_all_responses() -> None:
    run = run_script(*TALK)

    assert answer_so_far(run.data) == "I look it up.It is so."
    assert answer_so_far([]) == ""
