"""Small layers that note what happens to them."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, Field

from runtime.composition.binding import LayerRegistry, bind_composition
from runtime.composition.composition import Composition
from runtime.composition.layer import Dependency, Layer
from runtime.composition.layer_config import LayerConfigModel
from runtime.protocol.requests import CompositionSpec, OnExit
from runtime.protocol.snapshots import SessionSnapshot


class NoteConfig(LayerConfigModel):
    """What a note layer does."""

    word: str = ""
    prefix: list[str] = Field(default_factory=list)
    suffix: list[str] = Field(default_factory=list)
    user: list[str] = Field(default_factory=list)
    tool: str | None = None
    fail_on: list[str] = Field(default_factory=list)
    """Names of the hooks that fail."""
    only_with_other: bool = False


class NoteState(BaseModel):
    """What a note layer remembers."""

    seen: int = 0


class NoteLayer(Layer[NoteConfig, NoteState]):
    """Notes when it is built and which of its hooks are called, in ``notes``, which all layers share."""

    type_id = "test.note"
    config_type = NoteConfig
    state_type = NoteState
    dependencies: ClassVar[tuple[Dependency, ...]] = (Dependency("other", "test.note", required=False),)
    notes: ClassVar[list[str]] = []

    def __init__(self, name: str, config: NoteConfig, state: NoteState) -> None:
        super().__init__(name, config, state)
        self.notes.append(f"{name}.built")

    @classmethod
    def check_dependencies(cls, config: NoteConfig, deps: Any) -> None:
        if config.only_with_other and "other" not in deps:
            raise ValueError("it works only with another")

    async def on_create(self) -> None:
        self._note("create")

    async def on_resume(self) -> None:
        self._note("resume")

    async def on_suspend(self) -> None:
        self._note("suspend")

    async def on_delete(self) -> None:
        self._note("delete")

    def system_prefixes(self) -> list[str]:
        return self.config.prefix

    def system_suffixes(self) -> list[str]:
        return self.config.suffix

    def user_prompts(self) -> list[str]:
        return self.config.user

    def tool_names(self) -> list[str]:
        return [self.config.tool] if self.config.tool is not None else []

    def secrets(self) -> list[str]:
        return [self.config.word] if self.config.word else []

    def _note(self, hook: str) -> None:
        self.notes.append(f"{self.name}.{hook}")
        self.state.seen += 1
        if hook in self.config.fail_on:
            raise HookFailed(f"{self.name}.{hook}")


class HookFailed(Exception):
    """Raised by a hook that is configured to fail."""


class NeedyLayer(NoteLayer):
    """A layer that depends on a note layer."""

    type_id = "test.needy"
    dependencies = (Dependency("note", "test.note"),)


class NamedLayer(NoteLayer):
    """A layer type with a fixed name."""

    type_id = "test.named"
    required_name = "fixed"
    dependencies = ()


REGISTRY: LayerRegistry = {layer.type_id: layer for layer in (NoteLayer, NeedyLayer, NamedLayer)}


def note(name: str, *, type: str = "test.note", deps: dict[str, str] | None = None, **config: Any) -> dict[str, Any]:
    """A layer of a request."""
    return {"name": name, "type": type, "deps": deps or {}, "config": config}


def bind(
    *layers: dict[str, Any],
    snapshot: Any = None,
    on_exit: Any = None,
    schema_version: int = 1,
    pass_over_closed: bool = False,
) -> Composition:
    """The composition that a request of these parts has."""
    return bind_composition(
        CompositionSpec.model_validate({"schema_version": schema_version, "layers": list(layers)}),
        registry=REGISTRY,
        on_exit=OnExit.model_validate(on_exit or {}),
        snapshot=None if snapshot is None else SessionSnapshot.model_validate(snapshot),
        pass_over_closed=pass_over_closed,
    )


def snapshot_of(*entries: tuple[str, str], **states: dict[str, Any]) -> dict[str, Any]:
    """A snapshot with these names and lifecycle states, and the runtime states by name."""
    return {
        "layers": [
            {"name": name, "lifecycle_state": state, "runtime_state": states.get(name, {})} for name, state in entries
        ]
    }
