"""``pydantic_ai.history``: what is stored of a conversation, and that it survives its snapshot."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)

from errors import InvalidComposition
from runtime.composition.binding import bind_composition
from runtime.composition.composition import Composition
from runtime.layers.history import HistoryLayer, HistoryState
from runtime.layers.registry import LAYER_TYPES
from runtime.protocol.dialects import Dialect
from runtime.protocol.events import EventEncoder, RunEnd
from runtime.protocol.requests import CompositionSpec, OnExit
from runtime.protocol.snapshots import SessionSnapshot

BYTES = bytes(range(256))


def bind(snapshot: SessionSnapshot | None = None, **layer: Any) -> Composition:
    spec = CompositionSpec.model_validate({"layers": [{"name": "history", "type": "pydantic_ai.history", **layer}]})
    return bind_composition(spec, registry=LAYER_TYPES, on_exit=OnExit(), snapshot=snapshot)


def history_of(composition: Composition) -> HistoryLayer:
    (layer,) = composition.layers
    assert isinstance(layer, HistoryLayer)
    return layer


def sent_back(composition: Composition) -> SessionSnapshot:
    """The snapshot as a client hands it back: written into the terminal event, read, and posted again."""
    end = RunEnd.succeeded(output=None, snapshot=composition.snapshot().model_dump(mode="json"), usage=None)
    event = json.loads(EventEncoder("run-1", Dialect.CURRENT).ended(end).payload)
    return SessionSnapshot.model_validate(event["data"]["session_snapshot"])


def stored(*messages: ModelMessage) -> list[ModelMessage]:
    """What is kept of a run's messages, after they went through a snapshot and back."""
    first = bind()
    history_of(first).append(messages)
    return history_of(bind(sent_back(first))).state.messages


def test_a_new_history_is_empty() -> None:
    assert history_of(bind()).state.messages == []
    assert bind().snapshot().layers[0].runtime_state == {"messages": []}


def test_a_conversation_survives_its_snapshot() -> None:
    messages: list[ModelMessage] = [
        ModelRequest(parts=[UserPromptPart("Grüße \u2028 „Welt”")]),
        ModelResponse(parts=[ThinkingPart("hm", signature="s"), ToolCallPart("lookup", {"q": [1, None]}, "call-1")]),
        ModelRequest(parts=[ToolReturnPart("lookup", {"rows": [{"a": 1.5}]}, "call-1")]),
        ModelResponse(parts=[TextPart("done")], model_name="gpt"),
    ]

    assert stored(*messages) == messages


def test_binary_content_survives_its_snapshot() -> None:
    content: list[UserContent] = [
        "look",
        BinaryContent(BYTES, media_type="image/png"),
        ImageUrl("https://example.org/a.png"),
    ]

    (kept,) = stored(ModelRequest(parts=[UserPromptPart(content)]))

    assert isinstance(kept, ModelRequest)
    (part,) = kept.parts
    assert isinstance(part, UserPromptPart)
    text, binary, url = list(part.content)
    assert isinstance(binary, BinaryContent)
    assert (text, binary.data, binary.media_type) == ("look", BYTES, "image/png")
    assert isinstance(url, ImageUrl)


def test_messages_are_appended_in_order_over_several_runs() -> None:
    first = bind()
    history_of(first).append([ModelRequest(parts=[UserPromptPart("one")])])
    second = bind(sent_back(first))
    history_of(second).append([ModelResponse(parts=[TextPart("two")]), ModelRequest(parts=[UserPromptPart("three")])])

    kept = history_of(bind(sent_back(second))).state.messages

    assert [getattr(message.parts[0], "content", None) for message in kept] == ["one", "two", "three"]


def test_system_prompts_are_never_stored() -> None:
    kept = stored(
        ModelRequest(parts=[SystemPromptPart("You are concise.")]),
        ModelRequest(parts=[SystemPromptPart("Be kind."), UserPromptPart("Hello"), SystemPromptPart("Be brief.")]),
        ModelResponse(parts=[TextPart("Hi")]),
    )

    assert [[part.part_kind for part in message.parts] for message in kept] == [["user-prompt"], ["text"]]


def test_instructions_are_never_stored() -> None:
    (kept,) = stored(ModelRequest(parts=[UserPromptPart("Hello")], instructions="You are concise."))

    assert isinstance(kept, ModelRequest)
    assert kept.instructions is None


def test_storing_does_not_change_the_messages_of_the_run() -> None:
    message = ModelRequest(parts=[SystemPromptPart("Be kind."), UserPromptPart("Hello")])

    stored(message)

    assert [part.part_kind for part in message.parts] == ["system-prompt", "user-prompt"]


@pytest.mark.parametrize("config", [None, {}, "{}", "null"])
def test_a_history_has_no_config(config: object) -> None:
    assert history_of(bind(config=config)).state.messages == []


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"config": {"limit": 5}}, "config is invalid"),
        ({"name": "memory"}, "must be named 'history'"),
        ({"deps": {"llm": "history"}}, "has no dependency 'llm'"),
    ],
    ids=["config", "name", "deps"],
)
def test_another_history_is_refused(layer: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidComposition, match=message):
        bind(**layer)


@pytest.mark.parametrize(
    "state",
    [
        {"messages": None},
        {"messages": {}},
        {"messages": [{}]},
        {"messages": [{"kind": "request", "parts": [{"part_kind": "unknown"}]}]},
        {"messages": [{"kind": "strange", "parts": []}]},
        {"messages": [], "other": 1},
        {"messages": [0] * 100_000},
    ],
)
def test_a_bad_state_is_refused_in_a_few_words(state: dict[str, Any]) -> None:
    snapshot = SessionSnapshot.model_validate(
        {"layers": [{"name": "history", "lifecycle_state": "suspended", "runtime_state": state}]}
    )

    with pytest.raises(InvalidComposition, match="runtime_state is invalid") as caught:
        bind(snapshot)

    assert len(caught.value.message) < 2000


def test_every_way_a_message_can_come_back_stays_small_enough_to_be_written_again() -> None:
    nested: object = "bottom"
    for _ in range(180):
        nested = [nested]

    (kept,) = stored(ModelResponse(parts=[ToolCallPart("lookup", {"deep": nested}, "call-1")]))

    assert kept.parts[0].args == {"deep": nested}  # type: ignore[union-attr]


@pytest.mark.parametrize("place", ["prompt", "tool result"])
def test_a_file_of_a_local_address_is_refused(place: str) -> None:
    image = {"kind": "image-url", "url": "http://127.0.0.1/secret.png", "force_download": "allow-local"}
    part = (
        {"part_kind": "user-prompt", "content": ["look", image]}
        if place == "prompt"
        else {"part_kind": "tool-return", "tool_name": "t", "tool_call_id": "1", "content": [image]}
    )

    with pytest.raises(ValidationError, match="local address"):
        HistoryState.model_validate({"messages": [{"kind": "request", "parts": [part]}]})
