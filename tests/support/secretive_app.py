"""The server with two extra layer types: one has a secret that its class does not declare, the other may last."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, cast

from pydantic import BaseModel, SecretStr
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset

from app import create_app
from runtime.composition.layer import Layer, NoState
from runtime.composition.layer_config import LayerConfigModel
from runtime.execution.failures import RunCannotProceed
from runtime.layers.registry import LAYER_TYPES
from runtime.layers.tool_layer import ToolLayer
from runtime.llm.clients import ModelClients
from tests.support.canaries import echoes

SECRETIVE = "test.secretive"
LASTING = "test.lasting"
TOOL = "use_token"

Moment = Literal["enter", "foreseen", "tool", "leave"]


class SecretiveConfig(LayerConfigModel):
    """A secret, and the moment at which an error repeats it in every spelling."""

    token: SecretStr
    fails: Moment | None = None


class SecretiveState(BaseModel):
    """Shows that the layer had its secret."""

    digest: str = ""
    entered: int = 0


class SecretiveLayer(ToolLayer[SecretiveConfig, SecretiveState]):
    """A layer without any protection of its secret except what the base class gives."""

    type_id = SECRETIVE
    config_type = SecretiveConfig
    state_type = SecretiveState

    async def on_create(self) -> None:
        self._enter()

    async def on_resume(self) -> None:
        self._enter()

    async def on_suspend(self) -> None:
        if self.config.fails == "leave":
            raise RuntimeError(self._echo())

    def tool_names(self) -> list[str]:
        return [TOOL]

    def toolsets(self, clients: ModelClients) -> list[AbstractToolset[None]]:
        def use_token(text: str) -> str:
            """Use the token."""
            if self.config.fails == "tool":
                raise RuntimeError(self._echo())
            return f"used for {text}"

        return [FunctionToolset([use_token])]

    def _enter(self) -> None:
        self.state.digest = digest_of(self.config.token.get_secret_value())
        self.state.entered += 1
        if self.config.fails == "enter":
            raise RuntimeError(self._echo())
        if self.config.fails == "foreseen":
            raise RunCannotProceed(self._echo())

    def _echo(self) -> str:
        return echoes(self.config.token.get_secret_value())


class LastingConfig(LayerConfigModel):
    """A config without a secret."""

    note: str


class LastingLayer(Layer[LastingConfig, NoState]):
    """A layer whose config may be stored in the clear."""

    type_id = LASTING
    config_type = LastingConfig
    config_may_last = True


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


for layer_type in (SecretiveLayer, LastingLayer):
    cast("dict[str, Any]", LAYER_TYPES)[layer_type.type_id] = layer_type
app = create_app()
