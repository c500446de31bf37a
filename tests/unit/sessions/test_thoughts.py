"""Thoughts: the same rows from a run's messages and from its events."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from pydantic_ai.messages import (
    BinaryContent,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
)

from runtime.protocol.ids import new_id
from services.sessions.thoughts import Thought, thoughts_of, thoughts_so_far
from tests.unit.sessions.scripted_runs import QUESTION, Call, Text, Thinking, run_script

TURN = new_id()


def rows(*messages: ModelMessage) -> list[tuple[str, str, str, str]]:
    return [
        (thought.thought, thought.tool, thought.tool_input, thought.observation)
        for thought in thoughts_of(TURN, messages)
    ]


def said(*parts: Any) -> ModelResponse:
    return ModelResponse(parts=list(parts))


def told(*parts: Any) -> ModelRequest:
    return ModelRequest(parts=list(parts))


def test_a_part_of_thinking_that_begins_empty_is_a_paragraph_as_well() -> None:
    run = run_script([Text(("",)), Thinking(("One.",)), Thinking(("", "", "Two.")), Text(("So.",))])

    (shown,) = thoughts_so_far(TURN, run.data)
    (stored,) = thoughts_of(TURN, run.messages)

    assert shown == stored
    assert shown.thought == "One.\n\nTwo."


def test_a_row_for_each_stretch_of_thinking_and_each_call_in_the_order_of_the_messages() -> None:
    run = run_script(
        [
            Thinking(("One", ".")),
            Thinking(("Two.",)),
            Text(("Well.",)),
            Thinking(("Three.",)),
            Call("lookup", '{"answer": "ä"}', "c1", pieces=4),
            Call("lookup", '{"answer": {"b": [1]}}', "c2"),
        ],
        [Thinking(("Four.",)), Text(("So.",))],
    )

    thoughts = thoughts_of(TURN, run.messages)

    assert [(row.thought, row.tool, row.tool_input, row.observation) for row in thoughts] == [
        ("One.\n\nTwo.", "", "", ""),
        ("Three.", "", "", ""),
        ("", "lookup", '{"answer": "ä"}', "ä"),
        ("", "lookup", '{"answer": {"b": [1]}}', '{"b":[1]}'),
        ("Four.", "", "", ""),
    ]
    assert [row.position for row in thoughts] == [1, 2, 3, 4, 5]
    assert thoughts_so_far(TURN, run.data) == thoughts


def test_ids_are_the_same_each_time_and_of_this_turn_alone() -> None:
    messages: list[ModelMessage] = [said(ThinkingPart("a"), ToolCallPart("lookup", {}, "c1"))]

    ids = [row.id for row in thoughts_of(TURN, messages)]

    assert ids == [row.id for row in thoughts_of(TURN, messages)]
    assert len(set(ids)) == 2
    assert {uuid.UUID(row_id).version for row_id in ids} == {5}
    assert set(ids).isdisjoint(row.id for row in thoughts_of(new_id(), messages))


def test_a_row_goes_into_the_database_as_json() -> None:
    thought = Thought("id", 3, tool="lookup", tool_input="{}", observation="found")

    assert json.loads(json.dumps(thought.as_json())) == {
        "id": "id",
        "position": 3,
        "thought": "",
        "tool": "lookup",
        "tool_input": "{}",
        "observation": "found",
    }


def test_the_output_tool_is_no_thought() -> None:
    run = run_script(
        [Call("final_output", '{"valid": false}', "c1")],
        [Call("final_output", '{"valid": true}', "c2", pieces=3)],
        structured=True,
    )

    assert thoughts_of(TURN, run.messages) == thoughts_so_far(TURN, run.data) == []


def test_a_question_to_a_person_has_no_observation() -> None:
    run = run_script([Call("ask_human", "{}", "c1")], [Call("ask_human", json.dumps(QUESTION), "c2")])

    thoughts = thoughts_of(TURN, run.messages)

    assert [(row.tool, row.tool_input, row.observation) for row in thoughts] == [
        ("ask_human", "{}", ""),
        ("ask_human", json.dumps(QUESTION), ""),
    ]
    assert thoughts_so_far(TURN, run.data) == thoughts


def test_the_answer_to_a_call_of_an_earlier_turn_is_no_thought_of_this_one() -> None:
    messages: list[ModelMessage] = [
        told(ToolReturnPart("ask_human", {"status": "submitted"}, "c1")),
        said(TextPart("Done.")),
    ]

    assert thoughts_of(TURN, messages) == []


def test_a_call_that_was_refused_shows_what_the_model_was_told() -> None:
    run = run_script([Call("refuse", "", "c1"), Call("nothing", "{}", "c2")], [Text(("Oh.",))])

    refused, unknown = thoughts_of(TURN, run.messages)

    assert (refused.tool_input, refused.observation) == ("{}", "Not so.")
    assert "nothing" in unknown.observation
    assert thoughts_so_far(TURN, run.data) == [refused, unknown]


def test_results_find_their_calls_by_id_in_any_order() -> None:
    calls = said(ToolCallPart("lookup", "{}", "c1"), ToolCallPart("lookup", "{}", "c2"))
    results = told(ToolReturnPart("lookup", "two", "c2"), ToolReturnPart("lookup", "one", "c1"))

    assert [row[3] for row in rows(calls, results)] == ["one", "two"]


@pytest.mark.parametrize("placeholder", ["", "none", "null", "None"])
def test_with_a_placeholder_for_an_id_the_name_decides(placeholder: str) -> None:
    calls = said(ToolCallPart("lookup", "{}", placeholder), ToolCallPart("refuse", "{}", placeholder))
    results = told(ToolReturnPart("refuse", "no", placeholder), ToolReturnPart("lookup", "yes", placeholder))

    assert [row[3] for row in rows(calls, results)] == ["yes", "no"]


def test_a_result_is_not_given_to_one_of_two_matching_calls_by_guess() -> None:
    calls = said(ToolCallPart("lookup", "{}", ""), ToolCallPart("lookup", "{}", ""))

    assert [row[3] for row in rows(calls, told(ToolReturnPart("lookup", "which?", "")))] == ["", ""]


def test_a_result_for_another_id_is_not_given_to_a_call_of_the_same_name() -> None:
    call = said(ToolCallPart("lookup", "{}", "c1"))

    assert [row[3] for row in rows(call, told(ToolReturnPart("lookup", "other", "c9")))] == [""]


def test_a_call_is_answered_once() -> None:
    call = said(ToolCallPart("lookup", "{}", "c1"))
    results = told(ToolReturnPart("lookup", "first", "c1"), ToolReturnPart("lookup", "second", "c1"))

    assert [row[3] for row in rows(call, results)] == ["first"]


def test_no_row_has_characters_that_postgresql_refuses() -> None:
    call = ToolCallPart("lookup", '{"a": "\0"}', "c1")
    messages: list[ModelMessage] = [said(ThinkingPart("a\0b"), call), told(ToolReturnPart("lookup", "c\0d", "c1"))]

    assert rows(*messages) == [("ab", "", "", ""), ("", "lookup", '{"a": ""}', "cd")]


def test_thinking_without_words_is_no_row() -> None:
    assert rows(said(ThinkingPart("", id="redacted", signature="x"), TextPart("So."))) == []


def test_the_bytes_of_a_file_are_not_shown() -> None:
    file = BinaryContent(data=b"picture" * 100, media_type="image/png")
    messages: list[ModelMessage] = [
        said(ToolCallPart("draw", {"a": "ü"}, "c1")),
        told(ToolReturnPart("draw", ["here", file], "c1")),
    ]

    ((_, _, tool_input, observation),) = rows(*messages)

    assert tool_input == '{"a":"ü"}'
    assert "image/png" in observation
    assert len(observation) < 300


def test_a_call_that_was_cut_is_shown_as_far_as_it_arrived() -> None:
    run = run_script([Call("lookup", '{"answer": 12345}', "c1", pieces=3)], cancel_after=2)

    (thought,) = thoughts_so_far(TURN, run.data)

    assert thought.tool == "lookup"
    assert thought.tool_input == '{"answer": 1'
