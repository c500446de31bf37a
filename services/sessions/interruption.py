"""Keeps in the history what an interrupted turn leaves: the user's message, and what the model said until then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart

from runtime.composition.layer_config import NoConfig
from runtime.layers.history import HistoryLayer, HistoryState
from runtime.protocol.ask_human import NOT_ANSWERED
from runtime.protocol.snapshots import LayerSnapshot, LifecycleState, SessionSnapshot

HISTORY_NAME = HistoryLayer.required_name or ""


def with_messages(stored: dict[str, Any] | None, messages: Sequence[ModelMessage]) -> dict[str, Any]:
    """Returns a session snapshot with these messages added to its history, or with nothing else if none was stored."""
    snapshot = SessionSnapshot.model_validate(stored) if stored else SessionSnapshot(layers=[])
    known = next((entry for entry in snapshot.layers if entry.name == HISTORY_NAME), None)
    state = HistoryState.model_validate(known.runtime_state if known else {})
    state.messages.extend([*_missing_results(state, messages), *messages])
    history = LayerSnapshot(
        name=HISTORY_NAME, lifecycle_state=LifecycleState.SUSPENDED, runtime_state=state.model_dump(mode="json")
    )
    others = [entry for entry in snapshot.layers if entry.name != HISTORY_NAME]
    return SessionSnapshot(layers=[history, *others]).model_dump(mode="json")


def _missing_results(state: HistoryState, messages: Sequence[ModelMessage]) -> list[ModelMessage]:
    """Returns results for the question that the history leaves open, unless the messages begin with them."""
    told = {part.tool_call_id for part in messages[0].parts if isinstance(part, ToolReturnPart)}
    calls = HistoryLayer(HISTORY_NAME, NoConfig(), state).unanswered_calls()
    content = NOT_ANSWERED.model_dump(mode="json", exclude_none=True)
    returns = [
        ToolReturnPart(call.tool_name, content, call.tool_call_id) for call in calls if call.tool_call_id not in told
    ]
    return [ModelRequest(parts=returns)] if returns else []
