"""What clients with a given version of Pydantic AI can read: the allow-list for dated events and messages.

Dify's clients keep Pydantic AI's models in types that forbid unknown keys, and the dataclasses in them inherit that. A
key, a kind or a value that is newer than the client therefore breaks it. ``pydantic_ai_schemas/`` has one JSON schema
per version, which that version generated from its own types.
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
    """Returns the clients with these versions, each of which has a schema."""
    return Clients([ClientModels(json.loads((SCHEMAS / f"{version}.json").read_text())) for version in versions])


class Clients:
    """Clients that read the same events: only what all of them can read is written for them."""

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
        """The keys of a ``part_delta`` by the kind of its delta. A delta contains no further kinds or enumerations."""

    def event(self, event: Json) -> Json | None:
        """Returns a stream event with the keys that all clients know; None when one of them cannot read it."""
        known: Json | None = event
        for models in self._models:
            known = models.event(known) if known is not None else None
        return known

    def messages(self, messages: list[Json]) -> list[Json]:
        """Returns messages with what all clients know of them."""
        for models in self._models:
            messages = models.messages(messages)
        return messages


def snapshot_for(clients: Clients, snapshot: Json) -> Json:
    """Returns a session snapshot whose messages can be continued by servers with these clients' Pydantic AI.

    To the clients themselves, the state of a layer is arbitrary JSON.
    """
    return {**snapshot, "layers": [_layer_for(clients, layer) for layer in snapshot["layers"]]}


def _layer_for(clients: Clients, layer: Json) -> Json:
    state = layer["runtime_state"]
    if layer["name"] != HISTORY_LAYER_NAME or not state.get("messages"):
        return layer
    return {**layer, "runtime_state": {**state, "messages": clients.messages(state["messages"])}}


class ClientModels:
    """The models of one version of Pydantic AI. Its methods do not change their arguments."""

    def __init__(self, schema: Json) -> None:
        definitions = schema["$defs"]
        compiler = ShapeCompiler(definitions)
        self._event = compiler.shape(schema["event"])
        self._message = compiler.shape(schema["message"])
        self._outcomes = frozenset(definitions["ToolReturnPart"]["properties"]["outcome"]["enum"])
        self.delta_keys = _keys_by_kind(definitions, "part_delta_kind")

    def event(self, event: Json) -> Json | None:
        """Returns a stream event as these models read it; None when they cannot read it."""
        if "part" in event:
            event = {**event, "part": self._older(event["part"])}
        elif "messages" in event:
            event = {**event, "messages": self.messages(event["messages"])}
        read = self._event(event)
        return None if read is UNREADABLE else read

    def messages(self, messages: list[Json]) -> list[Json]:
        """Returns messages as these models read them. A message of which no part is left is dropped."""
        read = [self._message({**one, "parts": [self._older(part) for part in one["parts"]]}) for one in messages]
        return [one for one in read if one is not UNREADABLE and one["parts"]]

    def _older(self, part: Json) -> Json:
        """Returns a part in the terms of these models."""
        if part.get("tool_kind") is not None:
            part = {**part, "tool_kind": None}  # each version has different types for its own tools
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
    """Returns the request to the model to try again. Before Pydantic AI 2 had outcomes, this was a separate part."""
    kept: Json = {key: part[key] for key in ("tool_name", "tool_call_id", "timestamp") if key in part}
    content = part["content"]
    is_text = isinstance(content, str) or part["part_kind"] == "retry-feedback"
    return {**kept, "content": content if is_text else json.dumps(content), "part_kind": "retry-prompt"}
