"""What the runs of a worker share when they call models and tools."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass, field
from typing import Self

from runtime.config import OperatorRules
from runtime.llm.plugin_daemon import PluginDaemonClient
from runtime.llm.providers import ProviderClient

MAX_COMMANDS = 32
"""Commands that a worker runs at once as MCP servers; further ones wait for their turn, as long as they may connect."""


@dataclass(frozen=True, slots=True)
class ModelClients:
    """One of each for a worker, open until the last run has ended."""

    plugin_daemon: PluginDaemonClient
    providers: ProviderClient = field(default_factory=ProviderClient)
    rules: OperatorRules = field(default_factory=OperatorRules)
    command_turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_COMMANDS))
    """Held by each command that runs as an MCP server."""
    tenant_id: str | None = None
    """On whose behalf they call: tenants share no connections to what their runs name."""

    def of_tenant(self, tenant_id: str | None) -> Self:
        """The same clients, for the runs of a tenant or those without one."""
        return dataclasses.replace(self, tenant_id=tenant_id)

    async def aclose(self) -> None:
        await self.plugin_daemon.aclose()
        await self.providers.aclose()
