"""The JSON schemas of the stream events and messages that this environment's Pydantic AI reads.

They are reduced to what decides which keys and values are read: no titles, descriptions or defaults.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai.messages import AgentStreamEvent, ModelMessage

LEFT_OUT = ("title", "description", "default", "format", "deprecated", "discriminator")


def essence(schema: Any) -> Any:
    """The schema without the parts that do not matter for reading."""
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key in LEFT_OUT:
            continue
        if key == "properties":
            value = {name: essence(one) for name, one in value.items()}
        elif isinstance(value, list):
            value = [essence(one) for one in value]
        else:
            value = essence(value)
        kept[key] = value
    return kept


def table(_: object = None) -> dict[str, Any]:
    roots: dict[str, TypeAdapter[Any]] = {"event": TypeAdapter(AgentStreamEvent), "message": TypeAdapter(ModelMessage)}
    schemas, shared = TypeAdapter.json_schemas([(name, "validation", adapter) for name, adapter in roots.items()])
    return {
        "version": version("pydantic-ai-slim"),
        **{name: essence(schemas[name, "validation"]) for name in roots},
        "$defs": {name: essence(schema) for name, schema in shared["$defs"].items()},
    }
