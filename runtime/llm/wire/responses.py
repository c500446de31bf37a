"""OpenAI's Responses, also as other servers stream them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from openai.types.responses import ResponseStreamEvent

from runtime.llm.wire.errors import FailedAnswer, WireError
from runtime.llm.wire.fields import object_of, objects_of, text_of, whole_number
from runtime.llm.wire.reader import Json, Wire
from runtime.llm.wire.surrogates import mended_json
from runtime.llm.wire.tool_calls import arguments_text, sent_id
from runtime.llm.wire.usage import LastUsage


def _types_of_union(union: Any) -> frozenset[str]:
    """What ``type`` may be in a union of event classes."""
    if get_origin(union) is Annotated:
        union = get_args(union)[0]
    fields = (event.model_fields["type"].annotation for event in get_args(union))
    return frozenset(name for field in fields for name in get_args(field))


KNOWN = _types_of_union(ResponseStreamEvent)
"""The package takes an event of another type for one of these."""
BEGINNINGS = frozenset({"response.created", "response.in_progress", "response.queued"})
ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
FAILURES = frozenset({"failed", "cancelled"})
ARGUMENTS_DELTA = "response.function_call_arguments.delta"
DELTAS = frozenset(
    {
        ARGUMENTS_DELTA,
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
    }
)
PLACE = ("output_index", "content_index", "summary_index")


@dataclass(slots=True)
class _Item:
    """An item of the answer: the id it was sent with, and the one it is told with, which no other item has."""

    sent: str
    id: str
    output_index: int | None
    name: str = ""
    sent_call_id: str = ""
    call_id: str = ""


class ResponsesWire(Wire):
    """The answer is whole with ``response.completed``, or with ``response.incomplete`` at a limit."""

    names_events = True

    def __init__(self) -> None:
        super().__init__()
        self._usage = LastUsage("input_tokens", "output_tokens", "total_tokens")
        self._items: list[_Item] = []
        self._ids: set[str] = set()
        self._call_ids: set[str] = set()
        self._number = 0

    def read(self, data: Json, name: str) -> Iterator[Json]:
        """Yield the event, mended. What comes behind the end, and what nobody knows, is left out."""
        kind = text_of(data, "type") or name
        if not kind and data.get("error"):
            kind = "error"
        if kind not in KNOWN or self.is_whole:
            return
        self.has_begun = True
        event = {**data, "type": kind, "sequence_number": self._number}
        self._number += 1
        if kind == "error":
            told = object_of(data, "error") or data
            code, message = told.get("code"), text_of(told, "message")
            yield {"type": kind, "sequence_number": self._number, "code": code, "message": message, "param": None}
        elif kind in BEGINNINGS or kind in ENDS:
            yield from self._response(kind, event)
        elif kind in ("response.output_item.added", "response.output_item.done"):
            yield from self._item_event(kind, event)
        else:
            yield from self._piece(kind, event)

    def _response(self, kind: str, event: Json) -> Iterator[Json]:
        response = object_of(event, "response")
        usage = self._usage.take(response.get("usage"))
        status = text_of(response, "status") or kind.removeprefix("response.").replace("created", "in_progress")
        ends = kind in ENDS
        if ends and not object_of(response, "error") and status in FAILURES:
            raise FailedAnswer("the provider failed while it was answering")
        if ends:
            yield from self._rest()
        self.is_whole = ends
        known = {
            "id": text_of(response, "id"),
            "model": text_of(response, "model"),
            "created_at": whole_number(response.get("created_at")) or 0,
            "status": status,
            "output": objects_of(response, "output"),
            "usage": _with_details(usage) if ends and usage is not None else None,
        }
        yield {**event, "response": {**response, **known}}

    def _item_event(self, kind: str, event: Json) -> Iterator[Json]:
        sent = object_of(event, "item")
        is_call = text_of(sent, "type") == "function_call"
        item = self._item_of(text_of(sent, "id"), _index(event))
        if kind == "response.output_item.added":
            if is_call and item is not None and _is_repeated(item, sent, _index(event)):
                return
            item = None
        if item is None:
            item = self._begin(text_of(sent, "id"), _index(event))
        told = {**sent, "id": item.id}
        if is_call:
            told |= self._function_call(sent, item)
        elif text_of(sent, "type") == "message":
            told["content"] = objects_of(sent, "content")
        elif text_of(sent, "type") == "reasoning":
            told["summary"] = objects_of(sent, "summary")
        yield {**event, "output_index": item.output_index or 0, "item": told}

    def _function_call(self, call: Json, item: _Item) -> Json:
        item.name = item.name or text_of(call, "name")
        if not item.name:
            raise WireError("the answer has a tool call without a name")
        if not item.call_id:
            item.sent_call_id = sent_id(call.get("call_id"))
            is_new = item.sent_call_id and item.sent_call_id not in self._call_ids
            item.call_id = item.sent_call_id if is_new else f"call_{uuid.uuid4().hex}"
            self._call_ids.add(item.call_id)
        arguments = mended_json(arguments_text(call.get("arguments")))
        return {"name": item.name, "call_id": item.call_id, "arguments": arguments}

    def _piece(self, kind: str, event: Json) -> Iterator[Json]:
        item = self._item_of(text_of(event, "item_id"), _index(event))
        item_id = item.id if item is not None else text_of(event, "item_id")
        place = {name: whole_number(event.get(name)) or 0 for name in PLACE}
        event = {**event, **place, "item_id": item_id}
        if kind in DELTAS:
            is_json = kind == ARGUMENTS_DELTA
            text = self.texts.feed((kind, item_id, *place.values()), text_of(event, "delta"), is_json=is_json)
            if not text:
                return
            event["delta"] = text
        elif isinstance(event.get("arguments"), str):
            event["arguments"] = mended_json(event["arguments"])
        yield event

    def _rest(self) -> Iterator[Json]:
        """What was held back of the texts."""
        for channel, text in self.texts.rest().items():
            if isinstance(channel, tuple):
                kind, item_id, *place = channel
                event = {"type": kind, "sequence_number": self._number, "item_id": item_id, "delta": text}
                yield {**event, **dict(zip(PLACE, place, strict=True)), "logprobs": []}

    def _begin(self, sent: str, output_index: int | None) -> _Item:
        item = _Item(sent, sent if sent and sent not in self._ids else f"item_{uuid.uuid4().hex}", output_index)
        self._ids.add(item.id)
        self._items.append(item)
        return item

    def _item_of(self, sent: str, output_index: int | None) -> _Item | None:
        """The item that an event speaks of: by its id, and by its place where several have the id or none has."""
        named = [item for item in self._items if sent and item.sent == sent]
        if len(named) == 1:
            return named[0]
        placed = [item for item in named or self._items if item.output_index == output_index]
        found = placed or named or (self._items if not sent else [])
        return found[-1] if found else None


def _is_repeated(item: _Item, call: Json, output_index: int | None) -> bool:
    """Whether the server tells the beginning of this call again."""
    told = (text_of(call, "id"), text_of(call, "name"), sent_id(call.get("call_id")), output_index)
    return bool(item.sent_call_id) and told == (item.sent, item.name, item.sent_call_id, item.output_index)


def _index(event: Json) -> int | None:
    return whole_number(event.get("output_index"))


def _with_details(usage: Json) -> Json:
    """The usage with the details that the package expects to be there."""
    return {"input_tokens_details": {}, "output_tokens_details": {}, **usage}
