"""The session snapshot: the runtime state of a run's layers, handed back at its end and given to the next run."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SNAPSHOT_SCHEMA_VERSION = 1
HISTORY_LAYER_NAME = "history"
"""The only name that the layer with the messages of a session may have."""
MAX_LAYERS = 1000
"""Of a composition and its snapshot. A bound of some kind is needed, and real compositions have a dozen."""


class LifecycleState(StrEnum):
    """Where a layer is in its life."""

    NEW = "new"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


ENTERABLE = frozenset({LifecycleState.NEW, LifecycleState.SUSPENDED})
"""States from which a layer can be entered: ``new`` by its create hook, ``suspended`` by its resume hook."""


class LayerSnapshot(BaseModel):
    """The state of one layer. Never its config, credentials or prompts."""

    model_config = ConfigDict(extra="forbid")

    name: str
    lifecycle_state: LifecycleState
    runtime_state: dict[str, Any]


class SessionSnapshot(BaseModel):
    """One entry a layer, in the order of the composition."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SNAPSHOT_SCHEMA_VERSION
    layers: list[LayerSnapshot] = Field(max_length=MAX_LAYERS)
