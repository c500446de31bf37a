"""What every layer that brings tools is."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.toolsets import AbstractToolset

from runtime.composition.layer import Layer
from runtime.composition.layer_config import LayerConfigModel
from runtime.llm.clients import ModelClients

ConfigT = TypeVar("ConfigT", bound=LayerConfigModel)
StateT = TypeVar("StateT", bound=BaseModel)


class ToolLayer(Layer[ConfigT, StateT]):
    """A layer that gives the model tools."""

    def toolsets(self, clients: ModelClients) -> list[AbstractToolset[None]]:
        """The tools of this run, in the order in which the model sees them. Called once the layer is entered."""
        return []

    def deferred_tool_names(self) -> list[str]:
        """Those of its tools whose call ends the run; the request of the next run brings the result."""
        return []

    def deferred_args(self, call: ToolCallPart) -> dict[str, Any]:
        """The arguments of a valid deferred call, as the caller of the run gets them."""
        return call.args_as_dict()
