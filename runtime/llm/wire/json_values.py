"""JSON as model servers write it."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json

from runtime.llm.wire.surrogates import mended


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
