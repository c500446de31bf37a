"""What every layer that brings tools is."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel
from pydantic_ai.toolsets import AbstractToolset

from runtime.composition.layer import Layer
from runtime.llm.clients import ModelClients

ConfigT = TypeVar("ConfigT", bound=BaseModel)
StateT = TypeVar("StateT", bound=BaseModel)


class ToolLayer(Layer[ConfigT, StateT]):
    """A layer that gives the model tools."""

    def toolsets(self, clients: ModelClients) -> list[AbstractToolset[None]]:
        """The tools of this run, in the order in which the model sees them. Called once the layer is entered."""
        return []
