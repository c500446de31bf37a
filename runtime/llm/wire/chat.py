"""Chat Completions, as OpenAI and hundreds of other servers stream them."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.llm.wire.errors import FailedAnswer, WireError
from runtime.llm.wire.fields import object_of, objects_of, text_of, whole_number
from runtime.llm.wire.reader import Json, Wire
from runtime.llm.wire.tool_calls import ToolCallAssembler, ToolCallEdit, ToolCallFragment, arguments_text, sent_id
from runtime.llm.wire.usage import LastUsage

TEXTS = ("content", "reasoning", "reasoning_content", "refusal")
NO_REASONS = frozenset({"", "null", "none"})
"""What some servers write where an answer has not finished yet."""


class ChatWire(Wire):
    """The answer is whole with a ``finish_reason``, or by ``ends_with_done`` with the mark behind its last event."""

    def __init__(self, *, ends_with_done: bool) -> None:
        super().__init__()
        self._ends_with_done = ends_with_done
        self._calls = ToolCallAssembler(repeats_ids=True)
        self._usage = LastUsage("prompt_tokens", "completion_tokens", "total_tokens")
        self._last: Json = {}

    def read(self, data: Json, name: str) -> Iterator[Json]:
        """Yield the event with one choice at most, its texts and calls mended, and the usage so far."""
        if data.get("error"):
            yield data
            return
        self._last = {**data, "created": whole_number(data.get("created")), "choices": [], "usage": None}
        chunk = {**self._last, "usage": self._usage.take(data.get("usage"))}
        choices = objects_of(data, "choices")
        self.has_begun = self.has_begun or bool(choices)
        if not choices:
            yield chunk
            return
        choice = choices[0]
        reason = text_of(choice, "finish_reason")
        if reason.lower() == "error":
            raise FailedAnswer("the provider failed while it was answering")
        if reason.lower() in NO_REASONS:
            reason = ""
        self.is_whole = self.is_whole or bool(reason)
        delta = self._delta(object_of(choice, "delta"))
        yield {**chunk, "choices": [{**choice, "index": 0, "delta": delta, "finish_reason": reason or None}]}

    def done(self) -> None:
        """Count the answer as whole, where a server may leave out the reason."""
        self.is_whole = self.is_whole or (self._ends_with_done and self.has_begun)

    def end(self) -> Iterator[Json]:
        """Yield what was held back of the texts. Raises WireError for a call without a name."""
        self._calls.end()
        for channel, text in self.texts.rest().items():
            delta = {channel: text} if isinstance(channel, str) else _tool_calls(channel, text)
            yield {**self._last, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    def _delta(self, delta: Json) -> Json:
        mended = dict(delta)
        for name in TEXTS:
            if isinstance(text := delta.get(name), str):
                mended[name] = self.texts.feed(name, text)
        if isinstance(delta.get("content"), list):
            mended["content"] = self.texts.feed("content", _text_of_parts(delta["content"]))
        if "tool_calls" in delta:
            fragments = [_fragment(call) for call in objects_of(delta, "tool_calls")]
            mended["tool_calls"] = [self._call(edit) for edit in self._calls.feed(fragments)] or None
        return mended

    def _call(self, edit: ToolCallEdit) -> Json:
        if edit.replaces:
            raise WireError("the answer gives one tool call two sets of arguments")
        return _call(edit.key, self.texts.feed(edit.key, edit.arguments, is_json=True), name=edit.name, call_id=edit.id)


def _fragment(call: Json) -> ToolCallFragment:
    function = object_of(call, "function")
    return ToolCallFragment(
        sent_id(call.get("id")),
        text_of(function, "name"),
        arguments_text(function.get("arguments")),
        whole_number(call.get("index")),
    )


def _call(key: int, arguments: str, *, name: str = "", call_id: str = "") -> Json:
    function = {"name": name or None, "arguments": arguments}
    return {"index": key, "id": call_id or None, "type": "function", "function": function}


def _tool_calls(channel: object, text: str) -> Json:
    return {"tool_calls": [_call(channel, text)]} if isinstance(channel, int) else {}


def _text_of_parts(parts: list[object]) -> str:
    """The text of a content that comes as a list of parts."""
    texts = [part if isinstance(part, str) else text_of(part, "text") for part in parts if isinstance(part, str | dict)]
    return "".join(texts)
