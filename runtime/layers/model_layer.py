"""What every model layer is, whichever provider it calls."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import Field, Secret
from pydantic.types import StrictBool, StrictFloat, StrictInt, StrictStr
from pydantic_ai.models import Model

from runtime.composition.layer import NoState
from runtime.composition.layer_config import LayerConfigModel, header_secrets, unmarked_secrets
from runtime.layers.tool_layer import ToolLayer
from runtime.llm.clients import ModelClients
from runtime.llm.usage import UsageLedger

MODEL_LAYER_NAME = "llm"

Scalar = StrictStr | StrictInt | StrictFloat | StrictBool | None
Credentials = Secret[dict[str, Scalar]]
"""Provider credentials; their text form shows nothing."""

ConfigT = TypeVar("ConfigT", bound=LayerConfigModel)


class ModelLayer(ToolLayer[ConfigT, NoState]):
    """A layer that brings the run's model. A composition has at most one, named ``llm``."""

    required_name = MODEL_LAYER_NAME

    @abstractmethod
    def create_model(self, clients: ModelClients, usage: UsageLedger) -> Model[Any]:
        """The model of this run. It reports the usage of each of its calls to the ledger."""


class ModelSettingsConfig(LayerConfigModel):
    """Settings of a model call. Unknown keys and nulls are refused; ``extra_body`` is free."""

    max_tokens: int = Field(default=0, ge=1)
    temperature: float = 0
    top_p: float = 0
    top_k: int = 0
    timeout: float = Field(default=0, gt=0)
    parallel_tool_calls: bool = False
    seed: int = 0
    presence_penalty: float = 0
    frequency_penalty: float = 0
    logit_bias: dict[str, int] = Field(default_factory=dict)
    stop_sequences: list[str] = Field(default_factory=list)
    tool_choice: Annotated[str | list[str], Field(min_length=1)] = "auto"
    extra_headers: Secret[dict[str, str]] = Field(default_factory=lambda: Secret[dict[str, str]]({}))
    extra_body: Secret[Any] = Field(default_factory=lambda: Secret[Any](None))

    def given(self) -> dict[str, Any]:
        """The settings that were given, without the defaults that only state their types."""
        given = self.model_dump(exclude_unset=True)
        return {name: value.get_secret_value() if isinstance(value, Secret) else value for name, value in given.items()}

    def secret_values(self) -> Iterator[str]:
        """The headers, and what in the free body may be a credential."""
        yield from header_secrets(self.extra_headers.get_secret_value())
        yield from unmarked_secrets(self.extra_body.get_secret_value())
