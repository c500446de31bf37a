"""The HTTP clients that the model calls of a worker share."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.llm.plugin_daemon import PluginDaemonClient


@dataclass(frozen=True, slots=True)
class ModelClients:
    """One of each for a worker, open until the last run has ended."""

    plugin_daemon: PluginDaemonClient

    async def aclose(self) -> None:
        await self.plugin_daemon.aclose()
