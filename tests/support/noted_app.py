"""The server with an extra layer type that notes which of its hooks are called, and a route that shows the notes."""

from __future__ import annotations

from typing import Any, cast

from flask import Response, jsonify
from pydantic import BaseModel

from app import create_app
from runtime.composition.layer import Layer
from runtime.composition.layer_config import NoConfig
from runtime.layers.registry import LAYER_TYPES

NOTED = "test.noted"

notes: list[list[Any]] = []


class NotedState(BaseModel):
    """What a layer remembers from earlier runs."""

    entered: int = 0


class NotedLayer(Layer[NoConfig, NotedState]):
    """Counts how often it was entered."""

    type_id = NOTED
    state_type = NotedState
    config_may_last = True

    async def on_create(self) -> None:
        self._enter("create")

    async def on_resume(self) -> None:
        self._enter("resume")

    async def on_delete(self) -> None:
        notes.append(["delete", self.state.entered])

    def _enter(self, hook: str) -> None:
        self.state.entered += 1
        notes.append([hook, self.state.entered])


cast("dict[str, Any]", LAYER_TYPES)[NOTED] = NotedLayer
app = create_app()


@app.get("/notes")
def show_notes() -> Response:
    """Returns the hooks called on this worker, each with the number of times that its layer had been entered."""
    return jsonify(notes)
