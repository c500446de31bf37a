"""Whatever a model writes, the answer is a value or a reason."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runtime.output import InvalidOutputSchema, OutputSchema, Repair
from runtime.output.repair import Reading, read_output
from runtime.output.strict import NotJson

CHARACTERS = st.characters(exclude_categories=())  # halves of surrogate pairs too
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.text(), VALUES)
PIECES = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"',
        "\\",
        "```",
        "```json\n",
        "\n```\n",
        "\ufeff",
        " ",
        "\n",
        '"a"',
        "1",
        "null",
        "NaN",
        "x",
    ]
)
TRICKY = st.text(',]}"\\ a', max_size=6)
SOUP = st.lists(PIECES | st.text(CHARACTERS, max_size=3), max_size=40).map("".join)


@st.composite
def mutated_json(draw: st.DrawFn) -> str:
    text = json.dumps(draw(OBJECTS), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 2])))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 5)))
        text = text[:start] + draw(PIECES | st.just("")) + text[end:]
    return text


TEXTS = (
    st.text(CHARACTERS) | SOUP | mutated_json() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape"))
)


def reading_or_none(text: str, repair: Repair, *, only_objects: bool = True) -> Reading | None:
    """None when the text is refused; any other error is a failure."""
    try:
        return read_output(text, repair, only_objects=only_objects)
    except NotJson:
        return None


@given(text=TEXTS, repair=st.sampled_from(Repair), only_objects=st.booleans())
def test_any_text_gives_a_value_or_a_reason(text: str, repair: Repair, only_objects: bool) -> None:
    reading = reading_or_none(text, repair, only_objects=only_objects)

    if reading is not None:
        json.dumps(reading.value, allow_nan=False)
        assert json.loads(reading.text) == reading.value
        assert all(0 <= made.offset < len(text) for made in reading.repairs)


@given(value=VALUES, repair=st.sampled_from(Repair), indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_json_comes_through_unchanged(value: Any, repair: Repair, indent: int | None, ascii_only: bool) -> None:
    reading = read_output(json.dumps(value, indent=indent, ensure_ascii=ascii_only), repair)

    assert reading.value == value
    assert reading.repairs == []


@given(text=TEXTS)
def test_safe_repair_changes_no_value_that_is_json_already(text: str) -> None:
    strict = reading_or_none(text, Repair.NONE)

    for repair in (Repair.SAFE, Repair.LENIENT):
        assert strict is None or read_output(text, repair) == strict


@given(
    value=OBJECTS,
    before=st.text(st.characters(exclude_characters='[]{}`"')),
    after=st.text(st.characters(exclude_characters='[]{}`"')),
)
def test_prose_around_an_object_is_left_out_and_nothing_else(value: dict[str, Any], before: str, after: str) -> None:
    text = f"{before}{json.dumps(value)}{after}"

    assert read_output(text, Repair.SAFE).value == value


@given(
    value=OBJECTS,
    fence=st.sampled_from(["```", "```json", "``` JSON"]),
    prose=st.text(st.characters(exclude_characters="`")),
)
def test_a_fenced_object_is_found_whatever_is_around(value: dict[str, Any], fence: str, prose: str) -> None:
    text = f"{prose}\n{fence}\n{json.dumps(value, indent=1)}\n```\n{prose}"

    assert read_output(text, Repair.SAFE).value == value


@given(
    value=st.dictionaries(TRICKY, st.lists(TRICKY | st.integers(), min_size=1), min_size=1),
    comma=st.sampled_from([",", " ,", ",\n"]),
)
def test_trailing_commas_go_and_strings_keep_theirs(value: dict[str, Any], comma: str) -> None:
    text = (
        "{"
        + ",".join(f"{json.dumps(key)}: {json.dumps(part)[:-1]}{comma}]" for key, part in value.items())
        + comma
        + "}"
    )

    reading = read_output(text, Repair.SAFE)

    assert reading.value == value
    assert [(made.kind, text[made.offset]) for made in reading.repairs] == [("trailing_commas", ",")]


@given(
    schema=st.recursive(
        VALUES,
        lambda inner: st.dictionaries(
            st.sampled_from(
                [
                    *("$defs", "$dynamicRef", "$id", "$ref", "$schema", "additionalProperties", "allOf", "anyOf"),
                    *("dependencies", "enum", "if", "items", "minimum", "not", "pattern", "patternProperties"),
                    *("prefixItems", "properties", "required", "type", "unevaluatedProperties"),
                ]
            ),
            inner
            | st.sampled_from(["object", "string", "#/$defs/a", "#/$defs/a/items", "("])
            | st.lists(inner, max_size=2),
            max_size=4,
        ),
        max_leaves=15,
    ),
    value=OBJECTS,
)
def test_any_schema_is_refused_or_can_be_used(schema: Any, value: dict[str, Any]) -> None:
    definitions = {"a": schema, "b": {"items": {"$ref": "#/$defs/a"}}}
    try:
        parsed = OutputSchema.parse({"type": "object", "properties": {"a": schema}, "$defs": definitions})
    except InvalidOutputSchema:
        return

    assert parsed.inlined["type"] == "object"
    assert all(problem.path.startswith("$") for problem in parsed.problems({**value, "a": value}))
