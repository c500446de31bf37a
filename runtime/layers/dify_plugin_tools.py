"""``dify.plugin.tools``: prepared tools of Dify plugins, called through the plugin daemon."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, Secret, field_validator, model_validator
from pydantic_ai.toolsets import AbstractToolset

from runtime.composition.layer import Dependency, NoState
from runtime.composition.layer_config import LayerConfigModel
from runtime.layers.dify_identity import ExecutionContextLayer
from runtime.layers.dify_plugin_llm import provider_name, transport_plugin_id
from runtime.layers.model_layer import Credentials
from runtime.layers.tool_layer import ToolLayer
from runtime.llm.clients import ModelClients
from runtime.llm.plugin_tools import PluginToolCaller, PluginToolset, PreparedTool, ToolParameter
from runtime.llm.plugin_tools.schema import check_schema

MODEL_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What every provider takes as the name of a tool."""


class PluginToolConfig(LayerConfigModel):
    """One tool: which, with what credentials, and what the model may set."""

    plugin_id: str = Field(min_length=1)
    provider: str = Field(min_length=1)
    tool_name: str = Field(min_length=1)
    credential_type: Literal["api-key", "oauth2", "unauthorized"]
    name: str | None = None
    """What the model calls it by; without one, ``tool_name``."""
    description: str | None = None
    credentials: Credentials = Field(default_factory=lambda: Credentials({}))
    runtime_parameters: Secret[dict[str, JsonValue]] = Field(default_factory=lambda: Secret[dict[str, JsonValue]]({}))
    """Merged into every call, and hidden from the model."""
    parameters: list[ToolParameter] = Field(default_factory=list)
    parameters_json_schema: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})

    @field_validator("parameters_json_schema")
    @classmethod
    def _describes_an_object(cls, schema: dict[str, Any]) -> dict[str, Any]:
        check_schema(schema)
        return schema

    @model_validator(mode="after")
    def _has_a_name_for_models(self) -> Self:
        if not MODEL_TOOL_NAME.fullmatch(self.shown_name):
            raise ValueError("a tool's name for the model must be 1 to 64 of the characters a-z, A-Z, 0-9, _ and -")
        return self

    @property
    def shown_name(self) -> str:
        """The name the model knows the tool by."""
        return self.name or self.tool_name

    def secret_values(self) -> Iterator[str]:
        """Those of the tool as it is called. A runtime parameter is no secret unless it is declared as one."""
        yield from self.prepared().secrets()

    def prepared(self) -> PreparedTool:
        """The tool as it is called."""
        return PreparedTool(
            plugin_id=transport_plugin_id(self.plugin_id),
            provider=provider_name(self.provider),
            tool_name=self.tool_name,
            name=self.shown_name,
            description=self.description or self.shown_name,
            credential_type=self.credential_type,
            credentials=self.credentials.get_secret_value(),
            runtime_parameters=self.runtime_parameters.get_secret_value(),
            parameters=self.parameters,
            json_schema=self.parameters_json_schema,
        )


class DifyPluginToolsConfig(LayerConfigModel):
    """The tools, in the order in which the model sees them."""

    tools: list[PluginToolConfig] = Field(default_factory=list)


class DifyPluginToolsLayer(ToolLayer[DifyPluginToolsConfig, NoState]):
    """Tools of Dify plugins. What a tool or the daemon refuses is told to the model, and ends no run."""

    type_id = "dify.plugin.tools"
    reserved_name = "tools"
    config_type = DifyPluginToolsConfig
    dependencies = (Dependency("execution_context", ExecutionContextLayer.type_id),)

    def tool_names(self) -> list[str]:
        return [tool.shown_name for tool in self.config.tools]

    def toolsets(self, clients: ModelClients) -> list[AbstractToolset[None]]:
        identity = self.deps["execution_context"].config
        caller = PluginToolCaller(clients.plugin_daemon, tenant_id=identity.tenant_id, user_id=identity.user_id)
        return [PluginToolset([tool.prepared() for tool in self.config.tools], caller)]
