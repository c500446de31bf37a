"""Rebuilds what was said in a run from its events, which are all that remains of an interrupted run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai.messages import (
    INTERRUPTED_TOOL_RETURN_CONTENT,
    SYNTHESIZED_TOOL_RETURN_METADATA_KEY,
    AgentStreamEvent,
    EnqueuedMessagesEvent,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    NativeToolCallPart,
    NativeToolReturnPart,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    ThinkingPart,
    ToolCallPart,
    ToolResultEvent,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_core import from_json, to_json

from runtime.protocol.events import AGENT_EVENT
from services.sessions.answers import storable

_KINDS_THAT_SAY_SOMETHING = frozenset(
    {"part_start", "part_delta", "part_end", "function_tool_result", "output_tool_result", "enqueued_messages"}
)


def rebuild_messages(query: str | None, events: Iterable[Mapping[str, Any]]) -> list[ModelMessage]:
    """Returns the messages of a turn, as far as they were said, in a form that any model accepts.

    ``events`` are the data of the run's agent events, in order. ``query`` is None for a run that only continued with
    the answer to an earlier call. Even where the run was interrupted, every call has a result, as in what Pydantic AI
    keeps of a cancelled run; incomplete calls, and incomplete thinking that is bound to a provider, are left out. If
    the model said nothing, there is only the user's message: Pydantic AI joins it with the next one.
    """
    transcript = _Transcript()
    for data in events:
        if data["event_kind"] in _KINDS_THAT_SAY_SOMETHING:
            transcript.add(AGENT_EVENT.validate_json(to_json(data)))
    return transcript.messages(query)


def answer_so_far(events: Iterable[Mapping[str, Any]]) -> str:
    """Returns the text that a chat client was streamed."""
    return "".join(text_said(data) for data in events)


def text_said(data: Mapping[str, Any]) -> str:
    """Returns the text that one event adds to what the model has said to the user."""
    kind = data["event_kind"]
    if kind == "part_delta":
        delta = data["delta"]
        return storable(delta["content_delta"]) if delta["part_delta_kind"] == "text" else ""
    if kind == "part_start":
        part = data["part"]
        return storable(part["content"]) if part["part_kind"] == "text" else ""
    return ""


@dataclass(slots=True)
class _Said:
    """One part of a response.

    Several calls may grow at once, so only the end of the last one shows that all are whole.
    """

    part: ModelResponsePart
    ended: bool = False

    def is_whole(self) -> bool:
        """Whether the part can be sent to a model. Text may be cut off anywhere."""
        match self.part:
            case ToolCallPart(args=arguments) | NativeToolCallPart(args=arguments):
                return _is_json_object(arguments) if arguments else self.ended
            case ThinkingPart(signature=signature):
                return self.ended or bool(signature) or not _is_bound_thinking(self.part)
        return True


@dataclass(slots=True)
class _Step:
    """One response of the model, and what it was sent afterwards."""

    said: dict[int, _Said] = field(default_factory=dict)
    is_whole: bool = False
    told: list[ModelRequestPart] = field(default_factory=list)

    def messages(self) -> list[ModelMessage]:
        parts = self._kept()
        response = ModelResponse(parts=parts, state="complete" if self.is_whole else "interrupted")
        missing = _missing_results(response, self.told)
        results = [part for part in self.told if isinstance(part, ToolReturnPart)]
        others = [part for part in self.told if not isinstance(part, ToolReturnPart)]
        request = ModelRequest(parts=[*results, *missing, *others], state="interrupted" if missing else "complete")
        return [message for message in (response, request) if message.parts]

    def _kept(self) -> list[ModelResponsePart]:
        said = [self.said[index] for index in sorted(self.said)]
        if self.is_whole:
            return [one.part for one in said]
        returned = {one.part.tool_call_id for one in said if isinstance(one.part, NativeToolReturnPart)}
        kept = [
            one
            for one in said
            if one.is_whole()
            and not (isinstance(one.part, NativeToolCallPart) and one.part.tool_call_id not in returned)
        ]
        while kept and _is_bound_thinking(kept[-1].part):  # providers accept it only with what followed it
            kept.pop()
        return [one.part for one in kept]


class _Transcript:
    """Collects the events of a run, one by one."""

    def __init__(self) -> None:
        self._first: list[ModelRequestPart] = []
        self._steps: list[_Step] = []

    def add(self, event: AgentStreamEvent) -> None:
        match event:
            case PartStartEvent():
                if event.previous_part_kind is None or not self._steps:
                    self._end_last_step()
                    self._steps.append(_Step())
                self._steps[-1].said[event.index] = _Said(event.part)
            case PartDeltaEvent():
                said = self._steps[-1].said[event.index]
                said.part = event.delta.apply(said.part)
            case PartEndEvent():
                self._steps[-1].said[event.index] = _Said(event.part, ended=True)
                self._steps[-1].is_whole = event.next_part_kind is None
            case ToolResultEvent():
                self._tell(event.part)
                if isinstance(content := getattr(event, "content", None), str | list) and content:
                    self._tell(UserPromptPart(content))
            case EnqueuedMessagesEvent():
                for message in event.messages:
                    if isinstance(message, ModelRequest):
                        self._tell(*message.parts)

    def messages(self, query: str | None) -> list[ModelMessage]:
        first = [*self._first, *([] if query is None else [UserPromptPart(query)])]
        opening: list[ModelMessage] = [ModelRequest(parts=first)] if first else []
        return opening + [message for step in self._steps for message in step.messages()]

    def _tell(self, *parts: ModelRequestPart) -> None:
        """Adds what the model was sent. Before the first response these are results of an earlier run's calls."""
        self._end_last_step()
        (self._steps[-1].told if self._steps else self._first).extend(parts)

    def _end_last_step(self) -> None:
        if self._steps:
            self._steps[-1].is_whole = True


def _is_json_object(arguments: str | Mapping[str, Any]) -> bool:
    if not isinstance(arguments, str):
        return True
    try:
        return isinstance(from_json(arguments), dict)
    except ValueError:
        return False


def _is_bound_thinking(part: ModelResponsePart) -> bool:
    """Whether this is thinking that its provider recognizes, and refuses when a part of it is missing."""
    return isinstance(part, ThinkingPart) and bool(part.provider_name or part.id or part.signature)


def _missing_results(response: ModelResponse, told: list[ModelRequestPart]) -> list[ToolReturnPart]:
    """Returns results for the calls that never got one, in the words that Pydantic AI uses for this."""
    results = Counter(part.tool_call_id for part in told if isinstance(part, ToolReturnPart))
    missing: list[ToolReturnPart] = []
    for call in response.tool_calls:
        if results[call.tool_call_id]:
            results[call.tool_call_id] -= 1
            continue
        missing.append(
            ToolReturnPart(
                tool_name=call.tool_name,
                content=INTERRUPTED_TOOL_RETURN_CONTENT,
                tool_call_id=call.tool_call_id,
                tool_kind=call.tool_kind,
                metadata={SYNTHESIZED_TOOL_RETURN_METADATA_KEY: True},
                timestamp=response.timestamp,
                outcome="interrupted",
            )
        )
    return missing
