"""A server's tools as those of a run: which of them, and under what names."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mcp_types import Tool
from pydantic_ai.tools import ToolDefinition

from runtime.mcp.errors import McpUnavailable
from runtime.mcp.limits import MAX_DESCRIPTION_CHARS, MAX_SCHEMA_BYTES, MAX_SCHEMAS_BYTES, MAX_TOOLS
from runtime.mcp.names import public_tool_name


def offered_tools(
    tools: Sequence[Tool], *, allowed: Sequence[str] | None, prefix: str | None
) -> dict[str, ToolDefinition]:
    """The tools that the run may use, by the server's names for them. Raises McpUnavailable when that cannot be."""
    by_name = {tool.name: tool for tool in tools}
    chosen = by_name if allowed is None else {name: by_name[name] for name in allowed if name in by_name}
    missing = [name for name in allowed or () if name not in by_name]
    if missing:
        raise McpUnavailable(f"it has no tool named '{missing[0]}'")
    if len(chosen) > MAX_TOOLS:
        raise McpUnavailable(
            f"it has {len(chosen)} tools, and at most {MAX_TOOLS} can be used: name them in allowed_tools"
        )
    offered = {name: _definition(tool, prefix) for name, tool in chosen.items()}
    _check_names(offered)
    _check_sizes(offered)
    return offered


def _definition(tool: Tool, prefix: str | None) -> ToolDefinition:
    try:
        name = public_tool_name(tool.name, prefix)
    except ValueError as error:
        raise McpUnavailable(f"one of its tools {error}") from None
    return ToolDefinition(
        name=name,
        description=(tool.description or tool.title or "")[:MAX_DESCRIPTION_CHARS] or None,
        parameters_json_schema=tool.input_schema,
    )


def _check_names(offered: dict[str, ToolDefinition]) -> None:
    names: set[str] = set()
    for definition in offered.values():
        if definition.name in names:
            raise McpUnavailable(f"two of its tools would be named '{definition.name}': name one in allowed_tools")
        names.add(definition.name)


def _check_sizes(offered: dict[str, ToolDefinition]) -> None:
    sizes = {name: len(json.dumps(definition.parameters_json_schema)) for name, definition in offered.items()}
    for name, size in sizes.items():
        if size > MAX_SCHEMA_BYTES:
            raise McpUnavailable(f"the parameters of its tool '{name}' take {size} bytes, above {MAX_SCHEMA_BYTES}")
    if sum(sizes.values()) > MAX_SCHEMAS_BYTES:
        raise McpUnavailable(f"the parameters of its tools take more than {MAX_SCHEMAS_BYTES} bytes: use allowed_tools")
