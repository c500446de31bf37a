"""Strict JSON for answers: one value without NaN, duplicate keys or lone surrogates."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

MAX_OUTPUT_BYTES = 1 << 20
MAX_DEPTH = 64
"""The most levels of nested objects and lists."""

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SHOWN_KEY_CHARS = 60


class NotJson(ValueError):
    """Raised for a text that is not acceptable JSON, with a reason for its author.

    ``position`` is where in the text the fault is, in characters, if that is known.
    """

    def __init__(self, reason: str, *, position: int | None = None) -> None:
        self.position = position
        super().__init__(reason)


def read_strictly(text: str) -> Any:
    """Returns the value of ``text``, which may have only JSON's own white space around it. Raises NotJson."""
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_read_finite_float
        )
    except NotJson:
        raise
    except json.JSONDecodeError as error:
        reason = f"not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise NotJson(reason, position=error.pos) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise NotJson("a number has too many digits") from None
    if is_deeper(value, MAX_DEPTH):
        raise _too_deep()
    if _SURROGATE_ESCAPE.search(text):
        write_json(value)
    return value


def write_json(value: Any) -> str:
    """Returns the JSON of a foreign value. Raises NotJson when it has none that could be sent."""
    try:
        text = json.dumps(dict(value) if isinstance(value, Mapping) else value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        raise NotJson("a text has half of a surrogate pair, which is no character") from None
    except RecursionError:
        raise _too_deep() from None
    except (TypeError, ValueError):
        raise NotJson("holds something that JSON cannot") from None
    return text


def check_size(text: str) -> None:
    """Raises NotJson when the text is too large or cannot be encoded."""
    try:
        too_large = len(text) > MAX_OUTPUT_BYTES or len(text.encode()) > MAX_OUTPUT_BYTES
    except UnicodeEncodeError:
        raise NotJson("the text has half of a surrogate pair, which is no character") from None
    if too_large:
        raise NotJson(f"larger than {MAX_OUTPUT_BYTES:,} bytes")


def is_deeper(value: Any, depth: int) -> bool:
    """Returns whether more than ``depth`` objects and lists are nested."""
    level = [value]
    for _ in range(depth + 1):
        containers = [part for part in level if isinstance(part, dict | list)]
        if not containers:
            return False
        level = [part for whole in containers for part in (whole.values() if isinstance(whole, dict) else whole)]
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise NotJson(f"the key {twice[:_SHOWN_KEY_CHARS]!r} is there twice in one object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is not JSON")


def _read_finite_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise NotJson("a number is too large")
    return number


def _too_deep() -> NotJson:
    return NotJson(f"nested deeper than {MAX_DEPTH} levels")
