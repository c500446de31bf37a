"""The frames of each wire, for answers of any shape: exactly the bytes that a server writes."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]


def frame(data: Any, name: str | None = None) -> bytes:
    """One event, with its JSON in ASCII, so that half of a surrogate pair is an escape like any other."""
    return (
        (f"event: {name}\n" if name else "").encode()
        + b"data: "
        + json.dumps(data, separators=(",", ":")).encode()
        + b"\n\n"
    )


DONE = b"data: [DONE]\n\n"


# Chat Completions


def chat(delta: Json | None = None, finish: str | None = None, usage: Json | None = None, **rest: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    known = {"id": "c1", "object": "chat.completion.chunk", "created": 1_795_000_000, "model": "llama"}
    return frame({**known, "choices": [choice], "usage": usage, **rest})


def chat_text(*texts: str) -> bytes:
    return b"".join(chat({"content": text}) for text in texts)


def chat_call(arguments: str = "", *, name: str | None = None, call_id: str | None = None, index: Any = 0) -> bytes:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return chat({"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]})


CHAT_USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


# Responses


def responses(kind: str, **fields: Any) -> bytes:
    data = {"type": f"response.{kind}", **fields}
    return frame(data, data["type"])


def response(status: str, usage: Json | None = None, **rest: Any) -> Json:
    known = {"id": "r1", "object": "response", "created_at": 1_795_000_000, "model": "gpt", "output": []}
    return {**known, "status": status, "usage": usage, **rest}


RESPONSES_USAGE = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
RESPONSES_BEGIN = responses("created", response=response("in_progress"))
RESPONSES_END = responses("completed", response=response("completed", RESPONSES_USAGE))


def responses_text(*texts: str) -> bytes:
    item = {"id": "m1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    deltas = [
        responses("output_text.delta", item_id="m1", output_index=0, content_index=0, delta=text, logprobs=[])
        for text in texts
    ]
    return responses("output_item.added", output_index=0, item=item) + b"".join(deltas)


def responses_call(
    *arguments: str, name: str = "get", item_id: str | None = "f1", call_id: str | None = "call-1", index: int = 0
) -> bytes:
    def item(text: str) -> Json:
        return {"type": "function_call", "id": item_id, "call_id": call_id, "name": name, "arguments": text}

    place = {"item_id": item_id, "output_index": index}
    return (
        responses("output_item.added", output_index=index, item=item(""))
        + b"".join(responses("function_call_arguments.delta", **place, delta=text) for text in arguments)
        + responses("function_call_arguments.done", **place, name=name, arguments="".join(arguments))
        + responses("output_item.done", output_index=index, item=item("".join(arguments)))
    )


# Anthropic


def anthropic(kind: str, **fields: Any) -> bytes:
    return frame({"type": kind, **fields}, kind)


def anthropic_begin(usage: Json | None = None) -> bytes:
    message = {"id": "m1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    return anthropic("message_start", message={**message, "usage": usage or {"input_tokens": 7, "output_tokens": 1}})


def anthropic_end(reason: str | None = "end_turn", usage: Json | None = None) -> bytes:
    counted = usage or {"output_tokens": 5}
    return anthropic("message_delta", delta={"stop_reason": reason}, usage=counted) + anthropic("message_stop")


def anthropic_block(block: Json, *deltas: Json, index: int = 0, stops: bool = True) -> bytes:
    return (
        anthropic("content_block_start", index=index, content_block=block)
        + b"".join(anthropic("content_block_delta", index=index, delta=delta) for delta in deltas)
        + (anthropic("content_block_stop", index=index) if stops else b"")
    )


def anthropic_text(*texts: str, index: int = 0) -> bytes:
    deltas = [{"type": "text_delta", "text": text} for text in texts]
    return anthropic_block({"type": "text", "text": ""}, *deltas, index=index)


def anthropic_thinking(*texts: str, index: int = 0, **block: Any) -> bytes:
    deltas = [{"type": "thinking_delta", "thinking": text} for text in texts]
    return anthropic_block({"type": "thinking", "thinking": "", **block}, *deltas, index=index)


def anthropic_call(
    *arguments: str, name: str = "get", call_id: str | None = "call-1", index: int = 0, stops: bool = True, **rest: Any
) -> bytes:
    block = {"type": "tool_use", "id": call_id, "name": name, "input": {}, **rest}
    deltas = [{"type": "input_json_delta", "partial_json": text} for text in arguments]
    return anthropic_block(block, *deltas, index=index, stops=stops)


# Google


GOOGLE_USAGE = {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12}


def google(*parts: Json, finish: str | None = None, usage: Json | None = None, **rest: Any) -> bytes:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return frame({"candidates": [candidate], "usageMetadata": usage, "responseId": "r1", **rest})


def google_text(*texts: str, **part: Any) -> bytes:
    return b"".join(google({"text": text, **part}) for text in texts)


GOOGLE_END = google(finish="STOP", usage=GOOGLE_USAGE)


# The plugin daemon


def plugin(content: Any = "", finish: str | None = None, usage: Json | None = None, calls: Any = ()) -> bytes:
    message = {"role": "assistant", "content": content, "tool_calls": list(calls)}
    delta = {"index": 0, "message": message, "usage": usage, "finish_reason": finish}
    return frame({"code": 0, "message": "success", "data": {"model": "gpt", "delta": delta}})


def plugin_call(arguments: str = "", *, name: str = "", call_id: str = "") -> bytes:
    function = {"name": name, "arguments": arguments}
    return plugin(calls=[{"id": call_id, "type": "function", "function": function}])


PLUGIN_END = plugin(finish="stop", usage=CHAT_USAGE)


TEXTS = {
    "openai": chat_text,
    "openai-responses": responses_text,
    "anthropic": anthropic_text,
    "google": google_text,
    "plugin": lambda *texts: b"".join(plugin(text) for text in texts),
}
BEGINS = {
    "openai": chat({"role": "assistant", "content": ""}),
    "openai-responses": RESPONSES_BEGIN,
    "anthropic": anthropic_begin(),
    "google": b"",
    "plugin": b"",
}
ENDS = {
    "openai": chat(finish="stop", usage=CHAT_USAGE) + DONE,
    "openai-responses": RESPONSES_END,
    "anthropic": anthropic_end(),
    "google": GOOGLE_END,
    "plugin": PLUGIN_END,
}
"""The end of a whole answer of 7 and 5 tokens."""


def answer(wire: str, *texts: str) -> bytes:
    """A complete, ordinary answer of these pieces of text."""
    return BEGINS[wire] + TEXTS[wire](*texts) + ENDS[wire]
