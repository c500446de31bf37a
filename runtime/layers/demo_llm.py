"""``greenrun.demo_llm``: the offline, deterministic model of the demo and of a first look."""

from __future__ import annotations

from pydantic import Field
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset

from runtime.composition.layer_config import LayerConfigModel
from runtime.layers.model_layer import ModelLayer
from runtime.llm.clients import ModelClients
from runtime.llm.demo import DemoModel, DemoScript, count_words
from runtime.llm.usage import UsageLedger


class DemoLlmConfig(LayerConfigModel):
    """How the demo model behaves."""

    answer: str | None = None
    """What it answers; by default a text built from the prompt."""
    delay_ms: int = Field(default=0, ge=0, le=60_000)
    """Pause before each word, in milliseconds."""
    call_tool: str | None = None
    """A tool it calls before it answers; ``count_words`` is always there."""
    tool_args: dict[str, object] = Field(default_factory=dict)
    fail: str | None = None
    """The error it fails with, after ``fail_after`` words."""
    fail_after: int = Field(default=0, ge=0)


class DemoLlmLayer(ModelLayer[DemoLlmConfig]):
    """A model without a network."""

    type_id = "greenrun.demo_llm"
    config_type = DemoLlmConfig

    def create_model(self, clients: ModelClients, usage: UsageLedger) -> DemoModel:
        config = self.config
        return DemoModel(
            DemoScript(
                answer=config.answer,
                delay_seconds=config.delay_ms / 1000,
                call_tool=config.call_tool,
                tool_args=config.tool_args,
                fail=config.fail,
                fail_after=config.fail_after,
            ),
            usage,
        )

    def tool_names(self) -> list[str]:
        return [count_words.__name__] if self.config.call_tool is not None else []

    def toolsets(self, clients: ModelClients) -> list[AbstractToolset[None]]:
        return [FunctionToolset([count_words])] if self.config.call_tool is not None else []
