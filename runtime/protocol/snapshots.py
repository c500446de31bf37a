"""The session snapshot: the runtime state of a run's layers, returned at its end and passed to the next run."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SNAPSHOT_SCHEMA_VERSION = 1
HISTORY_LAYER_NAME = "history"
"""The only allowed name of the layer with the messages of a session."""
MAX_LAYERS = 1000
"""The most layers of a composition and its snapshot. Some bound is needed; real compositions have a dozen layers."""


class LifecycleState(StrEnum):
    """The state of a layer's lifecycle."""

    NEW = "new"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


ENTERABLE = frozenset({LifecycleState.NEW, LifecycleState.SUSPENDED})
"""States in which a layer can be entered: ``new`` by its create hook, ``suspended`` by its resume hook."""


class LayerSnapshot(BaseModel):
    """The state of one layer, never its config, credentials or prompts."""

    model_config = ConfigDict(extra="forbid")

    name: str
    lifecycle_state: LifecycleState
    runtime_state: dict[str, Any]


class SessionSnapshot(BaseModel):
    """The state of all layers, one entry per layer in the order of the composition."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SNAPSHOT_SCHEMA_VERSION
    layers: list[LayerSnapshot] = Field(max_length=MAX_LAYERS)
