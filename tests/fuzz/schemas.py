"""Values that a JSON Schema allows, or nearly: the fuzzer makes them from the schemas of pydantic models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

Schema = Mapping[str, Any]
Values = st.SearchStrategy[Any]

TEXTS: st.SearchStrategy[str] = st.sampled_from(
    [
        "a",
        "llm",
        "final_result",
        "{}",
        '{"a": 1}',
        "http://127.0.0.1:9/",
        "text/plain",
        " ",
        "",
        "..",
        "\x00",
        "\u2028ü🙂",
    ]
) | st.text(max_size=8)
ANYTHING: Values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
MANY = 1000


def values_of(model: type[BaseModel]) -> Values:
    """Values that the model accepts, apart from rules that its schema does not express."""
    schema = model.model_json_schema()
    return _values(schema, schema.get("$defs", {}))


def _values(schema: Schema, definitions: Mapping[str, Schema]) -> Values:
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        return st.deferred(lambda: _values(target, definitions))
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for either in ("anyOf", "oneOf"):
        if either in schema:
            return st.one_of([_values(part, definitions) for part in schema[either]])
    return _of_type(schema, definitions)


def _of_type(schema: Schema, definitions: Mapping[str, Schema]) -> Values:
    match schema.get("type"):
        case "string":
            least, most = schema.get("minLength", 0), schema.get("maxLength", MANY)
            return TEXTS.map(lambda text: text.ljust(least, "x")[:most])
        case "integer":
            return st.integers(*_bounds(schema))
        case "number":
            least, most = _bounds(schema)
            return st.floats(least, most, allow_nan=False, allow_infinity=False)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            items = _values(schema.get("items", {}), definitions)
            least = schema.get("minItems", 0)
            return st.lists(items, min_size=least, max_size=max(least, min(schema.get("maxItems", 3), 3)))
        case "object":
            return _objects(schema, definitions)
        case _:
            return ANYTHING


def _bounds(schema: Schema) -> tuple[int, int]:
    least = schema.get("minimum", schema.get("exclusiveMinimum", -MANY))
    return least, schema.get("maximum", schema.get("exclusiveMaximum", least + MANY))


def _objects(schema: Schema, definitions: Mapping[str, Schema]) -> Values:
    properties = {name: _values(part, definitions) for name, part in schema.get("properties", {}).items()}
    required = {name: properties.pop(name) for name in schema.get("required", ())}
    known = st.fixed_dictionaries(required, optional=properties)
    more = schema.get("additionalProperties", not schema.get("properties"))
    if not more:
        return known
    others = st.dictionaries(TEXTS, ANYTHING if more is True else _values(more, definitions), max_size=2)
    return st.builds(lambda added, fields: {**added, **fields}, others, known)
