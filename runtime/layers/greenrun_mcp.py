"""``greenrun.mcp``: tools of an MCP server."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Self

import httpx2
from pydantic import Field, Secret, field_validator, model_validator
from pydantic_ai.toolsets import AbstractToolset

from runtime.composition.layer import NoState
from runtime.composition.layer_config import LayerConfigModel, header_secrets, unmarked_secrets
from runtime.config import OperatorRules
from runtime.layers.tool_layer import ToolLayer
from runtime.llm.address_guard import check_url
from runtime.llm.clients import ModelClients
from runtime.llm.unsupported import UnsupportedRequest
from runtime.mcp.limits import MAX_TOOLS
from runtime.mcp.names import public_tool_name
from runtime.protocol.redaction import Redactor

if TYPE_CHECKING:
    from runtime.mcp.session import Connect

EXTRA = "mcp"
MAX_HEADERS = 32
MAX_HEADER_CHARS = 8192

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t -~]*")

OURS = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "last-event-id", "te",
     "transfer-encoding", "upgrade"}
)  # fmt: skip
"""Headers that the connection itself sets."""

OURS_PREFIX = "mcp-"


class McpConfig(LayerConfigModel):
    """One server, by ``url`` or by the name of a ``command``, and what the run takes from it."""

    url: str | None = Field(default=None, max_length=2048, repr=False)
    command: str | None = Field(default=None, min_length=1, max_length=128)
    headers: Secret[dict[str, str]] = Field(default_factory=lambda: Secret({}))
    allowed_tools: list[str] | None = Field(default=None, min_length=1, max_length=MAX_TOOLS)
    tool_prefix: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,32}$")
    timeout_seconds: float = Field(default=60, ge=1, le=600)
    connect_timeout_seconds: float = Field(default=10, ge=1, le=60)
    max_result_chars: int = Field(default=50_000, ge=100, le=1_000_000)
    on_unavailable: Literal["fail", "observe"] = "fail"

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None:
            check_url(value, allow_private=True)
        return value

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, value: Secret[dict[str, str]]) -> Secret[dict[str, str]]:
        headers = value.get_secret_value()
        if len(headers) > MAX_HEADERS:
            raise ValueError(f"has more than {MAX_HEADERS} headers")
        for name, text in headers.items():
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(text) or len(text) > MAX_HEADER_CHARS:
                raise ValueError("has a name or a value that HTTP cannot send")
            if name.lower() in OURS or name.lower().startswith(OURS_PREFIX):
                raise ValueError(f"has a header that is set by the connection: {name.lower()}")
        return value

    @model_validator(mode="after")
    def _names_one_server(self) -> Self:
        if (self.url is None) == (self.command is None):
            raise ValueError("needs either a url or a command")
        if self.command is not None and self.headers.get_secret_value():
            raise ValueError("headers are for a url")
        self.known_tool_names()
        return self

    def secret_values(self) -> Iterator[str]:
        """The headers, and what in the query may be a key: some servers want theirs there."""
        yield from header_secrets(self.headers.get_secret_value())
        yield from unmarked_secrets(list(httpx2.URL(self.url or "").params.values()))

    def known_tool_names(self) -> list[str]:
        """The names of its tools in the run, if they are named. Raises ValueError when one is too long."""
        return [public_tool_name(name, self.tool_prefix) for name in self.allowed_tools or ()]


class GreenrunMcpLayer(ToolLayer[McpConfig, NoState]):
    """The tools of an MCP server, which the run connects to when it begins and leaves when it ends."""

    type_id = "greenrun.mcp"
    reserved_name = "tools"
    config_type = McpConfig

    def check_rules(self, rules: OperatorRules) -> None:
        if not _is_installed():
            raise ValueError(
                f"this server has no MCP client installed (the extra '{EXTRA}', or requirements-providers.txt)"
            )
        if self.config.url is not None:
            try:
                check_url(self.config.url, allow_private=rules.allow_private_urls)
            except ValueError as error:
                raise ValueError(f"url {error}") from None
        elif self.config.command not in rules.mcp_commands:
            raise ValueError(f"this server's operator has no MCP command named '{self.config.command}'")

    def tool_names(self) -> list[str]:
        return self.config.known_tool_names()

    def toolsets(self, clients: ModelClients) -> list[AbstractToolset[None]]:
        self._check_again(clients.rules)
        # The SDK is an extra, and takes half a second to load.
        from runtime.mcp.server import McpServer
        from runtime.mcp.session import McpSession
        from runtime.mcp.toolset import McpToolRules, McpToolset

        config = self.config
        new_session = functools.partial(
            McpSession,
            self._connect(clients),
            connect_timeout=config.connect_timeout_seconds,
            call_timeout=config.timeout_seconds,
        )
        rules = McpToolRules(
            allowed=tuple(config.allowed_tools) if config.allowed_tools is not None else None,
            prefix=config.tool_prefix,
            max_result_chars=config.max_result_chars,
            on_unavailable=config.on_unavailable,
        )
        return [McpToolset(self.name, McpServer(new_session), rules, Redactor(self.secrets()))]

    def _check_again(self, rules: OperatorRules) -> None:
        """A run may begin without its request having been checked, as that of a layer outside any composition."""
        try:
            self.check_rules(rules)
        except ValueError as error:
            raise UnsupportedRequest(f"layer '{self.name}': {error}") from None

    def _connect(self, clients: ModelClients) -> Connect:
        from runtime.mcp.command import connect_command
        from runtime.mcp.http import connect_http

        config = self.config
        if config.url is not None:
            return functools.partial(
                connect_http,
                url=config.url,
                headers=config.headers.get_secret_value(),
                allow_private=clients.rules.allow_private_urls,
                connect_timeout=config.connect_timeout_seconds,
            )
        argv = clients.rules.mcp_commands[config.command or ""]
        return functools.partial(connect_command, argv=argv, turn=clients.command_turns)


@functools.cache
def _is_installed() -> bool:
    return importlib.util.find_spec("mcp") is not None
