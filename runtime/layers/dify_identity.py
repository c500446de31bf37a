"""``dify.plugin`` and ``dify.execution_context``: on whose behalf a run calls Dify's plugin daemon.

They carry identity, not authorisation. The first is the form of 14 May 2026, the second the one of every later date.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from runtime.composition.layer import Layer, NoState
from runtime.composition.layer_config import LayerConfigModel

AgentMode = Literal["workflow_run", "single_step", "agent_app", "babysit", "fasten"]
InvokeFrom = Literal[
    AgentMode,
    "service-api",
    "openapi",
    "web-app",
    "trigger",
    "explore",
    "debugger",
    "published",
    "validation",
]
"""Both meanings the key has had: the agent's mode until June 2026, the caller's surface since."""


class DifyPluginConfig(LayerConfigModel):
    """The plugin to call, and for whom."""

    tenant_id: str = Field(min_length=1)
    plugin_id: str = Field(min_length=1)
    user_id: str | None = None


class DifyPluginLayer(Layer[DifyPluginConfig, NoState]):
    """The plugin identity that model layers of 14 May depend on."""

    type_id = "dify.plugin"
    reserved_name = "plugin"
    config_type = DifyPluginConfig
    config_may_last = True
    tells_identity = True


class ExecutionContextConfig(LayerConfigModel):
    """Ids of the Dify objects the run belongs to."""

    tenant_id: str = Field(min_length=1)
    invoke_from: InvokeFrom
    agent_mode: AgentMode | None = None
    user_id: str | None = None
    user_from: Literal["account", "end-user"] | None = None
    app_id: str | None = None
    workflow_id: str | None = None
    workflow_run_id: str | None = None
    node_id: str | None = None
    node_execution_id: str | None = None
    conversation_id: str | None = None
    agent_id: str | None = None
    agent_config_version_id: str | None = None
    agent_config_version_kind: Literal["snapshot", "draft", "build_draft"] | None = None
    trace_id: str | None = None


class ExecutionContextLayer(Layer[ExecutionContextConfig, NoState]):
    """The execution identity that later layers depend on."""

    type_id = "dify.execution_context"
    reserved_name = "execution_context"
    config_type = ExecutionContextConfig
    config_may_last = True
    tells_identity = True
