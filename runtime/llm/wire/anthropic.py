"""Anthropic's Messages, also as other servers stream them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json

from runtime.llm.wire.errors import WireError
from runtime.llm.wire.fields import object_of, text_of, whole_number
from runtime.llm.wire.json_values import without_halves
from runtime.llm.wire.reader import Json, Wire
from runtime.llm.wire.tool_calls import sent_id
from runtime.llm.wire.usage import LastUsage

KINDS = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    }
)
TEXT_OF_DELTA = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
BLOCK_OF_DELTA: dict[str, Json] = {
    "text_delta": {"type": "text", "text": ""},
    "thinking_delta": {"type": "thinking", "thinking": "", "signature": ""},
}
"""The block that a delta belongs to whose block was never begun."""

EMPTY: dict[str, dict[str, Any]] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
}


class AnthropicWire(Wire):
    """The answer is whole with ``message_stop``. Blocks are numbered anew, since some servers repeat an index."""

    names_events = True

    def __init__(self) -> None:
        super().__init__()
        self._usage = LastUsage("input_tokens", "output_tokens")
        self._blocks: dict[int, int] = {}
        self._count = 0
        self._call_ids: set[str] = set()
        self._whole_inputs: dict[int, Json] = {}
        self._deltas: dict[int, str] = {}
        self._open_calls: dict[int, str] = {}

    def read(self, data: Json, name: str) -> Iterator[Json]:
        """Yield the event, mended. What comes behind ``message_stop``, and what nobody knows, is left out."""
        kind = text_of(data, "type") or name
        if kind == "error":
            yield {**data, "type": "error"}
        elif kind in KINDS and not self.is_whole:
            if not self.has_begun:
                yield self._message_start(object_of(data, "message"))
            yield from self._event(kind, data)

    def _event(self, kind: str, data: Json) -> Iterator[Json]:
        match kind:
            case "message_start":
                self._usage.take(object_of(data, "message").get("usage"))
            case "content_block_start":
                yield from self._block_start(_index(data), object_of(data, "content_block"))
            case "content_block_delta":
                yield from self._block_delta(_index(data), object_of(data, "delta"))
            case "content_block_stop":
                yield from self._block_stop(_index(data))
            case "message_delta":
                yield {**data, "type": kind, "delta": object_of(data, "delta"), "usage": self._counted(data)}
            case "message_stop":
                self.is_whole = True
                yield from self._rest()
                yield {"type": "message_stop"}

    def _counted(self, fields: Json) -> Json:
        return self._usage.take(fields.get("usage")) or {"input_tokens": 0, "output_tokens": 0}

    def _message_start(self, message: Json) -> Json:
        """The first event, also of a server that leaves it out."""
        self.has_begun = True
        known = {"id": text_of(message, "id"), "model": text_of(message, "model"), "type": "message"}
        usage = self._counted(message)
        return {"type": "message_start", "message": {**message, **known, "content": [], "usage": usage}}

    def _block_start(self, index: int, block: Json) -> Iterator[Json]:
        if self._is_repeated(index, block):
            return
        yield from self._block_stop(index)  # some servers give all their blocks one index, and end none
        kind = text_of(block, "type")
        self._blocks[index] = own = self._count
        self._count += 1
        mended: Json = {**EMPTY.get(kind, {}), **{name: value for name, value in block.items() if value is not None}}
        if kind == "tool_use":
            mended = self._tool_use(own, block)
        elif kind in EMPTY:
            mended[kind] = self.texts.feed(own, text_of(block, kind))
        yield {"type": "content_block_start", "index": own, "content_block": mended}

    def _is_repeated(self, index: int, block: Json) -> bool:
        """Whether the server tells the beginning of an open call again."""
        call_id = sent_id(block.get("id"))
        return bool(call_id) and index in self._blocks and self._open_calls.get(self._blocks[index]) == call_id

    def _tool_use(self, own: int, block: Json) -> Json:
        """The beginning of a call without its arguments, which are told like those that come in pieces."""
        if not text_of(block, "name"):
            raise WireError("the answer has a tool call without a name")
        call_id = self._open_calls[own] = sent_id(block.get("id"))
        if not call_id or call_id in self._call_ids:
            call_id = f"toolu_{uuid.uuid4().hex}"
        self._call_ids.add(call_id)
        if given := object_of(block, "input"):
            self._whole_inputs[own] = given
        return {**block, "id": call_id, "input": {}}

    def _block_delta(self, index: int, delta: Json) -> Iterator[Json]:
        kind = text_of(delta, "type")
        if index not in self._blocks:
            if kind not in BLOCK_OF_DELTA:
                raise WireError("the answer has a piece of a block that it never began")
            yield from self._block_start(index, BLOCK_OF_DELTA[kind])
        own = self._blocks[index]
        if kind in TEXT_OF_DELTA:
            name = TEXT_OF_DELTA[kind]
            self._deltas[own] = kind
            text = self.texts.feed(own, text_of(delta, name), is_json=name == "partial_json")
            if not text:
                return
            if kind == "input_json_delta":
                self._whole_inputs.pop(own, None)
            delta = {**delta, name: text}
        yield {"type": "content_block_delta", "index": own, "delta": delta}

    def _block_stop(self, index: int) -> Iterator[Json]:
        own = self._blocks.pop(index, None)
        if own is None:
            return
        if (kind := self._deltas.get(own)) and (half := self.texts.close(own)):
            yield _delta(own, kind, half)
        if given := self._whole_inputs.pop(own, None):
            yield _delta(own, "input_json_delta", to_json(without_halves(given)).decode())
        yield {"type": "content_block_stop", "index": own}

    def _rest(self) -> Iterator[Json]:
        """The ends of blocks that the server did not end."""
        for index in list(self._blocks):
            yield from self._block_stop(index)


def _delta(index: int, kind: str, text: str) -> Json:
    delta = {"type": kind, TEXT_OF_DELTA[kind]: text}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _index(data: Json) -> int:
    index = whole_number(data.get("index"))
    return 0 if index is None else index
