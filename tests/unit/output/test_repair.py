"""What is repaired, under which name, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.output import Repair
from runtime.output.repair import read_output
from runtime.output.strict import NotJson

FENCE = "```"


@pytest.mark.parametrize(
    ("text", "value", "repairs"),
    [
        ('{"a": 1}', {"a": 1}, []),
        ('\ufeff{"a": 1}', {"a": 1}, ["byte_order_mark"]),
        ('{"a": [1, 2, ], }', {"a": [1, 2]}, ["trailing_commas"]),
        ('{"a": [1,\n]\t,\r\n}', {"a": [1]}, ["trailing_commas"]),
        ('{"a": "x,}", "b": ["y,]",],}', {"a": "x,}", "b": ["y,]"]}, ["trailing_commas"]),
        ('{"a": "\\",}",}', {"a": '",}'}, ["trailing_commas"]),
        (f'{FENCE}json\n{{"a": 1}}\n{FENCE}', {"a": 1}, ["fenced_block"]),
        (f'{FENCE}\n{{"a": 1}}\n{FENCE}', {"a": 1}, ["fenced_block"]),
        (
            f'Of {{course}}:\r\n{FENCE} JSON \r\n{{"a": 1,}}\r\n{FENCE}\r\nBye',
            {"a": 1},
            ["fenced_block", "trailing_commas"],
        ),
        (f'{FENCE}json {{"a": 1}} {FENCE}', {"a": 1}, ["surrounding_text"]),
        (f'{FENCE}json\n{{"a": 1}}', {"a": 1}, ["surrounding_text"]),
        (f'Look: {{"md": "{FENCE}\\nx\\n{FENCE}"}}', {"md": f"{FENCE}\nx\n{FENCE}"}, ["surrounding_text"]),
        ('Here it is: {"a": {"b": []}} Is that right?', {"a": {"b": []}}, ["surrounding_text"]),
        ('{"a": "} \\" {"} done', {"a": '} " {'}, ["surrounding_text"]),
        ('{"a": 1},', {"a": 1}, ["surrounding_text"]),
        ('\ufeffSo: {"a": 1,}', {"a": 1}, ["byte_order_mark", "surrounding_text", "trailing_commas"]),
        ('It\'s {"a": 12345678901234567890123}', {"a": 12345678901234567890123}, ["surrounding_text"]),
    ],
)
@pytest.mark.parametrize("repair", [Repair.SAFE, Repair.LENIENT])
def test_a_repair_that_changes_no_value_is_safe(text: str, value: Any, repairs: list[str], repair: Repair) -> None:
    reading = read_output(text, repair)

    assert (reading.value, [made.kind for made in reading.repairs]) == (value, repairs)
    assert json.loads(reading.text) == value


@pytest.mark.parametrize(
    ("text", "offsets"),
    [
        ('\ufeffSo: {"a": 1,}', {"byte_order_mark": 0, "surrounding_text": 1, "trailing_commas": 12}),
        ('{"a": 1} I hope.', {"surrounding_text": 9}),
        ('  {"é": [1,], "b": 2,}', {"trailing_commas": 10}),
        (f'Hm.\n{FENCE}json\n{{"a": 1,}}\n{FENCE}', {"fenced_block": 4, "trailing_commas": 19}),
        ('One {"a": 1} or {"a": 2}', {"surrounding_text": 0, "first_of_several": 4}),
        ('[1] then {"a": 1}', {"surrounding_text": 0, "first_of_several": 9}),
        ('{"a": 1, b: 2}', {"json_repair": 9}),
        (f"\ufeff{FENCE}\n{{a: 1}}\n{FENCE}", {"byte_order_mark": 0, "fenced_block": 1, "json_repair": 6}),
        ('{"a": 1, "a": 2}', {"json_repair": 0}),
    ],
)
def test_a_repair_says_where_in_the_text_it_was_first_needed(text: str, offsets: dict[str, int]) -> None:
    reading = read_output(text, Repair.LENIENT)

    assert {made.kind: made.offset for made in reading.repairs} == offsets


@pytest.mark.parametrize(
    ("text", "value", "repairs"),
    [
        ("\ufeff42", 42, ["byte_order_mark"]),
        (f"{FENCE}json\ntrue\n{FENCE}", True, ["fenced_block"]),
        ("Here: [1, 2,]", [1, 2], ["surrounding_text", "trailing_commas"]),
        ('[1] or {"a": 2}', [1], ["surrounding_text", "first_of_several"]),
        ("[1, 'a'", [1, "a"], ["json_repair"]),
    ],
)
def test_values_other_than_objects_are_read_when_the_schema_allows_them(
    text: str, value: Any, repairs: list[str]
) -> None:
    reading = read_output(text, Repair.LENIENT, only_objects=False)

    assert (reading.value, [made.kind for made in reading.repairs]) == (value, repairs)


@pytest.mark.parametrize("text", ["", "Paris", "the answer is 42", "'Paris'", "True", '"x', "{" * 1000])
def test_a_bare_value_is_never_guessed(text: str) -> None:
    with pytest.raises(NotJson):
        read_output(text, Repair.LENIENT, only_objects=False)


UNSAFE = {
    "nothing": "",
    "prose": "I do not know.",
    "a bare value": "\ufeff42",
    "two values": '{"a": 1} or {"a": 2}',
    "two blocks": f'{FENCE}\n{{"a": 1}}\n{FENCE}\n{FENCE}\n{{"a": 2}}\n{FENCE}',
    "a mark in brackets": 'As said in [1]: {"a": 1}',
    "a placeholder beside it": 'Hello {name}: {"a": 1}',
    "one that was not finished": '{"a": {"b": 1}',
    "another one begun": '{"a": 1} and {"b"',
    "one that closes twice": '"a": {"b": 1}}',
    "brackets that cross": '{"a": [1}]',
    "a part of something": '"a": {"b": 1}',
    "a part of something larger": 'x {"a": 1}, "b": 2',
    "no comma at all": '{"a": [,]}',
    "no comma after white space": '{"a": [ ,]}',
    "commas twice": '{"a": [1,,]}',
    "a comma for a value": '{"a": ,}',
    "quotes of another kind": "{'a': 1}",
    "keys without quotes": "{a: 1}",
    "a comment": '{"a": 1 /* one */}',
    "NaN": 'x {"a": NaN}',
    "a key twice": 'x {"a": 1, "a": 2}',
    "half a character": 'x {"a": "\\ud800"}',
    "an unfinished text": '{"a": "x',
    "an open fence inside": f'{FENCE}\n{{"a": {FENCE}',
}


@pytest.mark.parametrize("text", UNSAFE.values(), ids=UNSAFE)
def test_a_repair_that_could_change_a_value_is_not_safe(text: str) -> None:
    with pytest.raises(NotJson):
        read_output(text, Repair.SAFE)


@pytest.mark.parametrize("text", ['\ufeff{"a": 1}', '{"a": 1,}', f'{FENCE}\n{{"a": 1}}\n{FENCE}', 'So: {"a": 1}'])
def test_without_repair_only_json_counts(text: str) -> None:
    with pytest.raises(NotJson):
        read_output(text, Repair.NONE)


@pytest.mark.parametrize(
    ("text", "value", "repairs"),
    [
        ("{a: 1}", {"a": 1}, ["json_repair"]),
        ("{'a': True, 'b': None}", {"a": True, "b": None}, ["json_repair"]),
        ('{"a": {"b": [1, 2', {"a": {"b": [1, 2]}}, ["json_repair"]),
        ('{"a": 1 /* one */}', {"a": 1}, ["json_repair"]),
        ('{"a": 1, "a": 2}', {"a": 2}, ["json_repair"]),
        ('{"a": 1} or {"a": 2}', {"a": 1}, ["surrounding_text", "first_of_several"]),
        ('As in [1]: {"a": 1,}', {"a": 1}, ["surrounding_text", "trailing_commas", "first_of_several"]),
        ('Hello {name}: {"a": 1}', {"a": 1}, ["surrounding_text", "first_of_several"]),
        (f"{FENCE}json\n{{a: 1}}\n{FENCE}", {"a": 1}, ["fenced_block", "json_repair"]),
    ],
)
def test_lenient_repair_guesses(text: str, value: Any, repairs: list[str]) -> None:
    reading = read_output(text, Repair.LENIENT)

    assert (reading.value, [made.kind for made in reading.repairs]) == (value, repairs)


@pytest.mark.parametrize("text", ["", "I do not know.", "[1, 2", '"x', "{" * 100_000, '{"a"' * 100_000, '{"a": 1e999'])
def test_lenient_repair_does_not_make_an_object_of_everything(text: str) -> None:
    with pytest.raises(NotJson):
        read_output(text, Repair.LENIENT)


def test_the_error_of_an_unrepairable_text_is_that_of_the_original_text() -> None:
    with pytest.raises(NotJson) as caught:
        read_output('{"a": 1} {"a": 2}', Repair.SAFE)

    assert str(caught.value) == "not valid JSON: Extra data at line 1, column 10; it holds several JSON values"


@pytest.mark.parametrize(
    "text",
    ['\\"' * 500_000, '"' * 1_000_000, "```" + " " * 1_000_000 + "x!", "```\n" * 250_000, '{"a":[' + "," * 1_000_000],
)
def test_safe_repair_takes_time_in_proportion_to_the_text(text: str) -> None:
    # What takes the square of it would take hours here.
    with pytest.raises(NotJson):
        read_output(text, Repair.SAFE)
