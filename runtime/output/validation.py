"""Validates a value against a schema, in the schema's own dialect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema.exceptions import ValidationError

from runtime.output.errors import InvalidOutputSchema, OutputProblem
from runtime.output.keywords import DEFAULT_DIALECT, dialect_named, validator_type
from runtime.output.problems import describe

JsonSchema = Mapping[str, Any] | bool
"""An object, or true or false: every value satisfies true, and none satisfies false."""


def asks_for_object(schema: JsonSchema) -> bool:
    """Returns whether the schema itself says that only objects satisfy it."""
    return isinstance(schema, Mapping) and schema.get("type") == "object"


def dialect_of(schema: JsonSchema) -> str:
    """Returns the dialect that the schema names. Raises InvalidOutputSchema when it is unknown."""
    if isinstance(schema, bool) or "$schema" not in schema:
        return DEFAULT_DIALECT
    dialect = dialect_named(schema["$schema"])
    if dialect is None:
        known = "drafts 4, 6 and 7, 2019-09 and 2020-12"
        raise InvalidOutputSchema(f"$schema names an unknown dialect of JSON Schema; known are {known}")
    return dialect


class Validation:
    """Finds the problems of values, by one examined schema."""

    def __init__(self, schema: JsonSchema) -> None:
        # The id is removed, so that local references lead to this schema.
        anonymous = (
            schema
            if isinstance(schema, bool)
            else {key: value for key, value in schema.items() if key not in {"$id", "id"}}
        )
        self.asks_for_object = asks_for_object(schema)
        self._validator = validator_type(dialect_of(schema))(anonymous)

    def problems(self, value: Any) -> list[OutputProblem]:
        """Returns the first few problems of a value; none when it is valid. May raise OutOfTime."""
        if self.asks_for_object and not isinstance(value, dict):
            return [OutputProblem("$", "the output must be an object", "type")]
        return describe(self.errors(value))

    def errors(self, value: Any) -> Iterator[ValidationError]:
        """Yields all errors of a value as the library reports them. May raise OutOfTime."""
        errors: Iterator[ValidationError] = self._validator.iter_errors(value)
        return errors
