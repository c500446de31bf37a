"""What counts as JSON without any repair."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.output.strict import MAX_OUTPUT_BYTES, NotJson, check_size, read_strictly, write_json


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        ' \t\r\n{"a": 1}\n',
        '{"a": 123456789012345678901234567890123456789}',
        '{"a": -0.0, "b": 1e-7, "c": 1E5}',
        '{"a": "\\ud83d\\ude00", "b": "\\u0000", "c": "\\\\ud800"}',
        '{"a": "ends with a comma,]", "b": ",}"}',
        "[" * 64 + "]" * 64,
        '{"":{"":{}}}',
    ],
)
def test_json_is_read_as_it_is(text: str) -> None:
    assert read_strictly(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value at line 1, column 1"),
        ("{}\n{}", "Extra data at line 2, column 1"),
        ('{"a": 1,}', "not valid JSON"),
        ("{'a': 1}", "not valid JSON"),
        ("\ufeff{}", "BOM"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": [-Infinity]}', "-Infinity is not JSON"),
        ('{"a": 1e999}', "too large"),
        ('{"a": ' + "9" * 5000 + "}", "too many digits"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' is there twice"),
        ('{"x": [{"k": 1, "k": 1}]}', "the key 'k' is there twice"),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ('{"\\udfff": 1}', "half of a surrogate pair"),
        ("[" * 65 + "]" * 65, "deeper than 64"),
        ("[" * 500_000, "deeper than 64"),
        ('{"a":' * 200_000 + "1" + "}" * 200_000, "deeper than 64"),
        ('{"a": "line\nbreak"}', "not valid JSON"),
        ('{"a": 01}', "not valid JSON"),
    ],
)
def test_anything_else_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(NotJson, match=reason):
        read_strictly(text)


def test_the_size_is_counted_in_bytes() -> None:
    check_size("é" * (MAX_OUTPUT_BYTES // 2))

    for text in ("x" * (MAX_OUTPUT_BYTES + 1), "é" * (MAX_OUTPUT_BYTES // 2 + 1)):
        with pytest.raises(NotJson, match="larger than 1,048,576 bytes"):
            check_size(text)
    with pytest.raises(NotJson, match="half of a surrogate pair"):
        check_size("\ud800")


def endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["again"] = value
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("-inf"), "\ud800", {"\ud800": 1}, {1, 2}, b"x", object(), {(1, 2): 3}, endless(), deep()],
)
def test_values_that_json_cannot_hold_are_not_written(value: Any) -> None:
    with pytest.raises(NotJson):
        write_json(value)
