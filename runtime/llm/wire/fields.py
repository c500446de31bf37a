"""Takes from a JSON object what is there in the right form."""

from __future__ import annotations

from typing import Any

from runtime.llm.wire.reader import Json


def text_of(fields: Json, name: str) -> str:
    """The text of this name, or an empty one."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def object_of(fields: Json, name: str) -> Json:
    """The object of this name, or an empty one."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def objects_of(fields: Json, name: str) -> list[Json]:
    """The objects in the list of this name."""
    value = fields.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def whole_number(value: Any) -> int | None:
    """The number, when it is a whole one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
