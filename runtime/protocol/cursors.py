"""Cursors: the ids of Redis streams in the form that clients hold."""

from __future__ import annotations

import re

BEGINNING = "0-0"
MAX_PART = 2**64 - 1
GREATEST = f"{MAX_PART}-{MAX_PART}"

_CURSOR = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?", re.ASCII)

Position = tuple[int, int]


def parse_cursor(text: str) -> str:
    """Returns a cursor in its normal form, ``milliseconds-sequence``.

    Raises ValueError unless ``text`` is ``digits`` or ``digits-digits``, each below 2^64.
    """
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise ValueError("a cursor is digits, or digits-digits")
    first, second = int(match[1]), int(match[2] or 0)
    if first > MAX_PART or second > MAX_PART:
        raise ValueError("each part of a cursor is below 2^64")
    return f"{first}-{second}"


def position(cursor: str) -> Position:
    """Returns the cursor as a pair that compares in stream order."""
    first, _, second = cursor.partition("-")
    return int(first), int(second or 0)
