"""Reads the body of a provider's answer and writes it anew as the provider's package expects it. No IO."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic_core import to_json

from runtime.llm.wire.errors import IncompleteAnswer, WireError
from runtime.llm.wire.json_values import read_json, without_halves
from runtime.llm.wire.sse import EventDecoder, ServerSentEvent
from runtime.llm.wire.surrogates import SurrogateJoiner

DONE = "[DONE]"

Json = dict[str, Any]


class Wire(ABC):
    """What the events of one provider's API mean. One object reads one answer.

    ``has_begun`` is set by the first event that is one of the API's: others are passed over, since servers have signs
    of life of their own. ``is_whole`` is set once the provider has said that the answer is whole. Raises WireError
    for what is not in the form of the API, and FailedAnswer when the provider says that it failed.
    """

    names_events: ClassVar[bool] = False
    """Whether events have a name beside their data; it is the ``type`` in the data."""

    def __init__(self) -> None:
        self.has_begun = False
        self.is_whole = False
        self.texts = SurrogateJoiner()

    @abstractmethod
    def read(self, data: Json, name: str) -> Iterator[Json]:
        """What an event becomes."""

    def done(self) -> None:  # noqa: B027
        """Hear that the server has written its mark behind the last event."""

    def end(self) -> Iterator[Json]:
        """What is left to tell when the answer is whole."""
        yield from ()


class AnswerReader:
    """Turns the pieces of one body into the pieces of a clean one.

    What came before a mistake is told before the mistake is raised. An answer that ends before it is whole raises
    IncompleteAnswer, and WireError when it has not even begun.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._decoder = EventDecoder()
        self._is_done = False
        self._is_cut_off = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The clean pieces that follow from this one."""
        for event in self._decoder.feed(piece):
            yield from self._read(event)

    def end(self) -> Iterator[bytes]:
        """The clean pieces that follow from the end of the body."""
        try:
            for event in self._decoder.end():
                yield from self._read(event)
        except ValueError:  # the body was cut off inside its last event
            self._is_cut_off = True
        if not self._is_done:
            yield from self._finish()

    def _read(self, event: ServerSentEvent) -> Iterator[bytes]:
        if self._is_done:
            return
        if event.data.startswith(DONE):
            self._wire.done()
            yield from self._finish()
            yield f"data: {DONE}\n\n".encode()
            return
        for data in _objects(event.data):
            for frame in self._wire.read(data, event.name):
                yield self._frame(frame)

    def _finish(self) -> Iterator[bytes]:
        self._is_done = True
        if not self._wire.is_whole:
            if self._wire.has_begun or self._is_cut_off:
                raise IncompleteAnswer("the answer ended before it was whole")
            raise WireError("there is no answer in what the provider sent")
        for frame in self._wire.end():
            yield self._frame(frame)

    def _frame(self, data: Json) -> bytes:
        try:
            text = to_json(data)
        except ValueError:  # half of a surrogate pair, in what no wire looks into
            text = to_json(without_halves(data))
        name = f"event: {data['type']}\n".encode() if self._wire.names_events else b""
        return name + b"data: " + text + b"\n\n"


class _NotJson(WireError, ValueError):
    """The data of an event cannot be read."""


def _objects(data: str) -> Iterator[Json]:
    """The objects in the data of an event: one, none for null, or one a line where the blank lines are missing."""
    try:
        values = [read_json(data)]
    except ValueError:
        try:
            values = [read_json(line) for line in data.split("\n")]
        except ValueError:
            raise _NotJson("an event of the answer is not JSON") from None
    for value in values:
        if value is None:
            continue
        if not isinstance(value, dict):
            raise WireError("an event of the answer is not a JSON object")
        yield value
