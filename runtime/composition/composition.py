"""A bound composition: enters its layers in order, leaves them in reverse order, and takes their snapshot."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from runtime.composition.layer import Layer
from runtime.protocol.requests import ExitIntent
from runtime.protocol.snapshots import LayerSnapshot, LifecycleState, SessionSnapshot

logger = logging.getLogger(__name__)

AnyLayer = Layer[Any, Any]


@dataclass(slots=True)
class LayerSlot:
    """A layer with its lifecycle state."""

    layer: AnyLayer
    lifecycle: LifecycleState
    exit_intent: ExitIntent

    async def enter(self) -> None:
        match self.lifecycle:
            case LifecycleState.NEW:
                await self.layer.on_create()
            case LifecycleState.SUSPENDED:
                await self.layer.on_resume()
            case state:
                raise RuntimeError(f"layer '{self.layer.name}' is {state} and cannot be entered")
        self.lifecycle = LifecycleState.ACTIVE

    async def leave(self) -> None:
        if self.exit_intent is ExitIntent.DELETE:
            await self.layer.on_delete()
            self.lifecycle = LifecycleState.CLOSED
        else:
            await self.layer.on_suspend()
            self.lifecycle = LifecycleState.SUSPENDED


class Composition:
    """The layers of one run, bound and ready to be entered once."""

    def __init__(self, slots: Sequence[LayerSlot]) -> None:
        self._slots = tuple(slots)
        self._enterable = [slot for slot in slots if slot.lifecycle is not LifecycleState.CLOSED]
        self._entered: list[LayerSlot] = []

    @property
    def layers(self) -> list[AnyLayer]:
        return [slot.layer for slot in self._slots]

    def system_prompts(self) -> list[str]:
        """Returns the prefixes in layer order, then the suffixes in reverse layer order."""
        prefixes = [text for layer in self.layers for text in layer.system_prefixes()]
        suffixes = [text for layer in reversed(self.layers) for text in layer.system_suffixes()]
        return prefixes + suffixes

    def user_prompts(self) -> list[str]:
        return [text for layer in self.layers for text in layer.user_prompts()]

    def tool_names(self) -> list[str]:
        return [name for layer in self.layers for name in layer.tool_names()]

    def secrets(self) -> list[str]:
        return [value for layer in self.layers for value in layer.secrets()]

    @asynccontextmanager
    async def entered(self) -> AsyncGenerator[None]:
        """Enters every layer in order, except those bound as closed, and leaves them in reverse order at the end.

        When a layer fails to enter, those before it are left again. All exit hooks run, whatever fails. The first error
        is raised, and an error inside the context takes precedence over those of exit hooks.
        """
        try:
            for slot in self._enterable:
                await slot.enter()
                self._entered.append(slot)
            yield
        except BaseException:
            await self._leave()
            raise
        first_error = await self._leave()
        if first_error is not None:
            raise first_error

    async def _leave(self) -> BaseException | None:
        first_error: BaseException | None = None
        while self._entered:
            slot = self._entered.pop()
            try:
                await slot.leave()
            except BaseException as error:
                logger.warning("layer '%s': its exit hook failed: %s", slot.layer.name, type(error).__name__)
                first_error = first_error or error
        return first_error

    def snapshot(self) -> SessionSnapshot:
        """Returns the present state of every layer."""
        return SessionSnapshot(
            layers=[
                LayerSnapshot(
                    name=slot.layer.name,
                    lifecycle_state=slot.lifecycle,
                    runtime_state=slot.layer.state.model_dump(mode="json"),
                )
                for slot in self._slots
            ]
        )
