"""JSON as a request may hold it: what every reader of JSON takes, so that it can be written again anywhere."""

from __future__ import annotations

import json
import math
from typing import NoReturn

from pydantic_core import from_json


class InvalidJson(ValueError):
    """The text is no JSON, for a reason that repeats nothing of it; ``position`` is in characters."""

    def __init__(self, reason: str, position: int = 0) -> None:
        super().__init__(reason)
        self.position = position


def read_json(text: str) -> object:
    """The value that ``text`` holds. Raises InvalidJson.

    Stricter than Python's reader, which takes NaN, numbers above all floats and halves of surrogate pairs.
    """
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
