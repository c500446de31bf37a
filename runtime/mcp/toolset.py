"""The tools of one MCP server in one run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic_ai import RunContext
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
from pydantic_core import SchemaValidator, core_schema

from runtime.mcp.errors import McpCallFailed, McpUnavailable
from runtime.mcp.results import cut, result_text
from runtime.mcp.server import McpServer
from runtime.mcp.tools import offered_tools
from runtime.protocol.redaction import Redactor

logger = logging.getLogger(__name__)

ANY_OBJECT = SchemaValidator(core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema()))
"""Of arguments: the server knows its own schema best, and tells the model what is wrong."""


@dataclass(frozen=True, slots=True)
class McpToolRules:
    """What a run takes from a server. Without ``allowed`` it takes all its tools."""

    allowed: tuple[str, ...] | None
    prefix: str | None
    max_result_chars: int
    on_unavailable: Literal["fail", "observe"]


class McpToolset(AbstractToolset[None]):
    """Connects when the run enters it, and leaves the server with the run.

    A server that cannot be used, or no longer, ends the run with McpUnavailable; under ``observe`` the run goes on,
    and the model is told.
    """

    def __init__(self, name: str, server: McpServer, rules: McpToolRules, redactor: Redactor) -> None:
        self._name = name
        self._server = server
        self._rules = rules
        self._redactor = redactor
        self._offered: dict[str, ToolDefinition] = {}
        self._is_missing = False

    @property
    def id(self) -> str | None:
        return None

    @property
    def label(self) -> str:
        return f"the MCP server of layer '{self._name}'"

    @property
    def tool_name_conflict_hint(self) -> str:
        return "Give the layer a tool_prefix, or leave the tool out of its allowed_tools."

    async def __aenter__(self) -> Self:
        try:
            tools = await self._server.open()
            offered = offered_tools(tools, allowed=self._rules.allowed, prefix=self._rules.prefix)
        except McpUnavailable as error:
            await self._server.close()
            if self._rules.on_unavailable == "fail":
                raise self._unavailable(error) from error
            logger.warning("layer '%s': its MCP server is not available, the run goes on without it", self._name)
            self._is_missing = True
        except BaseException:
            await self._server.close()
            raise
        else:
            self._offered = {definition.name: definition for definition in offered.values()}
            self._own_names = {definition.name: own_name for own_name, definition in offered.items()}
        return self

    async def __aexit__(self, *args: object) -> bool | None:
        await self._server.close()
        return None

    async def get_instructions(self, ctx: RunContext[None]) -> str | None:
        # Not the reason: a system prompt is no place for words of a server's.
        return f"The tools of '{self._name}' are not available at the moment." if self._is_missing else None

    async def get_tools(self, ctx: RunContext[None]) -> dict[str, ToolsetTool[None]]:
        return {
            name: ToolsetTool(toolset=self, tool_def=definition, max_retries=ctx.max_retries, args_validator=ANY_OBJECT)
            for name, definition in self._offered.items()
        }

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[None], tool: ToolsetTool[None]
    ) -> str:
        try:
            result = await self._server.call(self._own_names[name], tool_args)
        except McpCallFailed as error:
            raise self._failed(str(error)) from error
        except McpUnavailable as error:
            if self._rules.on_unavailable == "fail":
                raise self._unavailable(error) from error
            raise self._failed(f"The tool's server is not available any more: {error}.") from error
        text = result_text(result, self._rules.max_result_chars)
        if result.is_error:
            raise self._failed(text)
        return text

    def _failed(self, text: str) -> ToolFailed:
        return ToolFailed(cut(self._redactor.clean(text), self._rules.max_result_chars))

    def _unavailable(self, error: McpUnavailable) -> McpUnavailable:
        return McpUnavailable(f"the MCP server of layer '{self._name}' is not available: {error}")
