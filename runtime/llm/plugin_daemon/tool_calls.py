"""Joins the fragments of tool calls."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic_core import from_json

from runtime.llm.plugin_daemon.wire import ToolCallFragment, WireError


class ToolCallEdit(NamedTuple):
    """A change to the calls of the answer.

    ``key`` tells the calls apart. With a ``name`` the call begins, or begins anew when ``replaces`` is set, with
    exactly these arguments; without one they are appended.
    """

    key: int
    arguments: str
    name: str = ""
    id: str = ""
    replaces: bool = False


@dataclass(slots=True)
class _Call:
    key: int
    id: str
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    last_chunk: int = 0

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


class ToolCallAssembler:
    """The tool calls of one answer.

    - A fragment with an id belongs to the call of that id; the index of the chunk says nothing.
    - One without id and name continues the call that was last spoken of; one with a name begins a call.
    - Whole arguments after whole arguments are a repetition: the later ones count.
    - An id that a plugin gives to two calls (another name, or twice whole in one chunk) does not make them one.

    Nothing is told of a call before its name is known.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_id: dict[str, _Call] = {}
        self._open: _Call | None = None
        self._chunk = 0

    def feed(self, fragments: Iterable[ToolCallFragment]) -> Iterator[ToolCallEdit]:
        """The changes that the fragments of one chunk make.

        Raises WireError for arguments that belong to no call.
        """
        self._chunk += 1
        for fragment in fragments:
            if not any(fragment):
                continue
            call = self._call_of(fragment)
            self._open = call
            edit = self._apply(call, fragment)
            call.last_chunk = self._chunk
            if edit is not None:
                yield edit

    def end(self) -> None:
        """Raises WireError when a call never got its name."""
        if any(not call.name for call in self._calls):
            raise WireError("the plugin daemon's answer has a tool call without a name")

    def _call_of(self, fragment: ToolCallFragment) -> _Call:
        if fragment.id:
            known = self._by_id.get(fragment.id)
            if known is None:
                return self._begin(fragment.id, fragment.id)
            return self._begin(fragment.id, "") if self._is_another(known, fragment) else known
        if fragment.name:
            return self._begin("", "")
        if self._open is None:
            raise WireError("the plugin daemon's answer has a fragment of no tool call")
        return self._open

    def _begin(self, sent_id: str, call_id: str) -> _Call:
        call = _Call(key=len(self._calls), id=call_id or f"call_{uuid.uuid4().hex}")
        self._calls.append(call)
        if sent_id:
            self._by_id[sent_id] = call
        return call

    def _is_another(self, call: _Call, fragment: ToolCallFragment) -> bool:
        if fragment.name and call.name and fragment.name != call.name:
            return True
        return call.last_chunk == self._chunk and _is_whole(fragment.arguments) and _is_whole(call.arguments)

    def _apply(self, call: _Call, fragment: ToolCallFragment) -> ToolCallEdit | None:
        begins = not call.name and bool(fragment.name)
        call.name = call.name or fragment.name
        replaces = _is_whole(fragment.arguments) and _is_whole(call.arguments)
        if replaces:
            if not begins and call.arguments == fragment.arguments:
                return None
            call.pieces = [fragment.arguments]
        elif fragment.arguments:
            call.pieces.append(fragment.arguments)
        if begins:
            return ToolCallEdit(call.key, call.arguments, call.name, call.id)
        if not call.name or not fragment.arguments:
            return None
        if replaces:
            return ToolCallEdit(call.key, fragment.arguments, call.name, call.id, replaces=True)
        return ToolCallEdit(call.key, fragment.arguments)


def _is_whole(arguments: str) -> bool:
    """Whether this is a complete JSON object."""
    text = arguments.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return False
    try:
        from_json(text)
    except ValueError:
        return False
    return True
