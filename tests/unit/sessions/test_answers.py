"""The answer of a turn as text."""

from __future__ import annotations

import json

import pytest

from services.sessions.answers import answer_text, question_text, storable


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (None, ""),
        ("", ""),
        ("null", "null"),
        ("Grüße 👋\n", "Grüße 👋\n"),
        ({"text": "inner", "more": 1}, "inner"),
        ({"text": ""}, ""),
        ({"text": None}, '{"text":null}'),
        ({"text": ["a"]}, '{"text":["a"]}'),
        ({"näme": "Zoë", "n": [1, 2.5, True, None]}, '{"näme":"Zoë","n":[1,2.5,true,null]}'),
        ([], "[]"),
        ({}, "{}"),
        (0, "0"),
        (False, "false"),
    ],
)
def test_an_output_becomes_the_answer_by_one_rule(output: object, text: str) -> None:
    assert answer_text(output) == text


def test_characters_that_postgresql_refuses_are_removed_from_the_answer() -> None:
    assert answer_text("a\0b\ud83dc\ude00d") == "abcd"
    assert answer_text({"text": "\0"}) == ""
    assert answer_text("whole 😀") == "whole 😀"


def test_json_in_an_answer_reads_as_the_output() -> None:
    output = {"a": "\0", "b": "\n", "c": "\u2028"}

    assert json.loads(answer_text(output)) == output


@pytest.mark.parametrize("cut", range(6))
def test_cleaning_pieces_gives_the_same_as_cleaning_the_whole(cut: int) -> None:
    text = "a\0\ud83d\ude00b"

    assert storable(text[:cut]) + storable(text[cut:]) == storable(text) == "ab"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"question": "Go?"}, "Go?"),
        ({"question": "Go?", "markdown": None}, "Go?"),
        ({"question": "Go?", "markdown": "*Really*\n\0"}, "Go?\n\n*Really*\n"),
    ],
)
def test_a_question_is_shown_with_its_explanation(arguments: dict[str, object], text: str) -> None:
    call = {"tool_call_id": "c", "tool_name": "ask_human", "args": arguments, "metadata": {}}

    assert question_text(call) == text
