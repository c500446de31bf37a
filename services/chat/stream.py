"""Renders a turn for a chat client: a pure function of the events of its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from runtime.llm.usage import ModelUsage
from runtime.protocol.events import EventType
from runtime.runs import StreamEntry
from services.chat import frames
from services.chat.failures import STREAM_BROKE_OFF, ChatFailure, chat_failure
from services.chat.frames import ChatTurn, FormTicket
from services.chat.usage import usage_of
from services.sessions.answers import answer_text, question_text
from services.sessions.thoughts import Thought, ThoughtLog
from services.sessions.transcript import text_said

ANSWER_CHANGED = "answer_changed"
"""The reason for a replacement: the answer differs from what was streamed, which may have come before a tool call or
was no valid output."""

_AGENT_EVENT = EventType.PYDANTIC_AI_EVENT.encode()


@dataclass(frozen=True, slots=True)
class ChatResult:
    """The result of a turn. If it failed there is an ``error``, and the answer is what had been streamed."""

    answer: str
    usage: ModelUsage
    thoughts: Sequence[Thought]
    form: FormTicket | None
    error: ChatFailure | None


class ChatStream:
    """Turns the entries of a run's stream into frames, batch by batch.

    The streamed pieces, joined, are the stored answer, unless there was a replacement, which then is the answer.
    ``find_form`` is called once, at the end of a turn that ended with a question.
    """

    def __init__(self, turn: ChatTurn, find_form: Callable[[], FormTicket | None]) -> None:
        self._turn = turn
        self._find_form = find_form
        self._log = ThoughtLog(turn.message_id)
        self._streamed: list[str] = []
        self._final: str | None = None
        self._usage = ModelUsage()
        self._form: FormTicket | None = None
        self._error: ChatFailure | None = None
        self.is_finished = False

    @property
    def answer(self) -> str:
        """The answer as it is stored: what has been streamed so far, until the run succeeds with the whole of it."""
        return "".join(self._streamed) if self._final is None else self._final

    @property
    def result(self) -> ChatResult:
        """The result of the turn, once it is finished."""
        return ChatResult(self.answer, self._usage, self._log.thoughts, self._form, self._error)

    def feed(self, entries: Sequence[StreamEntry]) -> bytes:
        """Returns the frames of one batch. What comes after the end is ignored."""
        batch = _Batch(self._turn)
        for entry in entries:
            if self.is_finished:
                break
            if entry.raw_type == _AGENT_EVENT:
                self._add(batch, from_json(entry.payload)["data"])
            elif entry.is_terminal:
                self._end(batch, entry.event_type, from_json(entry.payload)["data"])
        return batch.render()

    def break_off(self) -> bytes:
        """Returns the frame for entries that ended before the run did; nothing when the turn is finished."""
        if self.is_finished:
            return b""
        batch = _Batch(self._turn)
        self._fail(batch, STREAM_BROKE_OFF)
        return batch.render()

    def _add(self, batch: _Batch, data: Mapping[str, Any]) -> None:
        if text := text_said(data):
            self._streamed.append(text)
            batch.say(text)
        if (thought := self._log.add_event(data)) is not None:
            batch.show(thought)

    def _end(self, batch: _Batch, event_type: str, data: Mapping[str, Any]) -> None:
        match event_type:
            case EventType.RUN_FAILED:
                self._fail(batch, chat_failure(data, self._turn.run_id))
            case EventType.RUN_SUCCEEDED:
                self._succeed(batch, data)
            case EventType.RUN_CANCELLED:
                self._finish(batch, frames.message_end(self._turn, self._usage))

    def _succeed(self, batch: _Batch, data: Mapping[str, Any]) -> None:
        call = data.get("deferred_tool_call")
        if call is not None:
            self._form = self._find_form()
        self._usage = usage_of(data.get("usage"))
        streamed = self.answer
        self._final = answer_text(data["output"]) if call is None else question_text(call)
        if self._final.startswith(streamed):
            batch.say(self._final[len(streamed) :])
        else:
            batch.add(frames.message_replace(self._turn, self._final, ANSWER_CHANGED))
        self._finish(batch, frames.message_end(self._turn, self._usage, self._form))

    def _fail(self, batch: _Batch, failure: ChatFailure) -> None:
        self._error = failure
        self._finish(batch, frames.error(self._turn, failure))

    def _finish(self, batch: _Batch, frame: bytes) -> None:
        batch.add(frame)
        self.is_finished = True


class _Batch:
    """The frames of one batch: adjacent pieces of text are joined, and each row occurs once, in its latest state."""

    def __init__(self, turn: ChatTurn) -> None:
        self._turn = turn
        self._items: list[list[str] | Thought | bytes] = []
        self._shown: set[int] = set()

    def say(self, text: str) -> None:
        if not text:
            return
        last = self._items[-1] if self._items else None
        if isinstance(last, list):
            last.append(text)
        else:
            self._items.append([text])

    def show(self, thought: Thought) -> None:
        if thought.position not in self._shown:
            self._shown.add(thought.position)
            self._items.append(thought)

    def add(self, frame: bytes) -> None:
        self._items.append(frame)

    def render(self) -> bytes:
        return b"".join(map(self._rendered, self._items))

    def _rendered(self, item: list[str] | Thought | bytes) -> bytes:
        if isinstance(item, bytes):
            return item
        if isinstance(item, Thought):
            return frames.agent_thought(self._turn, item)
        return frames.message(self._turn, "".join(item))
