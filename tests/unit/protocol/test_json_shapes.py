"""What a strict reader of a JSON schema reads of a value."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.protocol.json_shapes import UNREADABLE, ShapeCompiler

TEXT = {"type": "string"}
NULL = {"type": "null"}
DEFINITIONS: dict[str, Any] = {
    "Word": {
        "type": "object",
        "properties": {"kind": {"const": "word"}, "text": TEXT, "note": TEXT},
        "required": ["text"],
    },
    "Mark": {"type": "object", "properties": {"kind": {"const": "mark"}, "sign": {"enum": [".", "!"]}}},
    "Shout": {
        "type": "object",
        "properties": {"kind": {"const": "word"}, "loud": {"const": "yes"}, "text": TEXT},
        "required": ["text"],
    },
    "Free": {
        "anyOf": [
            {"oneOf": [{"$ref": "#/$defs/Word"}, {"$ref": "#/$defs/Mark"}]},
            {"type": "object", "additionalProperties": {"$ref": "#/$defs/Free"}},
            {"type": "array", "items": {"$ref": "#/$defs/Free"}},
            {},
        ]
    },
}
WORD, MARK, SHOUT, FREE = ({"$ref": f"#/$defs/{name}"} for name in DEFINITIONS)


def read(schema: dict[str, Any], value: object) -> Any:
    return ShapeCompiler(DEFINITIONS).shape(schema)(value)


def test_a_record_is_read_without_keys_that_it_does_not_have() -> None:
    assert read(WORD, {"kind": "word", "text": "a", "new": 1}) == {"kind": "word", "text": "a"}


def test_what_is_read_is_not_changed_itself() -> None:
    value = {"kind": "word", "text": "a", "new": 1}

    read(WORD, value)

    assert value == {"kind": "word", "text": "a", "new": 1}


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "word"},
        {"kind": "word", "text": 1},
        {"kind": "word", "text": None},
        {"kind": "mark", "text": "a"},
        {"kind": None, "text": "a"},
        {"text": "a"},
        ["word"],
        "word",
        None,
    ],
)
def test_a_record_without_what_it_needs_or_of_another_kind_is_unreadable(value: object) -> None:
    assert read(WORD, value) is UNREADABLE


def test_an_optional_key_with_an_unreadable_value_is_left_out() -> None:
    assert read(WORD, {"kind": "word", "text": "a", "note": 1}) == {"kind": "word", "text": "a"}
    assert read(MARK, {"kind": "mark", "sign": "?"}) == {"kind": "mark"}


@pytest.mark.parametrize(
    ("schema", "readable", "unreadable"),
    [
        (TEXT, ["", "a"], [1, None, True, {}, []]),
        ({"type": "integer"}, [0, 7], [1.5, "1", None]),
        ({"type": "number"}, [0, 1.5], ["1", None]),
        ({"type": "boolean"}, [True, False], [1, "true", None]),
        (NULL, [None], [0, "", False]),
        ({"const": "a"}, ["a"], ["b", None]),
        ({"enum": ["a", "b"]}, ["a", "b"], ["c", None, ["a"], {"a": 1}]),
        ({"anyOf": [TEXT, NULL]}, ["a", None], [1, {}, []]),
        ({"anyOf": [{"enum": ["a"]}, NULL]}, ["a", None], ["b", 1]),
        ({"type": "object"}, [{}, {"a": {"b": 1}}], [[], "a", None]),
        ({"type": "object", "additionalProperties": True}, [{"a": [1]}], [[], None]),
        ({"type": "array"}, [[], [1, {}]], [{}, "a", None]),
        ({}, [None, 1, {"a": 1}], []),
    ],
)
def test_a_value_is_read_as_it_is_or_not_at_all(
    schema: dict[str, Any], readable: list[Any], unreadable: list[Any]
) -> None:
    assert [read(schema, value) for value in readable] == readable
    assert [read(schema, value) for value in unreadable] == [UNREADABLE] * len(unreadable)


def test_the_kind_of_a_record_decides_which_of_a_union_it_is() -> None:
    union = {"oneOf": [SHOUT, MARK, WORD]}

    assert read(union, {"kind": "word", "text": "a", "note": "n"}) == {"kind": "word", "text": "a", "note": "n"}
    assert read(union, {"kind": "word", "loud": "yes", "text": "a", "note": "n"}) == {
        "kind": "word",
        "loud": "yes",
        "text": "a",
    }
    assert read(union, {"kind": "song", "text": "a"}) is UNREADABLE


def test_items_that_are_unreadable_are_left_out() -> None:
    items = [{"kind": "mark", "new": 1}, {"kind": "song"}, 1]

    assert read({"type": "array", "items": MARK}, items) == [{"kind": "mark"}]
    assert read({"type": "object", "additionalProperties": MARK}, dict(zip("abc", items, strict=True))) == {
        "a": {"kind": "mark"}
    }


def test_where_anything_may_stand_only_a_whole_record_loses_keys() -> None:
    whole = {"kind": "word", "text": "a", "note": "n", "new": 1}
    alike = {"kind": "word", "text": "a", "new": 1}

    assert read(FREE, {"deep": [whole, alike, 1, None]}) == {
        "deep": [{"kind": "word", "text": "a", "note": "n"}, alike, 1, None]
    }


def test_a_schema_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="not a schema that can be read by"):
        ShapeCompiler({}).shape({"if": {}, "then": {}})
