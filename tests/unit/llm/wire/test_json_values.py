"""JSON with halves of characters in it, and what is no JSON."""

from __future__ import annotations

import pytest

from runtime.llm.wire.json_values import is_json_object, read_json, without_halves


@pytest.mark.parametrize("text", [r'{"a": "\ud83d"}', rb'{"a": "\ud83d"}', '{"a": "\ud83d"}'])
def test_half_a_character_is_read_and_can_be_replaced(text: str | bytes) -> None:
    value = read_json(text)

    assert value == {"a": "\ud83d"}
    assert without_halves({"k": [value], "\ude00": 1}) == {"k": [{"a": "\ufffd"}], "\ufffd": 1}


@pytest.mark.parametrize(
    "text",
    ["", "{", "{} {}", "NaN", '{"a": Infinity}', "[" * 100_000, b"\xff", '{"a": "\xe9"}'.encode("utf-16"), "<html>"],
)
def test_text_that_is_not_json_is_refused_without_being_shown(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"^not JSON$"):
        read_json(text)


@pytest.mark.parametrize(
    ("text", "is_whole"),
    [("{}", True), (' {"a": "\ud83d"} ', True), ('{"a"', False), ("[]", False), ("", False), ("{}{}", False)],
)
def test_only_a_complete_object_counts_as_one(text: str, is_whole: bool) -> None:
    assert is_json_object(text) is is_whole
