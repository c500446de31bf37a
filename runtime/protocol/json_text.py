"""Strict JSON for requests: only what every JSON reader accepts, so that it can be written again anywhere."""

from __future__ import annotations

import json
import math
import re
from itertools import islice
from typing import NoReturn

from pydantic_core import from_json

# Matches up to the next character that begins a value, skipping strings. The possessive quantifiers never backtrack,
# so the time is proportional to the length of the text.
_TO_NEXT_VALUE = re.compile(r'[^",\[{]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?[^",\[{]*+)*+(?:[,\[{]|\Z)', re.DOTALL)

FEW = 1 / 100
"""A part of the budget: a text that cannot contain more values than this is counted roughly, which is faster."""


class InvalidJson(ValueError):
    """Raised for text that is not JSON. The reason quotes nothing of it; ``position`` is in characters."""

    def __init__(self, reason: str, position: int = 0) -> None:
        super().__init__(reason)
        self.position = position


class TooManyValues(Exception):
    """Raised when JSON contains more values than its budget allows.

    It is no ValueError, because pydantic would report it as one more problem.
    """


class ValueBudget:
    """How many values may be read. JSON nested in the strings of JSON shares the budget of the outer one.

    A small text can contain millions of values, and each takes far more time to read and to validate than to send.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._left = most

    def take(self, text: str) -> None:
        """Counts the values of a text before it is read. Raises TooManyValues."""
        count = text.count(",") + text.count("[") + text.count("{")
        if count > self.most * FEW:  # some of these may stand in strings
            count = sum(1 for _ in islice(_TO_NEXT_VALUE.finditer(text), self._left + 1))
        self._left -= count
        if self._left < 0:
            raise TooManyValues


def read_json(text: str, *, budget: ValueBudget | None = None) -> object:
    """Returns the value of a JSON text. Raises InvalidJson, and TooManyValues when it exceeds the budget.

    It is stricter than Python's reader, which accepts NaN, numbers beyond the range of floats and lone surrogates.
    """
    if budget is not None:
        budget.take(text)
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant, parse_float=_read_float)
    except InvalidJson:
        raise
    except json.JSONDecodeError as error:
        raise InvalidJson(error.msg, error.pos) from None
    except RecursionError:
        raise InvalidJson("Nested too deeply") from None
    except ValueError:
        raise InvalidJson("A number has too many digits") from None
    _check_strictly(text)
    return value


def _check_strictly(text: str) -> None:
    """Checks the text with pydantic's reader.

    That reader refuses lone surrogates, and its limit of depth is below that of its writer.
    """
    try:
        from_json(text)
    except ValueError as error:
        too_deep = "recursion" in str(error)
        reason = "Nested too deeply" if too_deep else "Half of a surrogate pair is no character"
        raise InvalidJson(reason) from None


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJson(f"{name} is not JSON")


def _read_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise InvalidJson("A number is too large")
    return number
