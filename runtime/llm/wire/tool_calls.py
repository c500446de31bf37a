"""Joins the fragments of tool calls."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic_core import to_json

from runtime.llm.wire.errors import WireError
from runtime.llm.wire.json_values import is_json_object, without_halves

MISSING_IDS = frozenset({"", "none", "null"})
"""What some servers write where a tool call has no id."""


class ToolCallFragment(NamedTuple):
    """A tool call, or a piece of one: ``id`` and ``name`` are empty when it says none, ``place`` is None."""

    id: str
    name: str
    arguments: str
    place: int | None = None
    """Its ``index`` in the answer, where the API numbers the calls of an answer."""


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

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are a whole object."""
        return is_json_object(self.arguments)


class ToolCallAssembler:
    """The tool calls of one answer. Ids decide which call a fragment belongs to, then the order.

    - A fragment with an id belongs to the call of that id, whatever its place.
    - One without id and name continues the call at its place, or the one that was last spoken of.
    - One with a name begins a call, unless it only repeats the name of a call that is not whole yet.
    - Whole arguments after whole arguments, under the same id, are a repetition. When they differ the later ones
      count, or with ``repeats_ids`` they are another call.
    - An id that is given to two calls (another name, or twice whole in one chunk) does not make them one.

    Nothing is told of a call before its name is known.
    """

    def __init__(self, *, repeats_ids: bool = False) -> None:
        self._repeats_ids = repeats_ids
        self._calls: list[_Call] = []
        self._by_id: dict[str, _Call] = {}
        self._by_place: dict[int, _Call] = {}
        self._open: _Call | None = None
        self._chunk = 0

    def feed(self, fragments: Iterable[ToolCallFragment]) -> Iterator[ToolCallEdit]:
        """The changes that the fragments of one chunk make.

        Raises WireError for arguments that belong to no call.
        """
        self._chunk += 1
        for fragment in fragments:
            if not any(fragment[:3]):
                continue
            call = self._call_of(fragment)
            self._open = call
            if fragment.place is not None:
                self._by_place[fragment.place] = call
            edit = self._apply(call, fragment)
            call.last_chunk = self._chunk
            if edit is not None:
                yield edit

    def end(self) -> None:
        """Raises WireError when a call never got its name."""
        if any(not call.name for call in self._calls):
            raise WireError("the answer has a tool call without a name")

    @property
    def are_cut_off(self) -> bool:
        """Whether the arguments of a call have not arrived whole."""
        return any(not call.is_whole for call in self._calls)

    def _call_of(self, fragment: ToolCallFragment) -> _Call:
        spoken_of = self._open if fragment.place is None else self._by_place.get(fragment.place, self._open)
        if fragment.id:
            return self._call_with_id(fragment, spoken_of)
        if fragment.name:
            return spoken_of if spoken_of is not None and _goes_on(spoken_of, fragment) else self._begin("", "")
        if spoken_of is None:
            raise WireError("the answer has a fragment of no tool call")
        return spoken_of

    def _call_with_id(self, fragment: ToolCallFragment, spoken_of: _Call | None) -> _Call:
        known = self._by_id.get(fragment.id)
        if known is not None:
            return self._begin(fragment.id, "") if self._is_another(known, fragment) else known
        if fragment.place is not None and not fragment.name and spoken_of is not None and not spoken_of.is_whole:
            return spoken_of  # a server that gives each fragment an id of its own
        return self._begin(fragment.id, fragment.id)

    def _begin(self, sent: str, call_id: str) -> _Call:
        call = _Call(key=len(self._calls), id=call_id or f"call_{uuid.uuid4().hex}")
        self._calls.append(call)
        if sent:
            self._by_id[sent] = call
        return call

    def _is_another(self, call: _Call, fragment: ToolCallFragment) -> bool:
        if fragment.name and call.name and fragment.name != call.name:
            return True
        if not (is_json_object(fragment.arguments) and call.is_whole):
            return False
        return call.last_chunk == self._chunk or (self._repeats_ids and call.arguments != fragment.arguments)

    def _apply(self, call: _Call, fragment: ToolCallFragment) -> ToolCallEdit | None:
        begins = not call.name and bool(fragment.name)
        call.name = call.name or fragment.name
        replaces = is_json_object(fragment.arguments) and call.is_whole
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


def sent_id(value: object) -> str:
    """The id that a server gave to a tool call, or nothing where it gave none."""
    return "" if not isinstance(value, str) or value.strip().lower() in MISSING_IDS else value


def arguments_text(arguments: object) -> str:
    """Arguments, or a piece of them, as text: some servers send the object itself."""
    if isinstance(arguments, dict):
        return to_json(without_halves(arguments)).decode()
    return arguments if isinstance(arguments, str) else ""


def _goes_on(call: _Call, fragment: ToolCallFragment) -> bool:
    """Whether a fragment without an id, but with a name, is more of the call."""
    if fragment.name != call.name:
        return False
    if call.arguments:
        return not call.is_whole
    return bool(fragment.arguments) and not is_json_object(fragment.arguments)
