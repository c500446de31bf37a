"""Which output schemas are accepted, and what a model sees of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.output import InvalidOutputSchema, OutputProblem, OutputSchema

DRAFTS = {
    "draft 4": "http://json-schema.org/draft-04/schema#",
    "draft 6": "http://json-schema.org/draft-06/schema#",
    "draft 7": "http://json-schema.org/draft-07/schema#",
    "2019-09": "https://json-schema.org/draft/2019-09/schema",
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
}
ALL_DRAFTS = pytest.mark.parametrize("dialect", DRAFTS.values(), ids=DRAFTS)
SECRET = "canary-71"


def with_defs(schema: dict[str, Any], **defs: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, "$defs": defs}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return {"type": "object", **schema}


@ALL_DRAFTS
@pytest.mark.parametrize("form", ["{}", "{}#", "insecure"])
def test_every_dialect_is_known_under_the_names_people_give_it(dialect: str, form: str) -> None:
    bare = dialect.removesuffix("#")
    name = bare.replace("https:", "http:") if form == "insecure" else form.format(bare)

    schema = OutputSchema.parse({"$schema": name, "type": "object", "required": ["a"]})

    assert schema.problems({"a": 1}) == []
    assert schema.problems({}) != []


@ALL_DRAFTS
def test_references_work_in_every_dialect(dialect: str) -> None:
    schema = OutputSchema.parse(
        {"$schema": dialect, **with_defs({"$ref": "#/$defs/n"}, n={"type": "integer"}), "$id": "http://example.com/x"}
    )

    assert schema.problems({"a": 1}) == []
    assert schema.problems({"a": "x"}) == [OutputProblem("$.a", "'x' is not of type 'integer'", "type")]


def test_a_dialect_means_what_its_own_specification_says() -> None:
    items = {"type": "object", "properties": {"a": {"items": [{"type": "integer"}]}}}

    draft_7 = OutputSchema.parse({"$schema": DRAFTS["draft 7"], **items})
    draft_4 = OutputSchema.parse({"$schema": DRAFTS["draft 4"], "type": "object", "properties": {"a": {"const": 1}}})

    assert draft_7.problems({"a": ["x"]}) == [OutputProblem("$.a[0]", "'x' is not of type 'integer'", "type")]
    assert draft_4.problems({"a": 2}) == []  # it does not know const
    with pytest.raises(InvalidOutputSchema):
        OutputSchema.parse(items)  # 2020-12 knows prefixItems instead


@pytest.mark.parametrize(
    "dialect", ["http://json-schema.org/draft-03/schema#", "https://example.com/mine", SECRET, "", 7, None, ["x"]]
)
def test_an_unknown_dialect_is_refused(dialect: Any) -> None:
    with pytest.raises(InvalidOutputSchema, match="unknown dialect") as caught:
        OutputSchema.parse({"$schema": dialect, "type": "object"})

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "array"},
        {"type": ["object"]},
        {"type": ["object", "null"]},
        {"properties": {}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}},
    ],
)
def test_the_top_of_the_schema_of_a_run_must_be_an_object(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidOutputSchema, match='must have "type": "object"'):
        OutputSchema.parse_object(schema)


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"type": 5}, "$.properties.a.type"),
        ({"type": SECRET}, "$.properties.a.type"),
        ({"minLength": -1}, "$.properties.a.minLength"),
        ({"required": "x"}, "$.properties.a.required"),
        ({"properties": [SECRET]}, "$.properties.a.properties"),
        ({"anyOf": []}, "$.properties.a.anyOf"),
        (SECRET, "$.properties.a"),
    ],
)
def test_an_invalid_schema_is_refused_with_its_place_and_without_its_value(part: Any, place: str) -> None:
    with pytest.raises(InvalidOutputSchema) as caught:
        OutputSchema.parse(with_defs(part))

    assert f"{place} does not satisfy" in str(caught.value)
    assert SECRET not in str(caught.value)


@ALL_DRAFTS
@pytest.mark.parametrize("target", [{"type": 5}, {"minimum": "x"}, {"items": {"type": "nothing"}}])
def test_a_definition_must_be_a_schema_of_the_dialect(dialect: str, target: Any) -> None:
    with pytest.raises(InvalidOutputSchema, match="not a valid JSON Schema"):
        OutputSchema.parse({"$schema": dialect, **with_defs({"$ref": "#/$defs/a"}, a=target)})


def test_a_reference_to_something_that_is_not_a_schema_is_refused() -> None:
    with pytest.raises(InvalidOutputSchema, match="not a valid JSON Schema"):
        OutputSchema.parse(with_defs({"$ref": "#/$defs/b/default"}, b={"default": {"type": 5}}))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"$ref": "https://example.com/schema"}, "must be local"),
        ({"$ref": "#/definitions/a"}, "must be local"),
        ({"$ref": "#"}, "must be local"),
        ({"$ref": "#/properties/a"}, "must be local"),
        ({"$ref": "#anchor"}, "must be local"),
        ({"$dynamicRef": "#/$defs/leaf"}, "must be local"),
        ({"$recursiveRef": "#"}, "must be local"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"$ref": "#/$defs/leaf/type/x"}, "leads nowhere"),
        ({"$ref": "#/$defs/self"}, "recursive"),
        ({"$ref": "#/$defs/around"}, "recursive"),
        ({"items": {"$ref": "#/$defs/inside"}}, "recursive"),
        ({"$id": "https://example.com/part"}, "may have an id"),
    ],
)
def test_references_must_be_local_and_lead_to_an_end(part: dict[str, Any], message: str) -> None:
    schema = with_defs(
        part,
        leaf={"type": "string"},
        self={"properties": {"x": {"$ref": "#/$defs/self"}}},
        around={"items": {"$ref": "#/$defs/back"}},
        back={"anyOf": [{"$ref": "#/$defs/around"}]},
        inside={"properties": {"x": {"items": {"$ref": "#/$defs/inside/properties/x"}}}},
    )
    if "leaf" not in str(part) and message != "recursive":
        schema["$defs"] = {"leaf": {"type": "string"}}

    with pytest.raises(InvalidOutputSchema, match=message):
        OutputSchema.parse(schema)


def test_a_recursion_that_nobody_refers_to_is_refused_too() -> None:
    with pytest.raises(InvalidOutputSchema, match="recursive"):
        OutputSchema.parse(with_defs({}, a={"items": {"$ref": "#/$defs/a"}}))


def test_keywords_of_the_schema_language_may_be_names_of_properties() -> None:
    names: dict[str, Any] = {
        "$ref": {"type": "string"},
        "$id": {"type": "string"},
        "id": {"type": "integer"},
        "pattern": {},
    }

    schema = OutputSchema.parse(
        {"type": "object", "properties": names, "default": {"$ref": "elsewhere", "pattern": "("}}
    )

    assert schema.problems({"$ref": "x", "id": 1}) == []
    assert schema.problems({"id": "x"}) != []


def test_the_model_sees_references_replaced_and_no_definitions() -> None:
    given = {
        "$schema": DRAFTS["2020-12"],
        "$id": "https://example.com/answer",
        "type": "object",
        "properties": {
            "plain": {"$ref": "#/$defs/name"},
            "told": {"$ref": "#/$defs/name", "description": "Said here."},
            "more": {"$ref": "#/$defs/name", "minLength": 2},
            "list": {"type": "array", "items": {"$ref": "#/$defs/pair"}},
            "free": {"$ref": "#/$defs/any"},
            "escaped": {"$ref": "#/$defs/a~1b%20c"},
        },
        "$defs": {
            "name": {"type": "string", "description": "A name."},
            "pair": {"prefixItems": [{"$ref": "#/$defs/name"}], "$defs": {"unused": {}}},
            "any": True,
            "a/b c": {"const": {"$ref": "not a reference"}},
        },
    }

    schema = OutputSchema.parse(given)

    name = {"type": "string", "description": "A name."}
    assert schema.inlined == {
        "type": "object",
        "properties": {
            "plain": name,
            "told": {"type": "string", "description": "Said here."},
            "more": {"minLength": 2, "allOf": [name]},
            "list": {"type": "array", "items": {"prefixItems": [name]}},
            "free": {"allOf": [True]},
            "escaped": {"const": {"$ref": "not a reference"}},
        },
    }
    assert schema.original == given


def test_in_the_older_dialects_a_reference_stands_alone() -> None:
    part = {"$ref": "#/$defs/n", "minimum": 5, "title": "Kept"}
    schema = OutputSchema.parse({"$schema": DRAFTS["draft 7"], **with_defs(part, n={"type": "integer"})})

    assert schema.inlined["properties"]["a"] == {"type": "integer", "title": "Kept"}
    assert schema.problems({"a": 1}) == []


def test_what_the_model_sees_can_be_changed_without_harm() -> None:
    schema = OutputSchema.parse(with_defs({"type": "integer"}))

    schema.inlined["properties"].clear()

    assert schema.inlined["properties"] == {"a": {"type": "integer"}}


def test_a_schema_that_doubles_with_each_reference_is_refused_quickly() -> None:
    defs: dict[str, Any] = {"d0": {"type": "string"}}
    for level in range(1, 30):
        defs[f"d{level}"] = {"allOf": [{"$ref": f"#/$defs/d{level - 1}"}] * 2}

    with pytest.raises(InvalidOutputSchema, match="grows too large"):
        OutputSchema.parse(with_defs({"$ref": "#/$defs/d29"}, **defs))


def test_a_long_chain_of_references_is_refused() -> None:
    defs: dict[str, Any] = {"d0": {"type": "string"}}
    for level in range(1, 100):
        defs[f"d{level}"] = {"$ref": f"#/$defs/d{level - 1}"}

    with pytest.raises(InvalidOutputSchema, match="inside each other"):
        OutputSchema.parse(with_defs({"$ref": "#/$defs/d99"}, **defs))


def test_a_schema_of_the_greatest_depth_is_accepted() -> None:
    assert OutputSchema.parse(nested(62)).inlined == nested(62)


@pytest.mark.parametrize("levels", [64, 500, 5000])
def test_a_deeper_schema_is_refused(levels: int) -> None:
    with pytest.raises(InvalidOutputSchema, match="deeper than 64 levels"):
        OutputSchema.parse(nested(levels))


def test_size_is_limited() -> None:
    with pytest.raises(InvalidOutputSchema, match="larger than 262,144 bytes"):
        OutputSchema.parse({"type": "object", "description": "x" * 262_144})


def test_a_schema_that_takes_long_is_examined_in_another_process() -> None:
    schema = {"type": "object", "allOf": [{"minProperties": 1}] * 1000, "properties": {"a": {"$ref": "#/$defs/b"}}}

    parsed = OutputSchema.parse({**schema, "$defs": {"b": {"type": "integer"}}})

    assert parsed.inlined == {**schema, "properties": {"a": {"type": "integer"}}}
    with pytest.raises(InvalidOutputSchema, match=r"\$\.allOf\[1000\]\.type"):
        OutputSchema.parse({**schema, "allOf": [*schema["allOf"], {"type": 5}]})


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, "\ud800", b"x"])
def test_a_schema_that_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidOutputSchema, match="not JSON"):
        OutputSchema.parse({"type": "object", "default": value})


@pytest.mark.parametrize("pattern", ["(", "[a-", "*", "(?<!a+)b", "\\p{Nothing}", "(?=x)" + "x" * 1000])
@pytest.mark.parametrize("keyword", ["pattern", "patternProperties", "behind a reference"])
def test_a_pattern_must_be_one_that_can_be_used(pattern: str, keyword: str) -> None:
    part: dict[str, Any] = (
        {"patternProperties": {pattern: {}}} if keyword == "patternProperties" else {"pattern": pattern}
    )
    schema = with_defs({"$ref": "#/$defs/p"}, p=part) if keyword == "behind a reference" else with_defs(part)

    with pytest.raises(InvalidOutputSchema, match="a pattern is no regular expression"):
        OutputSchema.parse(schema)


def test_problems_are_few_and_short_and_begin_with_their_place() -> None:
    schema = OutputSchema.parse({"type": "object", "additionalProperties": {"type": "integer"}})

    problems = schema.problems({f"key {number}": "x" * 10_000 for number in range(100)})

    assert len(problems) == 11
    assert (problems[0].path, problems[0].validator) == ("$['key 0']", "type")
    assert str(problems[0]).startswith("$['key 0']: 'xxx")
    assert str(problems[0]).endswith("x' is not of type 'integer'")
    assert problems[-1] == OutputProblem("$", "there are more problems", None)
    assert max(len(str(problem)) for problem in problems) < 400


@pytest.mark.parametrize("value", [[], "x", 1, None, True, [{}]])
def test_an_output_that_is_not_an_object_is_always_a_problem(value: Any) -> None:
    schema = OutputSchema.parse(
        {"$schema": DRAFTS["draft 7"], "type": "object", "$ref": "#/$defs/a", "$defs": {"a": {}}}
    )

    assert schema.problems(value) == [OutputProblem("$", "the output must be an object", "type")]


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        (True, 1, None),
        (False, None, 1),
        ({}, [None], None),
        ({"type": "array", "items": {"type": "integer"}}, [1], ["x"]),
        ({"type": "string", "minLength": 2}, "ab", "a"),
        ({"type": ["integer", "null"]}, None, {}),
        ({"enum": ["yes", "no"]}, "no", "maybe"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "boolean"}}}, True, 1),
        ({"$ref": "#/$defs/a", "$defs": {"a": False}}, None, 1),
    ],
)
def test_a_schema_may_ask_for_any_value(schema: Any, valid: Any, invalid: Any) -> None:
    parsed = OutputSchema.parse(schema)

    assert valid is None or parsed.problems(valid) == []
    assert invalid is None or parsed.problems(invalid) != []


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"items": {"$ref": "#"}}, {"type": "nothing"}, {"allOf": [5]}])
def test_a_schema_for_any_value_is_examined_like_others(schema: Any) -> None:
    with pytest.raises(InvalidOutputSchema):
        OutputSchema.parse(schema)


def test_the_same_schema_is_examined_once() -> None:
    schema = {"type": "object", "title": "examined once"}

    assert OutputSchema.parse(schema) is OutputSchema.parse(json.loads(json.dumps(schema)))
