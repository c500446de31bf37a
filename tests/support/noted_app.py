"""The server with one layer type more, which notes what is done to it, and a route that tells the notes."""

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
    """What a layer of an earlier run has left."""

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
    """Each hook with how often the layer had been entered, of this worker."""
    return jsonify(notes)
