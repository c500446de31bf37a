"""The validation of a value against a schema in the schema's own dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.output.errors import InvalidOutputSchema
from runtime.output.keywords import DEFAULT_DIALECT, dialect_named, validator_type
from runtime.output.problems import describe


def dialect_of(schema: Mapping[str, Any]) -> str:
    """The dialect that the schema names. Raises InvalidOutputSchema when it is unknown."""
    dialect = dialect_named(schema["$schema"]) if "$schema" in schema else DEFAULT_DIALECT
    if dialect is None:
        known = "drafts 4, 6 and 7, 2019-09 and 2020-12"
        raise InvalidOutputSchema(f"$schema names an unknown dialect of JSON Schema; known are {known}")
    return dialect


class Validation:
    """Tells what is wrong with values, by one schema that has been examined."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        # Without an id of its own, so that local references lead to this very schema.
        anonymous = {key: value for key, value in schema.items() if key not in {"$id", "id"}}
        self._validator = validator_type(dialect_of(schema))(anonymous)

    def problems(self, value: Any) -> list[str]:
        """What is wrong with a value, the first few problems; nothing when it is valid. May raise OutOfTime."""
        if not isinstance(value, dict):
            return ["$: the output must be an object"]
        return describe(self._validator.iter_errors(value))
