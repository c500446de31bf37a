"""Describes validation errors: few, short, each with its place first."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from jsonschema.exceptions import ValidationError

from runtime.output.errors import OutputProblem

MAX_PROBLEMS = 10
MAX_PLACE_CHARS = 120
MAX_MESSAGE_CHARS = 240
MORE_PROBLEMS = OutputProblem.of_whole("there are more problems")
_ELLIPSIS = " … "


def describe(errors: Iterable[ValidationError]) -> list[OutputProblem]:
    """Returns the first errors as problems."""
    told = [
        OutputProblem(
            shorten(error.json_path, MAX_PLACE_CHARS),
            shorten(error.message, MAX_MESSAGE_CHARS),
            error.validator if isinstance(error.validator, str) else None,
        )
        for error in islice(errors, MAX_PROBLEMS + 1)
    ]
    return told if len(told) <= MAX_PROBLEMS else [*told[:MAX_PROBLEMS], MORE_PROBLEMS]


def describe_without_values(error: ValidationError) -> str:
    """Describes one error by its place and the keyword that is not satisfied, without quoting the value."""
    return f"{shorten(error.json_path, MAX_PLACE_CHARS)} does not satisfy {error.validator or 'the schema false'!r}"


def shorten(text: str, length: int) -> str:
    """Returns the text, without its middle if it is too long: messages begin with the value and end with the reason."""
    if len(text) <= length:
        return text
    tail = length * 2 // 3
    return text[: length - tail - len(_ELLIPSIS)] + _ELLIPSIS + text[-tail:]
