"""JSON as a request may hold it: what every reader of JSON takes, so that it can be written again anywhere."""

from __future__ import annotations

import json
import math
import re
from itertools import islice
from typing import NoReturn

from pydantic_core import from_json

# All up to the next thing that begins a value, passing over strings. Nothing is ever given back, so that no text takes
# longer than its length.
_TO_NEXT_VALUE = re.compile(r'[^",\[{]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?[^",\[{]*+)*+(?:[,\[{]|\Z)', re.DOTALL)

FEW = 1 / 100
"""Of a budget: a text that can have no more is counted roughly, which is quicker."""


class InvalidJson(ValueError):
    """The text is no JSON, for a reason that repeats nothing of it; ``position`` is in characters."""

    def __init__(self, reason: str, position: int = 0) -> None:
        super().__init__(reason)
        self.position = position


class TooManyValues(Exception):
    """The JSON holds more values than its budget has. No ValueError: pydantic must not take it for one problem more."""


class ValueBudget:
    """How many values may be read; what reads JSON within JSON shares it.

    A small text can hold millions of values, and each costs far more time to read and to judge than to send.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._left = most

    def take(self, text: str) -> None:
        """Count the values of a text before it is read. Raises TooManyValues."""
        count = text.count(",") + text.count("[") + text.count("{")
        if count > self.most * FEW:  # some of these may stand in strings
            count = sum(1 for _ in islice(_TO_NEXT_VALUE.finditer(text), self._left + 1))
        self._left -= count
        if self._left < 0:
            raise TooManyValues


def read_json(text: str, *, budget: ValueBudget | None = None) -> object:
    """The value that ``text`` holds. Raises InvalidJson, and TooManyValues when they are more than the budget has.

    Stricter than Python's reader, which takes NaN, numbers above all floats and halves of surrogate pairs.
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
    """Pydantic's reader has a bound of depth, below that of its writer, and knows which characters UTF-8 has."""
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
