"""The layer: one named part of a composition, made afresh for every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from runtime.composition.layer_config import LayerConfigModel, NoConfig
from runtime.config import OperatorRules


class NoState(BaseModel):
    """The runtime state of a layer that keeps none."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


ConfigT = TypeVar("ConfigT", bound=LayerConfigModel)
StateT = TypeVar("StateT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Dependency:
    """Another layer that this one works with, under ``key`` in the ``deps`` of a request."""

    key: str
    type_id: str
    required: bool = True


class Layer(Generic[ConfigT, StateT]):
    """One layer of one run. Building it does nothing; its hooks may do work.

    ``state`` is what a session snapshot keeps. ``deps`` is filled before any hook is called; a dependency may stand
    later in the composition, so a hook must not count on its dependencies having been entered.
    """

    type_id: ClassVar[str]
    config_type: ClassVar[type[LayerConfigModel]] = NoConfig
    state_type: ClassVar[type[BaseModel]] = NoState
    dependencies: ClassVar[tuple[Dependency, ...]] = ()
    required_name: ClassVar[str | None] = None
    """The one name this layer may have, and so at most one of it; None is any name."""
    reserved_name: ClassVar[str | None] = None
    """A name that this layer need not have, and that only layers which reserve it may have."""
    at_most_one: ClassVar[bool] = False
    """Whether a composition may have only one layer of this type, under whatever name."""
    config_may_last: ClassVar[bool] = False
    """Whether the config may be stored in the clear and shown. Without it no session keeps the config, so that when one
    is deleted the layer is not entered once more, and its ``on_delete`` not called."""
    tells_identity: ClassVar[bool] = False
    """Whether the config's ``tenant_id`` says on whose behalf the layer acts: it must be the caller's own."""

    def __init__(self, name: str, config: ConfigT, state: StateT) -> None:
        self.name = name
        self.config = config
        self.state = state
        self.deps: dict[str, Layer[Any, Any]] = {}

    @classmethod
    def check_dependencies(cls, config: ConfigT, deps: Mapping[str, str]) -> None:
        """Raise ValueError when the bound dependency keys and the config do not fit together."""

    def check_rules(self, rules: OperatorRules) -> None:
        """Raise ValueError, with a text for the caller, when the operator's rules forbid what the config asks for."""

    async def on_create(self) -> None:
        """Called when the layer is entered for the first time."""

    async def on_resume(self) -> None:
        """Called when the layer is entered from a snapshot that has it suspended."""

    async def on_suspend(self) -> None:
        """Called when the run leaves the layer and its session goes on."""

    async def on_delete(self) -> None:
        """Called when the run leaves the layer for good."""

    def system_prefixes(self) -> list[str]:
        """System prompts that stand before all suffixes, in layer order."""
        return []

    def system_suffixes(self) -> list[str]:
        """System prompts that stand after all prefixes, in reverse layer order."""
        return []

    def user_prompts(self) -> list[str]:
        """User prompts, in layer order."""
        return []

    def tool_names(self) -> list[str]:
        """Names of the tools the layer brings, as far as they are known at once. No two layers share one."""
        return []

    def secrets(self) -> list[str]:
        """Values that must not appear in any text a caller or a log sees. What they are, the config says."""
        return list(self.config.secret_values())
