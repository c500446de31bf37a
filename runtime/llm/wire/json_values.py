"""JSON as model servers write it."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json

from runtime.llm.wire.errors import OversizedAnswer
from runtime.llm.wire.surrogates import mended

MAX_VALUES = 200_000
"""In one JSON text of an answer. An empty list takes three bytes of text, and more than sixty of memory."""

UNCOUNTED_CHARS = 1 << 20
"""A text that is no longer cannot hold so many values that it matters."""


def check_values(text: str | bytes) -> None:
    """Raise OversizedAnswer for a JSON text that may hold more values than this server works off."""
    if len(text) <= UNCOUNTED_CHARS:
        return
    if isinstance(text, bytes):
        values = text.count(b",") + text.count(b"[") + text.count(b"{")
    else:
        values = text.count(",") + text.count("[") + text.count("{")
    if values > MAX_VALUES:
        raise OversizedAnswer(f"an event of the answer has more than {MAX_VALUES} values")


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text, in which strings may hold halves of surrogate pairs.

    Raises ValueError, which never quotes the text, for anything else.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except (ValueError, TypeError):  # the latter for a text that holds such a half itself
        pass
    try:
        whole = text.decode() if isinstance(text, bytes) else text
        return json.loads(whole, parse_constant=_refuse)
    except (ValueError, RecursionError):
        pass
    raise ValueError("not JSON")


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are no numbers of JSON


def without_halves(value: Any) -> Any:
    """The value with U+FFFD wherever half of a surrogate pair stood, in keys too."""
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, dict):
        return {mended(key): without_halves(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_halves(item) for item in value]
    return value


def is_json_object(text: str) -> bool:
    """Whether this is the whole text of a JSON object."""
    text = text.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return False
    try:
        read_json(text)
    except ValueError:
        return False
    return True
