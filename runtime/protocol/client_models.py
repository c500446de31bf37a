"""What Pydantic AI's models of one version read: the allow-list by which dated events and messages are written.

Dify's clients hold these models in types that forbid unknown keys, and the dataclasses in them inherit that. So a key,
a kind or a value that is newer than the client breaks it. ``pydantic_ai_schemas/`` has one JSON schema a version, which
that version has written of its own types.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from runtime.protocol.json_shapes import UNREADABLE, ShapeCompiler
from runtime.protocol.snapshots import HISTORY_LAYER_NAME

SCHEMAS = Path(__file__).with_name("pydantic_ai_schemas")

Json = dict[str, Any]


@cache
def clients_with(versions: tuple[str, ...]) -> Clients:
    """Clients with these versions, which have a schema each."""
    return Clients([ClientModels(json.loads((SCHEMAS / f"{version}.json").read_text())) for version in versions])


class Clients:
    """Clients that read the same events: what is written for them is what all of them read."""

    def __init__(self, models: list[ClientModels]) -> None:
        self._models = models
        kinds = frozenset.intersection(*(frozenset(one.delta_keys) for one in models))
        self.known_of_delta: dict[str, dict[str, Any]] = {
            kind: {
                "event_kind": True,
                "index": True,
                "delta": frozenset.intersection(*(one.delta_keys[kind] for one in models)),
            }
            for kind in kinds
        }
        """The keys of a ``part_delta`` by the kind of its delta. There is no kind or choice of values inside."""

    def event(self, event: Json) -> Json | None:
        """A stream event with what they know of it; None when one of them does not read it."""
        known: Json | None = event
        for models in self._models:
            known = models.event(known) if known is not None else None
        return known

    def messages(self, messages: list[Json]) -> list[Json]:
        """Messages with what they know of them."""
        for models in self._models:
            messages = models.messages(messages)
        return messages


def snapshot_for(clients: Clients, snapshot: Json) -> Json:
    """A session snapshot whose messages servers with the Pydantic AI of these clients can go on with.

    To the clients themselves the state of a layer is any JSON.
    """
    return {**snapshot, "layers": [_layer_for(clients, layer) for layer in snapshot["layers"]]}


def _layer_for(clients: Clients, layer: Json) -> Json:
    state = layer["runtime_state"]
    if layer["name"] != HISTORY_LAYER_NAME or not state.get("messages"):
        return layer
    return {**layer, "runtime_state": {**state, "messages": clients.messages(state["messages"])}}


class ClientModels:
    """The models of one version of Pydantic AI. What they are given is not changed."""

    def __init__(self, schema: Json) -> None:
        definitions = schema["$defs"]
        compiler = ShapeCompiler(definitions)
        self._event = compiler.shape(schema["event"])
        self._message = compiler.shape(schema["message"])
        self._outcomes = frozenset(definitions["ToolReturnPart"]["properties"]["outcome"]["enum"])
        self.delta_keys = _keys_by_kind(definitions, "part_delta_kind")

    def event(self, event: Json) -> Json | None:
        """A stream event as these models read it, or None when they do not."""
        if "part" in event:
            event = {**event, "part": self._older(event["part"])}
        elif "messages" in event:
            event = {**event, "messages": self.messages(event["messages"])}
        read = self._event(event)
        return None if read is UNREADABLE else read

    def messages(self, messages: list[Json]) -> list[Json]:
        """Messages as these models read them. A message of which nothing is left is left out."""
        read = [self._message({**one, "parts": [self._older(part) for part in one["parts"]]}) for one in messages]
        return [one for one in read if one is not UNREADABLE and one["parts"]]

    def _older(self, part: Json) -> Json:
        """A part in the terms that these models have for it."""
        if part.get("tool_kind") is not None:
            part = {**part, "tool_kind": None}  # each version has other types for the tools of its own
        if part["part_kind"] == "retry-feedback":
            return _retry_prompt(part)
        outcome = part.get("outcome")
        if outcome is None or outcome in self._outcomes:
            return part
        return _retry_prompt(part) if outcome == "retried" else {**part, "outcome": "failed"}


def _keys_by_kind(definitions: Json, tag: str) -> dict[str, frozenset[str]]:
    records = [
        definition["properties"] for definition in definitions.values() if tag in definition.get("properties", {})
    ]
    return {properties[tag]["const"]: frozenset(properties) for properties in records}


def _retry_prompt(part: Json) -> Json:
    """What the model is told to do better. Before Pydantic AI 2 had outcomes for it, this was a part of its own."""
    kept: Json = {key: part[key] for key in ("tool_name", "tool_call_id", "timestamp") if key in part}
    content = part["content"]
    is_text = isinstance(content, str) or part["part_kind"] == "retry-feedback"
    return {**kept, "content": content if is_text else json.dumps(content), "part_kind": "retry-prompt"}
