"""Models behind Dify's plugin daemon."""

from runtime.llm.plugin_daemon.client import PluginDaemonClient
from runtime.llm.plugin_daemon.errors import (
    PluginDaemonAPIError,
    PluginDaemonConnectionError,
    PluginDaemonError,
    PluginDaemonHTTPError,
    PluginDaemonProtocolError,
    PluginDaemonTimeoutError,
    PluginDaemonUserError,
)
from runtime.llm.plugin_daemon.model import PluginDaemonModel

__all__ = [
    "PluginDaemonAPIError",
    "PluginDaemonClient",
    "PluginDaemonConnectionError",
    "PluginDaemonError",
    "PluginDaemonHTTPError",
    "PluginDaemonModel",
    "PluginDaemonProtocolError",
    "PluginDaemonTimeoutError",
    "PluginDaemonUserError",
]
