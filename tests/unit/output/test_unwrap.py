"""Objects and lists that a model wrote as a string of their JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.output import OutputChecker, OutputPolicy, OutputRejected, OutputSchema, Repair
from runtime.output.judge import CheckedOutput, judge
from runtime.output.strict import MAX_DEPTH
from runtime.output.unwrap import MAX_PLACES
from runtime.output.validation import JsonSchema, Validation

OBJECT: dict[str, Any] = {"type": "object"}
LIST: dict[str, Any] = {"type": "array"}
STRING: dict[str, Any] = {"type": "string"}
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}, "note": STRING},
    "required": ["x"],
    "additionalProperties": False,
}


def having(part: JsonSchema, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": part, **more}}


def check(schema: JsonSchema, text: str, repair: Repair = Repair.SAFE) -> CheckedOutput:
    return judge(Validation(schema), text, repair)


def told(checked: CheckedOutput) -> list[tuple[str, int]]:
    return [(made.kind, made.offset) for made in checked.repairs]


@pytest.mark.parametrize("repair", [Repair.SAFE, Repair.LENIENT])
@pytest.mark.parametrize(
    ("schema", "written", "value"),
    [
        (POINT, '{"x": 1}', {"x": 1}),
        (POINT, ' {"x": 1}\n', {"x": 1}),
        (POINT, {"x": 1, "tags": '["a", "[]"]'}, {"x": 1, "tags": ["a", "[]"]}),
        (POINT, '{"x": 1, "tags": "[\\"a\\"]"}', {"x": 1, "tags": ["a"]}),
        (having(POINT), {"a": '{"x": 1, "note": "{}"}'}, {"a": {"x": 1, "note": "{}"}}),
        (having({"type": ["object", "null"]}), {"a": "{}"}, {"a": {}}),
        (having({"type": ["object", "array"]}), {"a": "[{}]"}, {"a": [{}]}),
        (having({"anyOf": [POINT, {"type": "null"}]}), {"a": '{"x": 1}'}, {"a": {"x": 1}}),
        (having({"oneOf": [LIST, POINT]}), {"a": '{"x": 1}'}, {"a": {"x": 1}}),
        (having({"allOf": [OBJECT, POINT]}), {"a": '{"x": 1}'}, {"a": {"x": 1}}),
        (having({"$ref": "#/$defs/p"}) | {"$defs": {"p": POINT}}, {"a": '{"x": 1}'}, {"a": {"x": 1}}),
        (having({"type": "array", "items": POINT}), {"a": ['{"x": 1}', {"x": 2}]}, {"a": [{"x": 1}, {"x": 2}]}),
        ({"type": "array", "items": {"type": "integer"}}, "[1, 2]", [1, 2]),
        (
            having({"anyOf": [having(OBJECT, kind={"const": "one"}), having(STRING, kind={"const": "two"})]}),
            {"a": {"kind": "one", "a": "{}"}},
            {"a": {"kind": "one", "a": {}}},
        ),
        (
            having({"anyOf": [having(OBJECT, b=OBJECT), having(OBJECT, b=STRING)]}),
            {"a": {"a": "{}", "b": "{}"}},
            {"a": {"a": {}, "b": "{}"}},
        ),
    ],
)
def test_a_string_of_what_the_schema_wants_is_unwrapped(
    schema: JsonSchema, written: Any, value: Any, repair: Repair
) -> None:
    checked = check(schema, json.dumps(written), repair)

    assert checked.value == value
    assert [made.kind for made in checked.repairs] == ["json_in_string"]


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        # A string is allowed.
        (having({"type": ["object", "string"], "maxLength": 1}), {"a": "{}"}),
        (having({"anyOf": [OBJECT, {"type": "string", "maxLength": 1}]}), {"a": "{}"}),
        (having({"anyOf": [OBJECT, {"enum": ["one", "two"]}]}), {"a": "{}"}),
        (having({"anyOf": [OBJECT, {"type": "string", "pattern": "^x"}]}), {"a": "{}"}),
        # Neither an object nor a list is wanted.
        (having({"type": "integer"}), {"a": "1"}),
        (having({"type": "null"}), {"a": "{}"}),
        (having(False), {"a": "{}"}),
        # The text is something else, or not exactly that.
        (POINT, "it is x"),
        (POINT, "1"),
        (POINT, "[1]"),
        (having(OBJECT), {"a": "[]"}),
        (having(LIST), {"a": "{}"}),
        (having(OBJECT), {"a": "{} {}"}),
        (having(OBJECT), {"a": "so: {}"}),
        (having(OBJECT), {"a": "{'b': 1}"}),
        (having(OBJECT), {"a": '{"b": 1,}'}),
        (having(OBJECT), {"a": '{"b": 1, "b": 2}'}),
        (having(OBJECT), {"a": '{"b": NaN}'}),
        (having(OBJECT), {"a": '{"b": "\\ud800"}'}),
        # It does not satisfy the schema either.
        (POINT, '{"x": "one"}'),
        (POINT, {"x": "one", "tags": "[]"}),
        (having({"anyOf": [having(OBJECT, b=False), having(STRING, b=STRING)]}), {"a": {"a": "{}", "b": 1}}),
        # More than one reading is left.
        (having({"anyOf": [{**having(OBJECT), "required": ["b"]}, having(LIST)]}), {"a": {"a": "{}"}}),
        # One level, not two.
        (POINT, json.dumps('{"x": 1}')),
        (having(POINT), {"a": json.dumps({"x": 1, "tags": "[]"})}),
    ],
)
def test_any_other_string_stays(schema: JsonSchema, written: Any) -> None:
    text = json.dumps(written)
    with pytest.raises(OutputRejected) as as_it_came:
        check(schema, text, Repair.NONE)

    with pytest.raises(OutputRejected) as caught:
        check(schema, text)

    assert caught.value.problems == as_it_came.value.problems


def test_a_string_that_the_schema_allows_is_left_as_it_is() -> None:
    text = '{"a": "{}", "b": "[1]"}'

    checked = check(having(STRING), text)

    assert checked.text == text
    assert checked.repairs == []


def test_without_repair_nothing_is_unwrapped() -> None:
    with pytest.raises(OutputRejected):
        check(POINT, json.dumps('{"x": 1}'), Repair.NONE)


@pytest.mark.parametrize(
    ("schema", "text", "repairs"),
    [
        (POINT, r'"{\"x\": 1}"', [("json_in_string", 0)]),
        (POINT, r' {"note": "é[]", "x": 1, "tags" :  "[]"}', [("json_in_string", 35)]),
        (
            having({"type": "array", "items": POINT}),
            r'{"b": [1, {"c": 2}], "a": [{"x": 1}, "{\"x\": 2}", "{\"x\": 3}"]}',
            [("json_in_string", 37)],
        ),
        (
            having(OBJECT, b=OBJECT),
            r'So: {"c": [1,], "b": "{}", "a": "{}",}',
            [("surrounding_text", 0), ("trailing_commas", 12), ("json_in_string", 21)],
        ),
        (having(OBJECT), '\ufeff{"a": "{}"}', [("byte_order_mark", 0), ("json_in_string", 7)]),
    ],
)
def test_the_repair_says_where_the_first_string_begins(
    schema: JsonSchema, text: str, repairs: list[tuple[str, int]]
) -> None:
    assert told(check(schema, text)) == repairs


def test_repaired_text_is_unwrapped_as_well() -> None:
    checked = check(having(OBJECT), "{a: '{}'", Repair.LENIENT)

    assert checked.value == {"a": {}}
    assert told(checked) == [("json_repair", 1), ("json_in_string", 1)]


def test_large_numbers_keep_their_digits() -> None:
    digits = "1234567890" * 10

    assert check(having(OBJECT), json.dumps({"a": f'{{"b": {digits}}}'})).value == {"a": {"b": int(digits)}}


def test_an_answer_with_too_many_such_strings_stays() -> None:
    schema = {"type": "array", "items": OBJECT}

    assert check(schema, json.dumps(["{}"] * MAX_PLACES)).value == [{}] * MAX_PLACES
    with pytest.raises(OutputRejected):
        check(schema, json.dumps(["{}"] * (MAX_PLACES + 1)))


def test_a_string_whose_content_would_be_too_deep_or_too_large_stays() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert check(LIST, json.dumps(deep)).value
    with pytest.raises(OutputRejected):
        check(having(LIST), json.dumps({"a": deep}))

    grows = "[" + ",".join(["1e15"] * 100_000) + "]"
    with pytest.raises(OutputRejected):
        check(having(LIST), json.dumps({"a": grows}))


def test_strings_in_strings_are_unwrapped_once() -> None:
    text: Any = {"x": 1}
    while len(json.dumps(text)) < 500_000:
        text = json.dumps(text)

    # What is unwrapped is not looked into again and again.
    with pytest.raises(OutputRejected):
        check(POINT, json.dumps(text))


def test_alternatives_inside_each_other_are_gone_through_once() -> None:
    schema: dict[str, Any] = {"anyOf": [OBJECT, {"type": "null"}]}
    for _ in range(30):
        schema = {"anyOf": [schema]}

    # Going through them once more at each level would take hours.
    assert check(having(schema), '{"a": "{}"}').value == {"a": {}}


def test_a_checker_unwraps_long_answers_in_the_other_process() -> None:
    checker = OutputChecker(OutputSchema.parse(having(LIST)), OutputPolicy(repair=Repair.SAFE))
    numbers = list(range(20_000))

    checked = checker.check(json.dumps({"a": json.dumps(numbers)}))

    assert checked.value == {"a": numbers}
    assert told(checked) == [("json_in_string", 6)]


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(
    value=st.dictionaries(st.text(max_size=3), VALUES, max_size=4),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    data=st.data(),
)
def test_any_wrapped_value_is_unwrapped_to_itself(
    value: dict[str, Any], indent: int | None, ascii_only: bool, data: st.DataObject
) -> None:
    containers = [key for key, part in value.items() if isinstance(part, dict | list)]
    wrapped = data.draw(st.sets(st.sampled_from(containers)) if containers else st.just(set()))
    types = {key: {"type": "array" if isinstance(value[key], list) else "object"} for key in containers}
    written = {
        key: json.dumps(part, ensure_ascii=ascii_only) if key in wrapped else part for key, part in value.items()
    }
    text = json.dumps(written, indent=indent, ensure_ascii=ascii_only)

    checked = check({"type": "object", "properties": types}, text)

    assert checked.value == value
    assert len(checked.repairs) == bool(wrapped)
    if wrapped:
        first = next(key for key in written if key in wrapped)
        [made] = checked.repairs
        assert text.startswith(json.dumps(written[first], ensure_ascii=ascii_only), made.offset)
