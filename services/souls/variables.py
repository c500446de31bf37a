"""App variables: the inputs of an agent, checked and filled into its prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pydantic import JsonValue

from services.souls.problems import Problem, refuse_request

MAX_FILLED_CHARS = 1_048_576
"""A short text may name one variable a thousand times, which would multiply a large input."""

_PLACEHOLDER = re.compile(r"\{\{\s{0,20}([^{}\s]{1,255})\s{0,20}\}\}")


class Variable(Protocol):
    """The declaration of an input."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def required(self) -> bool: ...
    @property
    def default(self) -> JsonValue: ...


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_boolean(value: object) -> bool:
    return isinstance(value, bool)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


_CHECKS: Mapping[str, Callable[[object], bool]] = {
    **dict.fromkeys(("string", "text", "text-input", "paragraph", "select", "secret"), _is_text),
    **dict.fromkeys(("number", "integer", "float"), _is_number),
    **dict.fromkeys(("boolean", "checkbox"), _is_boolean),
    **dict.fromkeys(("object", "json", "json_object"), _is_object),
    **dict.fromkeys(("array", "list", "file-list"), _is_list),
}


def fits_type(type_name: str, value: object) -> bool:
    """Whether a value is of a type. An unknown type accepts every value."""
    check = _CHECKS.get(type_name)
    return check is None or check(value)


def filled_inputs(variables: Sequence[Variable], inputs: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Returns the value of each variable: the input, or else its default. Inputs without a variable are left out.

    A null or an empty text is no value for a required variable. Raises MalformedRequest with every problem.
    """
    filled: dict[str, JsonValue] = {}
    problems: list[Problem] = []
    for variable in variables:
        given = _none_if_empty(variable, inputs.get(variable.name))
        value = _none_if_empty(variable, variable.default) if given is None else given
        if variable.required and (value is None or value == ""):
            problems.append(Problem((variable.name,), f"the input '{variable.name}' is required", "missing"))
        elif value is not None and not fits_type(variable.type, value):
            message = f"the input '{variable.name}' must be of the type '{variable.type}'"
            problems.append(Problem((variable.name,), message))
        filled[variable.name] = value
    if problems:
        refuse_request(problems, "body", "inputs")
    return filled


def _none_if_empty(variable: Variable, value: JsonValue) -> JsonValue:
    """Returns None for an empty text: forms send one for a field of any type that was not filled in."""
    return None if value == "" and not fits_type(variable.type, "") else value


class FilledTextTooLong(ValueError):
    """A text would be longer than ``MAX_FILLED_CHARS`` with its variables filled in. It was not built."""


def fill_prompt(text: str, values: Mapping[str, JsonValue]) -> str:
    """Returns the text with ``{{name}}`` replaced, for known names. Values that are filled in are not searched again.

    Raises FilledTextTooLong.
    """
    found = [match for match in _PLACEHOLDER.finditer(text) if match[1] in values]
    shown = {name: _shown(values[name]) for name in {match[1] for match in found}}
    if len(text) + sum(len(shown[match[1]]) - len(match[0]) for match in found) > MAX_FILLED_CHARS:
        raise FilledTextTooLong
    return _PLACEHOLDER.sub(lambda match: shown.get(match[1], match[0]), text)


def _shown(value: JsonValue) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
