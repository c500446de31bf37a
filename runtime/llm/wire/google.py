"""Google's Gemini API."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.llm.wire.errors import WireError
from runtime.llm.wire.fields import object_of, objects_of, text_of
from runtime.llm.wire.json_values import without_halves
from runtime.llm.wire.reader import Json, Wire
from runtime.llm.wire.tool_calls import sent_id
from runtime.llm.wire.usage import LastUsage

UNFINISHED = frozenset({"", "FINISH_REASON_UNSPECIFIED"})


class GoogleWire(Wire):
    """The answer is whole with a ``finishReason``, or when the prompt was blocked. Calls come whole, in one event."""

    def __init__(self) -> None:
        super().__init__()
        self._usage = LastUsage()
        self._calls: dict[str, Json] = {}
        self._last: Json = {}

    def read(self, data: Json, name: str) -> Iterator[Json]:
        """Yield the event with its texts and calls mended, and the usage so far."""
        if data.get("error"):
            yield data
            return
        usage = self._usage.take(data.get("usageMetadata"))
        self._last = {**data, "candidates": None, "usageMetadata": usage}
        candidates = objects_of(data, "candidates")
        if object_of(data, "promptFeedback").get("blockReason"):
            self.is_whole = True
        self.has_begun = self.has_begun or self.is_whole or bool(candidates)
        if not self.has_begun:
            return
        yield {**self._last, "candidates": [self._candidate(candidates[0])] if candidates else None}

    def end(self) -> Iterator[Json]:
        """Yield what was held back of the texts."""
        for thought, text in self.texts.rest().items():
            part = {"text": text, "thought": True} if thought else {"text": text}
            yield {**self._last, "candidates": [{"content": {"role": "model", "parts": [part]}}]}

    def _candidate(self, candidate: Json) -> Json:
        reason = text_of(candidate, "finishReason")
        self.is_whole = self.is_whole or reason not in UNFINISHED
        content = object_of(candidate, "content")
        parts = [mended for part in objects_of(content, "parts") for mended in self._part(part)]
        return {**candidate, "finishReason": reason or None, "content": {**content, "parts": parts}}

    def _part(self, part: Json) -> Iterator[Json]:
        if isinstance(text := part.get("text"), str):
            yield {**part, "text": self.texts.feed(part.get("thought") is True, text)}
        elif "functionCall" in part:
            yield from self._call(part, object_of(part, "functionCall"))
        else:
            yield part

    def _call(self, part: Json, call: Json) -> Iterator[Json]:
        """Yield the call, unless it is told again. An id that another call was given, or a blank one, is left out."""
        if not text_of(call, "name"):
            raise WireError("the answer has a tool call without a name")
        call_id = sent_id(call.get("id"))
        if call_id and self._calls.get(call_id) == call:
            return
        mended = {**call, "args": without_halves(object_of(call, "args"))}
        if not call_id or call_id in self._calls:
            mended.pop("id", None)
        self._calls[call_id] = call
        yield {**part, "functionCall": mended}
