"""Our keywords against those of jsonschema, where both can tell."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from runtime.output.errors import OutputProblem
from runtime.output.keywords import DEFAULT_DIALECT, validator_type
from runtime.output.problems import describe
from runtime.output.time_limit import OutOfTime, time_limit

DRAFT_7 = "json-schema.org/draft-07/schema"

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, 2.5]) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=4),
    max_leaves=12,
)
PATTERNS = st.sampled_from(["^a", "b$", "^(a|b)+$", "[ab]{2}", ""])
LEAVES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "object", "array", "boolean", "null"]),
        "pattern": PATTERNS,
        "uniqueItems": st.booleans(),
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "minLength": st.integers(0, 2),
    },
)
SCHEMAS = st.recursive(
    LEAVES | st.booleans(),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
            "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
            "additionalProperties": inner,
            "items": inner,
            "contains": inner,
            "not": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=3),
            "uniqueItems": st.booleans(),
        },
    ),
    max_leaves=8,
)


@given(schema=SCHEMAS, value=VALUES)
@pytest.mark.parametrize(("dialect", "theirs"), [(DEFAULT_DIALECT, Draft202012Validator), (DRAFT_7, Draft7Validator)])
def test_values_are_valid_here_when_they_are_valid_by_jsonschema(
    dialect: str, theirs: Any, schema: Any, value: Any
) -> None:
    ours = validator_type(dialect)(schema)

    assert ours.is_valid(value) == theirs(schema).is_valid(value)


@pytest.mark.parametrize(
    ("schema", "value", "valid"),
    [
        ({"multipleOf": 0.01}, 10**400, True),
        ({"multipleOf": 7}, 10**400, False),
        ({"multipleOf": 10**400}, 1.5, False),
        ({"multipleOf": 5e-324}, 1e308, True),
        ({"multipleOf": 0.1}, 0.5, True),
        ({"multipleOf": 2}, True, True),
        ({"minimum": 0.5}, -(10**400), False),
        ({"uniqueItems": True}, [1, True, "1", [1], {"1": 1}], True),
        ({"uniqueItems": True}, [1, 1.0], False),
        ({"uniqueItems": True}, [{"a": [0]}, {"a": [False]}], True),
        ({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2, "a": 1}], False),
        ({"uniqueItems": True}, [[], {}, "", 0, False, None], True),
        ({"type": "integer"}, 10**400, True),
    ],
)
def test_values_at_the_edge(schema: Any, value: Any, valid: bool) -> None:
    assert validator_type(DEFAULT_DIALECT)(schema).is_valid(value) is valid


def test_unexpected_properties_are_named_and_not_too_many() -> None:
    errors = validator_type(DEFAULT_DIALECT)({"additionalProperties": False}).iter_errors(dict.fromkeys("gfedcba"))

    assert describe(errors) == [
        OutputProblem("$", "unexpected properties: 'g', 'f', 'e', 'd', 'c' and 2 more", "additionalProperties")
    ]


@pytest.mark.parametrize(
    "schema",
    [
        {"items": {}},
        {"items": {"type": "integer"}},
        {"contains": {"type": "string"}},
        {"uniqueItems": True},
        {"items": {"anyOf": [{"type": "string"}, {"enum": [1, 2]}]}},
    ],
)
def test_a_validation_stops_in_time(schema: Any) -> None:
    validator = validator_type(DEFAULT_DIALECT)(schema)

    with pytest.raises(OutOfTime), time_limit(0.0):
        describe(validator.iter_errors(list(range(100))))


def test_a_validation_stops_in_time_within_a_schema_that_names_its_dialect() -> None:
    part = {"$schema": "https://json-schema.org/draft/2020-12/schema", "pattern": "^\\p{L}+$"}

    assert validator_type(DEFAULT_DIALECT)({"items": part}).is_valid(["é"])  # only RE2 knows \p


def test_the_tighter_of_two_limits_counts() -> None:
    validator = validator_type(DEFAULT_DIALECT)({"type": "object"})

    with time_limit(0.0), pytest.raises(OutOfTime), time_limit(1000):
        validator.is_valid({})
    assert validator.is_valid({})
