"""Prepared tools, offered to a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema

from runtime.llm.plugin_tools.calls import PluginToolCaller
from runtime.llm.plugin_tools.prepared import PreparedTool
from runtime.llm.plugin_tools.schema import visible_schema

MAX_ARGUMENT_RETRIES = 3
"""How often a model may write arguments that are no JSON object, one time after another, before its run fails."""

_ANY_OBJECT = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()))
"""What is in the object the call checks itself: its answer to wrong arguments is an observation, not a retry."""


class PluginToolset(AbstractToolset[None]):
    """The tools of one layer, for one run."""

    def __init__(self, tools: Iterable[PreparedTool], caller: PluginToolCaller) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._caller = caller
        self._offered = {name: self._offer(tool) for name, tool in self._tools.items()}

    @property
    def id(self) -> None:
        return None

    async def get_tools(self, ctx: RunContext[None]) -> dict[str, ToolsetTool[None]]:
        return self._offered

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[None], tool: ToolsetTool[None]
    ) -> str:
        return await self._caller.observe(self._tools[name], tool_args)

    def _offer(self, tool: PreparedTool) -> ToolsetTool[None]:
        definition = ToolDefinition(
            name=tool.name,
            description=tool.description,
            parameters_json_schema=visible_schema(tool.json_schema, tool.hidden_names()),
            strict=False,
        )
        return ToolsetTool(
            toolset=self, tool_def=definition, max_retries=MAX_ARGUMENT_RETRIES, args_validator=_ANY_OBJECT
        )
