"""The JSON schema of a tool's arguments, as the model may see it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise ValueError unless ``schema`` describes an object by its properties."""
    if schema.get("type", "object") != "object":
        raise ValueError("must be the schema of an object")
    properties = schema.get("properties", {})
    if not isinstance(properties, dict) or not all(isinstance(value, dict | bool) for value in properties.values()):
        raise ValueError("its properties must be an object of schemas")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise ValueError("its required must be a list of names")


def visible_schema(schema: Mapping[str, Any], hidden: Collection[str]) -> dict[str, Any]:
    """A copy of the schema without the hidden parameters."""
    visible = deepcopy(dict(schema))
    visible["type"] = "object"
    visible["properties"] = {name: value for name, value in visible.get("properties", {}).items() if name not in hidden}
    if "required" in visible:
        visible["required"] = [name for name in visible["required"] if name not in hidden]
    return visible


def takes_any_name(schema: Mapping[str, Any]) -> bool:
    """Whether the schema says outright that there may be more parameters than it names."""
    return schema.get("additionalProperties", False) is not False
