"""Patterns of JSON Schema, matched in bounded time wherever that is possible.

RE2 takes time in proportion to the text. It supports neither look-around nor back references. Patterns with these are
matched by Python's own engine, which can take for ever and cannot be interrupted, so in a process that can be killed.

JSON Schema means ECMA-262's patterns, whose ``\\d`` and ``\\w`` are ASCII and whose ``$`` is only the end of the text.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

MAX_UNBOUNDED_CHARS = 1000
"""The longest pattern for Python's engine, whose compiler is slow."""

_ESCAPE = re.compile(
    r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\.", re.DOTALL
)
_PYTHON_DIFFERS = re.compile(r"\\k<(\w+)>|\\.|\[(?:\\.|[^\]\\])*\]|\(\?<(?=[A-Za-z_])|\$", re.DOTALL)
_PYTHON_FLAGS = re.ASCII


class InvalidPattern(ValueError):
    """Raised when no engine here supports the pattern."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern.

    ``steps`` is the most steps that are taken for each character of a text; None when there is no such bound.
    """

    steps: int | None
    _compiled: Any

    def found_in(self, text: str) -> bool:
        """Returns whether the pattern matches anywhere in the text."""
        return self._compiled.search(text) is not None


@lru_cache(maxsize=256)
def compile_pattern(source: str) -> Pattern:
    """Returns the compiled pattern. Raises InvalidPattern."""
    options = re2.Options()
    options.log_errors = False  # RE2 would write them to stderr, including the pattern
    try:
        compiled = re2.compile(_ESCAPE.sub(_as_re2_escape, source), options)
        return Pattern(compiled.programsize, compiled)
    except (re2.error, UnicodeEncodeError):
        return Pattern(None, compile_for_python(source))


def compile_for_python(source: str) -> re.Pattern[str]:
    """Returns the pattern compiled for Python's engine. Raises InvalidPattern."""
    if len(source) > MAX_UNBOUNDED_CHARS:
        raise InvalidPattern
    try:
        with warnings.catch_warnings(action="ignore"):
            return re.compile(_PYTHON_DIFFERS.sub(_as_python_has_it, source), _PYTHON_FLAGS)
    except (re.error, OverflowError, RecursionError):
        raise InvalidPattern from None


def _as_re2_escape(match: re.Match[str]) -> str:
    high, low, single = match.groups()
    if high is not None:
        code = 0x10000 + (int(high, 16) - 0xD800) * 0x400 + int(low, 16) - 0xDC00
        return f"\\x{{{code:x}}}"
    return f"\\x{{{single}}}" if single is not None else match.group()


def _as_python_has_it(match: re.Match[str]) -> str:
    if match.group(1) is not None:
        return f"(?P={match.group(1)})"
    return {"$": r"\Z", "(?<": "(?P<"}.get(match.group(), match.group())
