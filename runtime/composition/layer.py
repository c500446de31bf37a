"""The layer: one named part of a composition, built anew for every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from runtime.composition.layer_config import LayerConfigModel, NoConfig
from runtime.config import OperatorRules


class NoState(BaseModel):
    """The runtime state of a layer that has none."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


ConfigT = TypeVar("ConfigT", bound=LayerConfigModel)
StateT = TypeVar("StateT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Dependency:
    """Another layer that a layer uses, by its ``key`` in the ``deps`` of a request."""

    key: str
    type_id: str
    required: bool = True


class Layer(Generic[ConfigT, StateT]):
    """One layer of one run. Building it has no effects; its hooks may do work.

    ``state`` is what a session snapshot keeps. ``deps`` is filled before any hook is called. A dependency may come
    later in the composition, so a hook must not rely on its dependencies having been entered.
    """

    type_id: ClassVar[str]
    config_type: ClassVar[type[LayerConfigModel]] = NoConfig
    state_type: ClassVar[type[BaseModel]] = NoState
    dependencies: ClassVar[tuple[Dependency, ...]] = ()
    required_name: ClassVar[str | None] = None
    """The only name this layer may have, so that a composition has at most one of it; None allows any name."""
    reserved_name: ClassVar[str | None] = None
    """A name that only layers which reserve it may have. The layer itself may have another name."""
    at_most_one: ClassVar[bool] = False
    """Whether a composition may have only one layer of this type, whatever its name."""
    config_may_last: ClassVar[bool] = False
    """Whether the config may be stored unencrypted and shown.

    If not, no session keeps the config: when a session is deleted, the layer is not entered again and its ``on_delete``
    is not called.
    """
    tells_identity: ClassVar[bool] = False
    """Whether the config's ``tenant_id`` says on whose behalf the layer acts. It must then be the caller's own."""

    def __init__(self, name: str, config: ConfigT, state: StateT) -> None:
        self.name = name
        self.config = config
        self.state = state
        self.deps: dict[str, Layer[Any, Any]] = {}

    @classmethod
    def check_dependencies(cls, config: ConfigT, deps: Mapping[str, str]) -> None:
        """Raises ValueError when the bound dependency keys and the config do not fit together."""

    def check_rules(self, rules: OperatorRules) -> None:
        """Raises ValueError, with a text for the caller, when the operator's rules forbid something in the config."""

    async def on_create(self) -> None:
        """Called when the layer is entered for the first time."""

    async def on_resume(self) -> None:
        """Called when the layer is entered from a snapshot that has it suspended."""

    async def on_suspend(self) -> None:
        """Called when the run leaves the layer and its session continues."""

    async def on_delete(self) -> None:
        """Called when the run leaves the layer for good."""

    def system_prefixes(self) -> list[str]:
        """Returns system prompts that come before all suffixes, in layer order."""
        return []

    def system_suffixes(self) -> list[str]:
        """Returns system prompts that come after all prefixes, in reverse layer order."""
        return []

    def user_prompts(self) -> list[str]:
        """Returns user prompts, in layer order."""
        return []

    def tool_names(self) -> list[str]:
        """Returns the names of the layer's tools, as far as they are known in advance. No two layers may share one."""
        return []

    def secrets(self) -> list[str]:
        """Returns values that no text may show to callers or logs. The config decides which these are."""
        return list(self.config.secret_values())
