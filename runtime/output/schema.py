"""The schema of a run's answer, checked before a run is accepted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any

from runtime.output.elsewhere import examine_elsewhere
from runtime.output.errors import InvalidOutputSchema, OutputProblem
from runtime.output.keywords import validator_type
from runtime.output.patterns import InvalidPattern, compile_for_python, compile_pattern
from runtime.output.problems import describe_without_values
from runtime.output.references import Inliner
from runtime.output.strict import MAX_DEPTH, NotJson, is_deeper, write_json
from runtime.output.time_limit import OutOfTime, check_time, time_limit
from runtime.output.validation import JsonSchema, Validation, asks_for_object, dialect_of

MAX_SCHEMA_BYTES = 256 * 1024
CACHED_SCHEMA_CHARS = 16 * 1024
"""Longer schemas are examined each time: a cached one takes many times the size of its text."""
INLINE_SECONDS = 0.02
"""How long an examination or a check may block this process. Longer ones are done in another process."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The findings of a schema's examination.

    ``inlined`` is the JSON of the schema without references. ``steps`` is the most steps that its worst pattern takes
    for each character of a text. ``bounded`` says whether a check can be stopped in time in the process where it runs.
    """

    inlined: str
    steps: int
    bounded: bool

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Findings:
        return cls(**json.loads(text))


class OutputSchema:
    """A JSON Schema, as the caller gave it and as a model is shown it. Created by ``parse`` and ``parse_object``.

    ``text`` is its JSON. ``original`` is the schema as it was given; it must not be changed. ``findings`` decide where
    answers are checked.
    """

    def __init__(self, text: str, findings: Findings) -> None:
        self.text = text
        self.original: JsonSchema = json.loads(text)
        self.findings = findings

    @classmethod
    def parse(cls, schema: JsonSchema) -> OutputSchema:
        """Checks and returns a schema. It may block for a moment for a large one, which another process checks.

        Raises InvalidOutputSchema when the schema is invalid in its dialect or cannot be used here, and
        OutputCheckUnavailable when the other process could not check it.
        """
        try:
            text = write_json(schema)
        except NotJson as error:
            raise InvalidOutputSchema(f"the schema is not JSON: {error}") from None
        if len(text.encode()) > MAX_SCHEMA_BYTES:
            raise InvalidOutputSchema(f"the schema is larger than {MAX_SCHEMA_BYTES:,} bytes")
        return _parse_cached(text) if len(text) <= CACHED_SCHEMA_CHARS else _parse(text)

    @classmethod
    def parse_object(cls, schema: Mapping[str, Any]) -> OutputSchema:
        """Does the same as ``parse`` for a run's answer, an object: the model gives it as a tool's arguments."""
        if not asks_for_object(schema):
            raise InvalidOutputSchema('the schema must have "type": "object" at its top')
        return cls.parse(schema)

    @property
    def inlined(self) -> dict[str, Any]:
        """A new copy of the schema for the model, with references replaced by their targets and without definitions.

        Only a schema for objects is shown to a model.
        """
        inlined: dict[str, Any] = json.loads(self.findings.inlined)
        return inlined

    def problems(self, value: Any) -> list[OutputProblem]:
        """Returns the problems of a value by the original schema; none when it is valid.

        It blocks for as long as that takes. Where that is not acceptable, use an ``OutputChecker``.
        """
        return self.validation.problems(value)

    @cached_property
    def validation(self) -> Validation:
        return Validation(self.original)


def examine(text: str) -> Findings:
    """Examines a schema, given as JSON.

    Raises InvalidOutputSchema when it cannot be used, and OutOfTime when the examination takes too long.
    """
    schema = json.loads(text)
    if isinstance(schema, bool):
        return Findings(text, steps=0, bounded=True)
    if is_deeper(schema, MAX_DEPTH):
        raise InvalidOutputSchema(f"the schema is nested deeper than {MAX_DEPTH} levels")
    dialect = dialect_of(schema)
    check = _MetaschemaCheck(dialect)
    check(schema)
    inliner = Inliner(schema, dialect, check)
    inlined = write_json(inliner.inline())
    return Findings(inlined, *_examine_patterns(inliner))


class _MetaschemaCheck:
    """Raises InvalidOutputSchema for an invalid schema of the dialect."""

    def __init__(self, dialect: str) -> None:
        validator = validator_type(dialect)
        self._validator = validator(validator.META_SCHEMA)

    def __call__(self, schema: Any) -> None:
        for error in self._validator.iter_errors(schema):
            raise InvalidOutputSchema(f"not a valid JSON Schema: {describe_without_values(error)} of its dialect")


def _examine_patterns(inliner: Inliner) -> tuple[int, bool]:
    # These two keywords check parts repeatedly, and match the patterns of properties with Python's own engine.
    looks_back = not inliner.keywords.isdisjoint({"unevaluatedItems", "unevaluatedProperties"})
    steps, bounded = 0, not looks_back
    for source in sorted(inliner.patterns):
        check_time()
        try:
            pattern = compile_pattern(source)
            if looks_back:
                compile_for_python(source)
        except InvalidPattern:
            raise InvalidOutputSchema("a pattern is no regular expression that can be used here") from None
        steps = max(steps, pattern.steps or 0)
        bounded = bounded and pattern.steps is not None
    return steps, bounded


@lru_cache(maxsize=64)
def _parse_cached(text: str) -> OutputSchema:
    return _parse(text)


def _parse(text: str) -> OutputSchema:
    try:
        with time_limit(INLINE_SECONDS):
            return OutputSchema(text, examine(text))
    except OutOfTime:
        return OutputSchema(text, Findings.from_json(examine_elsewhere(text)))
