"""``pydantic_ai.history``: the conversation so far, kept in the session snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, SystemPromptPart, ToolCallPart

from runtime.composition.layer import Layer
from runtime.composition.layer_config import NoConfig
from runtime.protocol.snapshots import HISTORY_LAYER_NAME


class HistoryState(BaseModel):
    """The messages of all successful runs of the session. System prompts and instructions are not among them."""

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, ser_json_bytes="base64", val_json_bytes="base64"
    )

    messages: list[ModelMessage] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _no_local_downloads(cls, value: object) -> object:
        """A snapshot comes from the caller: it must not make this server fetch from its own network."""
        if _allows_local_download(value):
            raise ValueError("a file URL may not be downloaded from a local address")
        return value


class HistoryLayer(Layer[NoConfig, HistoryState]):
    """Stored messages, shown to the model between the system prompts and the user prompts of the run."""

    type_id = "pydantic_ai.history"
    required_name = HISTORY_LAYER_NAME
    state_type = HistoryState
    config_may_last = True

    def append(self, messages: Iterable[ModelMessage]) -> None:
        """Keep the messages that a successful run has produced."""
        self.state.messages.extend(
            kept for message in messages if (kept := _without_system_prompts(message)) is not None
        )

    def unanswered_calls(self) -> list[ToolCallPart]:
        """The tool calls of the model's last message that have no result: those of a run that they have ended."""
        answered: set[str] = set()
        for message in reversed(self.state.messages):
            if isinstance(message, ModelResponse):
                return [call for call in message.tool_calls if call.tool_call_id not in answered]
            answered |= _results_of(message)
        return []

    def is_answered(self, tool_call_id: str) -> bool:
        """Whether a tool call has its result in the stored messages."""
        requests = [message for message in self.state.messages if isinstance(message, ModelRequest)]
        return any(tool_call_id in _results_of(request) for request in requests)


def _results_of(request: ModelRequest) -> set[str]:
    """The ids of the calls whose results a message brings. Pydantic AI 1.x wrote a refused call as a retry prompt."""
    return {part.tool_call_id for part in request.parts if part.part_kind in ("tool-return", "retry-prompt")}


def _allows_local_download(value: object) -> bool:
    if isinstance(value, dict):
        return value.get("force_download") == "allow-local" or any(map(_allows_local_download, value.values()))
    return isinstance(value, list) and any(map(_allows_local_download, value))


def _without_system_prompts(message: ModelMessage) -> ModelMessage | None:
    if not isinstance(message, ModelRequest):
        return message
    parts = [part for part in message.parts if not isinstance(part, SystemPromptPart)]
    return replace(message, parts=parts, instructions=None) if parts else None
