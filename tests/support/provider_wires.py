"""The same short answer (7 tokens in, 5 out) as each provider streams it: steps for the scripted server."""

from __future__ import annotations

import json
from typing import Any

from tests.support.openai_server import USAGE
from tests.support.plugin_daemon import Step

FINISH: Step = {"finish": "stop", "usage": USAGE}
HELLO: list[Step] = [{"text": "Hello there", "split": 4}, FINISH]


def event(data: dict[str, Any], name: str | None = None) -> Step:
    return {"event": name or data["type"], "data": data}


ANTHROPIC: list[Step] = [
    event(
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "claude",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 7, "output_tokens": 1},
            },
        }
    ),
    event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello "}}),
    event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "there"}}),
    event({"type": "content_block_stop", "index": 0}),
    event(
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 5},
        }
    ),
    event({"type": "message_stop"}),
]


def gemini(text: str, **rest: Any) -> Step:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **rest}
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12}
    data = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini", "responseId": "r1"}
    return {"write": f"data: {json.dumps(data)}\r\n\r\n"}


GOOGLE: list[Step] = [gemini("Hello "), gemini("there", finishReason="STOP")]


def response(status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_795_000_000,
        "model": "gpt",
        "status": status,
        "output": output,
        "usage": usage,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def message(status: str, text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}] if text else []
    return {"id": "m1", "type": "message", "role": "assistant", "status": status, "content": content}


def text_event(kind: str, number: int, **rest: Any) -> Step:
    place = {"item_id": "m1", "output_index": 0, "content_index": 0, "sequence_number": number}
    return event({"type": f"response.{kind}", **place, **rest})


RESPONSES: list[Step] = [
    event({"type": "response.created", "sequence_number": 0, "response": response("in_progress", [])}),
    event(
        {
            "type": "response.output_item.added",
            "sequence_number": 1,
            "output_index": 0,
            "item": message("in_progress", ""),
        }
    ),
    text_event("content_part.added", 2, part={"type": "output_text", "text": "", "annotations": []}),
    text_event("output_text.delta", 3, delta="Hello ", logprobs=[]),
    text_event("output_text.delta", 4, delta="there", logprobs=[]),
    text_event("output_text.done", 5, text="Hello there", logprobs=[]),
    event(
        {
            "type": "response.output_item.done",
            "sequence_number": 6,
            "output_index": 0,
            "item": message("completed", "Hello there"),
        }
    ),
    event(
        {
            "type": "response.completed",
            "sequence_number": 7,
            "response": response(
                "completed",
                [message("completed", "Hello there")],
                {
                    "input_tokens": 7,
                    "output_tokens": 5,
                    "total_tokens": 12,
                    "input_tokens_details": {"cached_tokens": 0},
                    "output_tokens_details": {"reasoning_tokens": 0},
                },
            ),
        }
    ),
]
