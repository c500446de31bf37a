"""Converts the settings to the plain values that the runtime takes, since it reads no environment variables."""

from __future__ import annotations

from runtime.config import DefaultModelConfig, OperatorRules, PluginDaemonConfig, RunLimits, RuntimeConfig
from runtime.protocol.dialects import Dialect
from services.database import DatabaseConfig
from settings import Settings


def runtime_config(settings: Settings) -> RuntimeConfig:
    """Returns the settings of the runtime."""
    default = settings.default_llm
    return RuntimeConfig(
        redis_url=settings.redis_url,
        redis_prefix=settings.redis_prefix,
        redis_cluster_buckets=settings.redis_cluster_buckets if settings.redis_cluster else None,
        run_retention_seconds=settings.run_retention_seconds,
        lease_seconds=settings.lease_seconds,
        shutdown_grace_seconds=settings.shutdown_grace_seconds,
        max_active_runs=settings.max_active_runs,
        max_waiting_runs=settings.max_waiting_runs,
        max_tenant_active_runs=settings.max_tenant_active_runs,
        max_tenant_waiting_runs=settings.max_tenant_waiting_runs,
        max_wait_seconds=settings.max_wait_seconds,
        max_run_event_bytes=settings.max_run_event_bytes,
        limits=RunLimits(
            model_requests=settings.max_model_requests,
            seconds=settings.run_timeout_seconds or None,
            tool_argument_bytes=settings.max_tool_argument_bytes,
            tool_result_bytes=settings.max_tool_result_bytes,
        ),
        event_loop=settings.event_loop,
        dialect=None if settings.wire_dialect == "auto" else Dialect(settings.wire_dialect),
        plugin_daemon=PluginDaemonConfig(
            base_url=settings.plugin_daemon_url,
            api_key=settings.plugin_daemon_api_key,
            connect_timeout=settings.plugin_daemon_connect_timeout,
            read_timeout=settings.plugin_daemon_read_timeout,
            write_timeout=settings.plugin_daemon_write_timeout,
            pool_timeout=settings.explicit_pool_timeout,
            max_connections=settings.plugin_daemon_max_connections,
            max_keepalive_connections=settings.plugin_daemon_max_keepalive_connections,
            keepalive_expiry=settings.plugin_daemon_keepalive_expiry,
            merges_text=settings.delta_merging == "adaptive",
        ),
        rules=OperatorRules(
            allowed_providers=settings.allowed_provider_names,
            allow_private_urls=settings.allow_private_urls,
            max_file_bytes=settings.max_file_bytes,
            max_request_file_bytes=settings.max_request_file_bytes,
            mcp_commands=settings.mcp_commands or {},
        ),
        default_model=DefaultModelConfig(default.type, default.config) if default is not None else None,
    )


def database_config(settings: Settings) -> DatabaseConfig:
    """Returns the settings of the database."""
    return DatabaseConfig(
        url=settings.database_url,
        is_chosen="database_url" in settings.model_fields_set,
        pool_size=settings.database_pool_size,
        timeout_seconds=settings.database_timeout_seconds,
    )
