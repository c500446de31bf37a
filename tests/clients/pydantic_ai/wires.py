"""Answers in the wire format of each provider: everything that can become a part of a response, and tool calls."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from tests.support.openai_server import USAGE
from tests.support.plugin_daemon import USAGE as PRICED_USAGE
from tests.support.plugin_daemon import Answer, Step
from tests.support.provider_wires import event, response

Call = tuple[str, str, dict[str, Any]]
"""The call's id, the name of its tool, and its arguments."""

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
ANSWER = "Comets, two of them."
CHUNKS = 60


class PluginDaemon:
    """Text with thinking in it, and a file."""

    @staticmethod
    def rich() -> Answer:
        image = {"type": "image", "base64_data": PIXEL, "format": "png", "mime_type": "image/png"}
        return [
            {"text": "<think>hm, comets</think>", "split": 5},
            {"stream": {"chunks": CHUNKS, "rate": 0, "text": "comet "}},
            {"chunk": {"message": {"role": "assistant", "content": [image]}}},
            {"text": ANSWER, "split": 4},
            {"finish": "stop", "usage": PRICED_USAGE},
        ]

    @staticmethod
    def calling(*calls: Call) -> Answer:
        return [
            {"text": "Let me see."},
            *(
                {"tool_call": {"id": call_id, "name": name, "arguments": json.dumps(arguments)}}
                for call_id, name, arguments in calls
            ),
            {"finish": "tool_calls", "usage": PRICED_USAGE},
        ]


class OpenAIChat:
    @staticmethod
    def rich() -> Answer:
        reasoning = {
            "id": "chatcmpl-scripted",
            "object": "chat.completion.chunk",
            "created": 1_795_000_000,
            "model": "gpt",
            "choices": [{"index": 0, "delta": {"reasoning_content": "hm, comets"}, "finish_reason": None}],
        }
        return [
            {"write": f"data: {json.dumps(reasoning)}\n\n"},
            {"text": ANSWER, "split": 4},
            {"finish": "stop", "usage": USAGE},
        ]

    @staticmethod
    def calling(*calls: Call) -> Answer:
        return [
            *(
                {
                    "tool_call": {"index": index, "id": call_id, "name": name, "arguments": json.dumps(arguments)},
                    "split": 6,
                }
                for index, (call_id, name, arguments) in enumerate(calls)
            ),
            {"finish": "tool_calls", "usage": USAGE},
        ]


class OpenAIResponses:
    """Reasoning with its encrypted content, a search by the provider, an image that it made, and text."""

    @staticmethod
    def rich() -> Answer:
        reasoning = {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm, comets"}],
            "encrypted_content": "c2VjcmV0",
        }
        search = {
            "type": "web_search_call",
            "id": "ws_1",
            "status": "completed",
            "action": {"type": "search", "query": "comets", "queries": ["comets"]},
        }
        image = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": PIXEL}
        citation = {
            "type": "url_citation",
            "start_index": 0,
            "end_index": 6,
            "url": "https://example.org",
            "title": "Example",
        }
        said = {
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": ANSWER, "annotations": [citation]}],
        }
        at = {"item_id": "m1", "output_index": 3, "content_index": 0}
        return _responses(
            reasoning,
            search,
            image,
            {**said, "content": [], "status": "in_progress"},
            between=[
                event(
                    {
                        "type": "response.content_part.added",
                        "sequence_number": 90,
                        **at,
                        "part": {"type": "output_text", "text": "", "annotations": []},
                    }
                ),
                event(
                    {"type": "response.output_text.delta", "sequence_number": 91, **at, "delta": ANSWER, "logprobs": []}
                ),
                event(
                    {
                        "type": "response.output_text.annotation.added",
                        "sequence_number": 92,
                        **at,
                        "annotation_index": 0,
                        "annotation": citation,
                    }
                ),
                event(
                    {"type": "response.output_text.done", "sequence_number": 93, **at, "text": ANSWER, "logprobs": []}
                ),
                event({"type": "response.output_item.done", "sequence_number": 94, "output_index": 3, "item": said}),
            ],
        )

    @staticmethod
    def calling(*calls: Call) -> Answer:
        return _responses(
            *(
                {
                    "type": "function_call",
                    "id": f"fc_{call_id}",
                    "call_id": call_id,
                    "name": name,
                    "arguments": json.dumps(arguments),
                    "status": "completed",
                }
                for call_id, name, arguments in calls
            )
        )


def _responses(*items: dict[str, Any], between: Sequence[Step] = ()) -> Answer:
    """A response with these items; ``between`` are events that continue the last of them."""
    steps: list[dict[str, Any]] = [{"type": "response.created", "response": response("in_progress", [])}]
    for index, item in enumerate(items):
        steps.append({"type": "response.output_item.added", "output_index": index, "item": item})
        if item is not items[-1] or not between:
            steps.append({"type": "response.output_item.done", "output_index": index, "item": item})
    usage = {
        "input_tokens": 7,
        "output_tokens": 5,
        "total_tokens": 12,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 2},
    }
    begun = [event({**step, "sequence_number": number}) for number, step in enumerate(steps)]
    done = {"type": "response.completed", "sequence_number": 99, "response": response("completed", list(items), usage)}
    return [*begun, *between, event(done)]


class Anthropic:
    """Thinking with its signature, a search by the provider, and text with citations."""

    @staticmethod
    def rich() -> Answer:
        found = {
            "type": "web_search_result",
            "url": "https://example.org",
            "title": "Example",
            "encrypted_content": "c2VjcmV0",
            "page_age": None,
        }
        citation = {
            "type": "web_search_result_location",
            "url": "https://example.org",
            "title": "Example",
            "encrypted_index": "aW5kZXg",
            "cited_text": "Comets",
        }
        return _anthropic(
            "end_turn",
            (
                {"type": "thinking", "thinking": "", "signature": ""},
                [
                    {"type": "thinking_delta", "thinking": "hm, comets"},
                    {"type": "signature_delta", "signature": "c2lnbmVk"},
                ],
            ),
            ({"type": "redacted_thinking", "data": "aGlkZGVu"}, []),
            (
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
                [{"type": "input_json_delta", "partial_json": '{"query": "comets"}'}],
            ),
            ({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [found]}, []),
            (
                {"type": "text", "text": "", "citations": []},
                [{"type": "text_delta", "text": ANSWER}, {"type": "citations_delta", "citation": citation}],
            ),
        )

    @staticmethod
    def calling(*calls: Call) -> Answer:
        return _anthropic(
            "tool_use",
            *(
                (
                    {"type": "tool_use", "id": call_id, "name": name, "input": {}},
                    [{"type": "input_json_delta", "partial_json": json.dumps(arguments)}],
                )
                for call_id, name, arguments in calls
            ),
        )


def _anthropic(stop_reason: str, *blocks: tuple[dict[str, Any], list[dict[str, Any]]]) -> Answer:
    begun: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 1},
    }
    steps = [event({"type": "message_start", "message": begun})]
    for index, (block, deltas) in enumerate(blocks):
        steps.append(event({"type": "content_block_start", "index": index, "content_block": block}))
        steps += [event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas]
        steps.append(event({"type": "content_block_stop", "index": index}))
    stop = {"stop_reason": stop_reason, "stop_sequence": None}
    return [
        *steps,
        event({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 5}}),
        event({"type": "message_stop"}),
    ]


class Google:
    """A thought with its signature, code that the provider ran, a file, and text."""

    @staticmethod
    def rich() -> Answer:
        return [
            _gemini({"text": "hm, comets", "thought": True}),
            _gemini({"executableCode": {"language": "PYTHON", "code": "print(2)"}}),
            _gemini({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}}),
            _gemini({"inlineData": {"mimeType": "image/png", "data": PIXEL}}),
            _gemini({"text": "Comets, ", "thoughtSignature": "c2lnbmVk"}),
            _gemini({"text": "two of them."}, finishReason="STOP"),
        ]

    @staticmethod
    def calling(*calls: Call) -> Answer:
        parts = [
            {"functionCall": {"id": call_id, "name": name, "args": arguments}, "thoughtSignature": "c2lnbmVk"}
            for call_id, name, arguments in calls
        ]
        return [_gemini(*parts, finishReason="STOP")]


def _gemini(*parts: dict[str, Any], **rest: Any) -> Step:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **rest}
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12, "thoughtsTokenCount": 2}
    data = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini", "responseId": "r1"}
    return {"write": f"data: {json.dumps(data)}\r\n\r\n"}
