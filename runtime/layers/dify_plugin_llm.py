"""``dify.plugin.llm``: a model called through Dify's plugin daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from pydantic import Field
from pydantic_ai.settings import ModelSettings

from runtime.composition.layer import Dependency
from runtime.composition.layer_config import LayerConfigModel
from runtime.layers.dify_identity import DifyPluginLayer, ExecutionContextLayer
from runtime.layers.model_layer import Credentials, ModelLayer, ModelSettingsConfig
from runtime.llm.clients import ModelClients
from runtime.llm.plugin_daemon import PluginDaemonModel
from runtime.llm.usage import UsageLedger


class DifyPluginLlmConfig(LayerConfigModel):
    """The provider and model to call. ``plugin_id`` is the form of 27 May 2026 and later."""

    model_provider: str = Field(min_length=1)
    model: str = Field(min_length=1)
    credentials: Credentials = Field(default_factory=lambda: Credentials({}))
    model_settings: ModelSettingsConfig | None = None
    plugin_id: str | None = Field(default=None, min_length=1)


class DifyPluginLlmLayer(ModelLayer[DifyPluginLlmConfig]):
    """The model of a Dify plugin."""

    type_id = "dify.plugin.llm"
    config_type = DifyPluginLlmConfig
    dependencies = (
        Dependency("plugin", DifyPluginLayer.type_id, required=False),
        Dependency("execution_context", ExecutionContextLayer.type_id, required=False),
    )

    @classmethod
    def check_dependencies(cls, config: DifyPluginLlmConfig, deps: Mapping[str, str]) -> None:
        if not deps:
            raise ValueError("dependency 'execution_context' (or 'plugin') is missing")
        if "plugin" not in deps and config.plugin_id is None:
            raise ValueError("config.plugin_id is needed with the dependency 'execution_context'")

    def create_model(self, clients: ModelClients, usage: UsageLedger) -> PluginDaemonModel:
        identity = (self.deps.get("execution_context") or self.deps["plugin"]).config
        plugin_id = self.config.plugin_id or self.deps["plugin"].config.plugin_id
        settings = self.config.model_settings
        return PluginDaemonModel(
            clients.plugin_daemon,
            tenant_id=identity.tenant_id,
            plugin_id=transport_plugin_id(plugin_id),
            user_id=identity.user_id,
            provider=provider_name(self.config.model_provider),
            model=self.config.model,
            credentials=self.config.credentials.get_secret_value(),
            model_settings=cast(ModelSettings, settings.given()) if settings is not None else None,
            usage=usage,
            secrets=self.secrets(),
        )


def transport_plugin_id(plugin_id: str) -> str:
    """``org/plugin`` without the ``:version@hash`` that a marketplace id carries: what ``X-Plugin-ID`` takes."""
    return plugin_id.partition("@")[0].partition(":")[0]


def provider_name(model_provider: str) -> str:
    """The daemon's name of a provider: the third part of ``org/plugin/provider``, or the bare name."""
    parts = model_provider.split("/")
    return parts[2] if len(parts) == 3 else model_provider
