"""What a turn did on the way to its answer: one row for each stretch of thinking and each tool call."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter

from runtime.layers.dify_output import LATER_TOOL_NAME
from services.sessions.answers import PARAGRAPH, json_text, storable

ASK_HUMAN = "ask_human"
"""The tool whose result arrives in a turn of its own, and is not an observation."""

_PLACEHOLDER_IDS = frozenset({"", "none", "null"})


@dataclass(slots=True)
class Thought:
    """A row. ``thought`` is the thinking; the other texts are those of a tool call. ``position`` is counted from 1."""

    id: str
    position: int
    thought: str = ""
    tool: str = ""
    tool_input: str = ""
    observation: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def thoughts_of(turn_id: str, messages: Iterable[ModelMessage]) -> list[Thought]:
    """Returns the rows of a turn, from the messages that it added to the conversation."""
    log = ThoughtLog(turn_id)
    for message in ModelMessagesTypeAdapter.dump_python(list(messages), mode="json"):
        if message["kind"] == "response":
            log.begin_response()
            for index, part in enumerate(message["parts"]):
                log.add_part(index, part, is_whole=True)
        else:
            for part in message["parts"]:
                if part["part_kind"] == "tool-return":
                    log.add_result(part)
    return log.thoughts


def thoughts_so_far(turn_id: str, events: Iterable[Mapping[str, Any]]) -> list[Thought]:
    """Returns the rows that a chat client has seen of a turn that did not succeed, from its run's agent events."""
    log = ThoughtLog(turn_id)
    for data in events:
        log.add_event(data)
    return log.thoughts


@dataclass(slots=True)
class _Call:
    row: Thought
    name: str
    call_id: str | None
    arguments: str | dict[str, Any] | None


class ThoughtLog:
    """Builds the rows of one turn, from its events or from its messages.

    Both are given as JSON values and lead to the same ids. Methods that add something return the row that has changed,
    or None.
    """

    def __init__(self, turn_id: str) -> None:
        self.thoughts: list[Thought] = []
        self._turn_id = uuid.UUID(turn_id)
        self._open_calls: list[_Call] = []
        self._calls: dict[int, _Call] = {}
        self._thinking: Thought | None = None
        """The row to which more thinking is added, until something else begins."""
        self._begins_paragraph = False
        """Whether a part of thinking has begun that has no text yet."""

    def add_event(self, data: Mapping[str, Any]) -> Thought | None:
        """Adds the data of an agent event."""
        match data["event_kind"]:
            case "part_start":
                if data["previous_part_kind"] is None:
                    self.begin_response()
                return self.add_part(data["index"], data["part"])
            case "part_delta":
                return self._add_delta(data["index"], data["delta"])
            case "part_end":
                return self._end_part(data["index"], data["part"])
            case "function_tool_result":
                return self.add_result(data["part"])
        return None

    def begin_response(self) -> None:
        """Begins another response, to which the parts that follow belong."""
        self._calls = {}
        self._thinking = None

    def add_part(self, index: int, part: Mapping[str, Any], *, is_whole: bool = False) -> Thought | None:
        """Adds a part of a response, which may be incomplete."""
        if part["part_kind"] == "thinking":
            return self._think(part["content"], begins_part=True)
        self._thinking = None
        if part["part_kind"] != "tool-call" or part["tool_name"] == LATER_TOOL_NAME:
            return None
        row = self._new_row()
        row.tool = storable(part["tool_name"])
        call = _Call(row, part["tool_name"], _real_id(part["tool_call_id"]), part["args"])
        row.tool_input = _input_text(call.arguments, is_whole=is_whole)
        self._calls[index] = call
        self._open_calls.append(call)
        return row

    def add_result(self, part: Mapping[str, Any]) -> Thought | None:
        """Adds the result of a tool."""
        call = self._answered_call(part["tool_name"], _real_id(part["tool_call_id"]))
        if call is None:
            return None
        self._open_calls.remove(call)
        if call.name == ASK_HUMAN:
            return None
        call.row.observation = _observation(part["content"])
        return call.row

    def _add_delta(self, index: int, delta: Mapping[str, Any]) -> Thought | None:
        if delta["part_delta_kind"] == "thinking":
            return self._think(delta["content_delta"], begins_part=False)
        call = self._calls.get(index)
        if delta["part_delta_kind"] != "tool_call" or call is None:
            return None
        call.name += delta["tool_name_delta"] or ""
        call.call_id = _real_id(delta["tool_call_id"]) or call.call_id
        call.arguments = _grown(call.arguments, delta["args_delta"])
        return self._show(call, is_whole=False)

    def _end_part(self, index: int, part: Mapping[str, Any]) -> Thought | None:
        call = self._calls.get(index)
        if call is None:
            return None
        call.arguments = part["args"]
        return self._show(call, is_whole=True)

    def _show(self, call: _Call, *, is_whole: bool) -> Thought | None:
        """Updates the row of a call."""
        shown = storable(call.name), _input_text(call.arguments, is_whole=is_whole)
        if shown == (call.row.tool, call.row.tool_input):
            return None
        call.row.tool, call.row.tool_input = shown
        return call.row

    def _think(self, text: str | None, *, begins_part: bool) -> Thought | None:
        self._begins_paragraph = self._begins_paragraph or begins_part
        text = storable(text or "")
        if not text:
            return None
        if self._thinking is None:
            self._thinking = self._new_row()
        elif self._begins_paragraph:
            text = PARAGRAPH + text
        self._begins_paragraph = False
        self._thinking.thought += text
        return self._thinking

    def _new_row(self) -> Thought:
        position = len(self.thoughts) + 1
        row = Thought(str(uuid.uuid5(self._turn_id, str(position))), position)
        self.thoughts.append(row)
        return row

    def _answered_call(self, name: str, call_id: str | None) -> _Call | None:
        """Returns the oldest open call with that id, else the only open one with that name, if either id is unknown."""
        if call_id is not None:
            for call in self._open_calls:
                if call.call_id == call_id:
                    return call
        named = [call for call in self._open_calls if call.name == name]
        if len(named) == 1 and (call_id is None or named[0].call_id is None):
            return named[0]
        return None


def _real_id(call_id: str | None) -> str | None:
    return None if call_id is None or call_id.strip().lower() in _PLACEHOLDER_IDS else call_id


def _grown(arguments: str | dict[str, Any] | None, delta: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    if not delta:
        return arguments
    if isinstance(delta, dict):
        return {**(arguments if isinstance(arguments, dict) else {}), **delta}
    return (arguments if isinstance(arguments, str) else "") + delta


def _input_text(arguments: str | dict[str, Any] | None, *, is_whole: bool) -> str:
    """Returns the arguments as JSON, as far as they have come. A call may have none at all."""
    if isinstance(arguments, dict):
        return storable(json_text(arguments))
    return storable(arguments or "") or ("{}" if is_whole else "")


def _observation(content: Any) -> str:
    return storable(content if isinstance(content, str) else "" if content is None else json_text(_shown(content)))


def _shown(content: Any) -> Any:
    """Returns the content without the bytes of files."""
    if isinstance(content, list):
        return [_shown(item) for item in content]
    if isinstance(content, dict):
        is_file = content.get("kind") == "binary"
        return {key: _shown(value) for key, value in content.items() if not (is_file and key == "data")}
    return content
