"""What the runtime needs to know, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import SecretStr

from runtime.protocol.dialects import Dialect


@dataclass(frozen=True, slots=True)
class PluginDaemonConfig:
    """How to reach Dify's plugin daemon. Times are in seconds; a ``pool_timeout`` of None waits without a bound."""

    base_url: str
    api_key: SecretStr
    connect_timeout: float
    read_timeout: float
    write_timeout: float
    pool_timeout: float | None
    max_connections: int
    max_keepalive_connections: int
    keepalive_expiry: float


@dataclass(frozen=True, slots=True)
class DefaultModelConfig:
    """The model layer of runs that name none."""

    type: str
    config: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What one run may use. ``seconds`` of None is no limit."""

    model_requests: int
    seconds: float | None
    tool_argument_bytes: int
    tool_result_bytes: int


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """Everything that one worker's runtime is made from."""

    redis_url: str = field(repr=False)
    redis_prefix: str
    run_retention_seconds: int
    shutdown_grace_seconds: float
    max_active_runs: int
    max_run_event_bytes: int
    limits: RunLimits
    event_loop: Literal["hub", "selector"]
    dialect: Dialect | None
    """The dialect of every run; None chooses it from the request."""
    plugin_daemon: PluginDaemonConfig
    default_model: DefaultModelConfig | None
