"""The configuration of the runtime, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    merges_text: bool
    """Whether text chunks of a model that arrive together are merged into one delta."""


@dataclass(frozen=True, slots=True)
class DefaultModelConfig:
    """The model layer of runs without one."""

    type: str
    config: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RunLimits:
    """The limits of one run. A ``seconds`` of None means no time limit."""

    model_requests: int
    seconds: float | None
    tool_argument_bytes: int
    tool_result_bytes: int


@dataclass(frozen=True, slots=True)
class OperatorRules:
    """What requests may reach from this server. A request that breaks a rule is refused immediately."""

    allowed_providers: frozenset[str] = frozenset()
    """The providers whose models may be called without Dify."""
    allow_private_urls: bool = False
    """Whether a URL in a request may lead to a private address."""
    mcp_commands: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    """The programs that requests may start as MCP servers, by the names used in requests, each with its arguments."""


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """Everything that a worker's runtime is built from."""

    redis_url: str = field(repr=False)
    redis_prefix: str
    redis_cluster_buckets: int | None
    """The number of buckets that keys are in if Redis is a cluster; None if it is not."""
    run_retention_seconds: int
    lease_seconds: float
    """How long after its last sign of life a worker counts as lost."""
    shutdown_grace_seconds: float
    max_active_runs: int
    max_waiting_runs: int
    """How many runs are accepted beyond the active ones."""
    max_wait_seconds: float
    max_run_event_bytes: int
    limits: RunLimits
    event_loop: Literal["hub", "selector"]
    dialect: Dialect | None
    """The dialect of every run; None chooses it by the request."""
    plugin_daemon: PluginDaemonConfig
    rules: OperatorRules
    default_model: DefaultModelConfig | None
