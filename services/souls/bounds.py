"""The bounds of a document, and the JSON that every reader of it understands alike."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from services.souls.problems import Loc, Problem

MAX_DEPTH = 32
"""The most objects and lists inside each other."""
MAX_VALUES = 20_000
MAX_CHARS = 1 << 20
"""The most characters of all texts and keys together."""
MAX_KEY_CHARS = 255
MAX_WHOLE_NUMBER = 2**53 - 1
"""Above it, readers that know only floats see another number, and so another digest."""


def bound_problem(document: object) -> Problem | None:
    """Returns the first reason why the document cannot be stored, or None. Takes no longer than its bounds allow."""
    values = chars = 0
    level: list[tuple[Loc, object]] = [((), document)]
    for _ in range(MAX_DEPTH + 2):
        if not level:
            return None
        below: list[tuple[Loc, object]] = []
        for loc, value in level:
            values += 1
            if isinstance(value, str):
                chars += len(value)
            reason = _reason(value)
            if reason is not None:
                return Problem(loc, reason)
            for key, part in _parts(value):
                if isinstance(key, str):
                    chars += len(key)
                    if (reason := _key_reason(key)) is not None:
                        return Problem(loc, reason)
                below.append(((*loc, key), part))
            if values + len(below) > MAX_VALUES:
                return Problem((), f"holds more than {MAX_VALUES:,} values", "too_large")
            if chars > MAX_CHARS:
                return Problem((), f"its texts are longer than {MAX_CHARS:,} characters", "too_large")
        level = below
    return Problem((), f"nested deeper than {MAX_DEPTH} levels", "too_deep")


def plain(document: object) -> object:
    """Returns the document as plain JSON: models that are part of it become objects again."""
    if isinstance(document, BaseModel):
        return document.model_dump(mode="json")
    return document


def _parts(value: object) -> Iterator[tuple[str | int, Any]]:
    value = plain(value)
    if isinstance(value, dict):
        for key, part in value.items():
            yield key if isinstance(key, str) else str(key), part
    elif isinstance(value, list | tuple):
        yield from enumerate(value)


def _reason(value: object) -> str | None:
    if isinstance(value, str):
        return None if _is_text(value) else "half of a surrogate pair is no character"
    if isinstance(value, float):
        return None if math.isfinite(value) else "NaN and infinite numbers are no JSON"
    if isinstance(value, int) and abs(value) > MAX_WHOLE_NUMBER:
        return "a whole number beyond 2^53 - 1 is not the same number everywhere"
    return None


def _key_reason(key: str) -> str | None:
    if len(key) > MAX_KEY_CHARS:
        return f"a key is longer than {MAX_KEY_CHARS} characters"
    return None if _is_text(key) else "half of a surrogate pair is no character"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
