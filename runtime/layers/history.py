"""``pydantic_ai.history``: the conversation so far, kept in the session snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field
from pydantic_ai.messages import ModelMessage, ModelRequest, SystemPromptPart

from runtime.composition.layer import Layer, NoConfig


class HistoryState(BaseModel):
    """The messages of all successful runs of the session. System prompts and instructions are not among them."""

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, ser_json_bytes="base64", val_json_bytes="base64"
    )

    messages: list[ModelMessage] = Field(default_factory=list)


class HistoryLayer(Layer[NoConfig, HistoryState]):
    """Stored messages, shown to the model between the system prompts and the user prompts of the run."""

    type_id = "pydantic_ai.history"
    required_name = "history"
    state_type = HistoryState

    def append(self, messages: Iterable[ModelMessage]) -> None:
        """Keep the messages that a successful run has produced."""
        self.state.messages.extend(
            kept for message in messages if (kept := _without_system_prompts(message)) is not None
        )


def _without_system_prompts(message: ModelMessage) -> ModelMessage | None:
    if not isinstance(message, ModelRequest):
        return message
    parts = [part for part in message.parts if not isinstance(part, SystemPromptPart)]
    return replace(message, parts=parts, instructions=None) if parts else None
