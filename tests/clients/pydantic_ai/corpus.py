"""Stream events of every kind with everything that Pydantic AI allows in them, even if no run writes it today."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_ai.messages import (
    AgentStreamEvent,
    AudioUrl,
    BinaryContent,
    CachePoint,
    Citation,
    CompactionPart,
    DocumentUrl,
    EnqueuedMessagesEvent,
    FilePart,
    FinalResultEvent,
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelRequestAttempt,
    ModelResponse,
    ModelResponsePart,
    NativeToolCallPart,
    NativeToolReturnPart,
    OutputToolCallEvent,
    OutputToolResultEvent,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    RetryFeedbackPart,
    RetryInfo,
    SpeechPart,
    SpeechPartDelta,
    StructuredContent,
    SystemPromptPart,
    TextContent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
    ToolReturnPart,
    UploadedFile,
    UserPromptPart,
    VideoUrl,
    WebCitationSource,
    WorkspaceRef,
)
from pydantic_ai.usage import RequestUsage

MADE_AT = datetime(2026, 8, 10, 12, 0, tzinfo=UTC)
PROVIDER: dict[str, Any] = {"provider_name": "scripted", "provider_details": {"kind": "text", "nested": [{"kind": 1}]}}
CITATIONS = [Citation(sources=[WebCitationSource(url="https://example.org", title="Example")])]
IMAGE = BinaryContent(b"\x89PNG\xff", media_type="image/png", vendor_metadata={"detail": "low"})
FILES: list[Any] = [
    IMAGE,
    BinaryContent(b"text", media_type="text/plain"),
    ImageUrl("https://example.org/a.png", force_download="allow-local"),
    AudioUrl("https://example.org/a.mp3"),
    VideoUrl("https://example.org/a.mp4"),
    DocumentUrl("https://example.org/a.pdf", vendor_metadata={"pages": 1}),
    DocumentUrl("https://example.org/without-an-extension"),
    UploadedFile(file_id="file-1", provider_name="openai"),
]
FREE: dict[str, Any] = {
    "kind": "image-url",
    "url": "https://example.org/of-a-tool.png",
    "caption": "no file of Pydantic AI",
    "rows": [{"kind": "binary"}, {"part_kind": "text", "event_kind": "none"}, 1.5, None, True],
}
CALL = ToolCallPart("lookup", {"q": 1, "kind": "text", "nested": {"part_kind": "file"}}, "call-1", id="i", **PROVIDER)

PARTS: list[ModelResponsePart] = [
    TextPart("a", id="i", citations=CITATIONS, **PROVIDER),
    ThinkingPart("a", id="i", signature="s", **PROVIDER),
    CALL,
    ToolCallPart("search_tools", {"queries": ["a"]}, "call-2", tool_kind="tool-search"),
    ToolCallPart("later", "{", "call-3", tool_kind="newer-kind"),
    NativeToolCallPart("web_search", {"q": 1}, "call-4", **PROVIDER),
    NativeToolReturnPart("web_search", [FREE, *FILES], "call-4", timestamp=MADE_AT, outcome="interrupted", **PROVIDER),
    NativeToolReturnPart("search", {"found": 1}, "call-5", timestamp=MADE_AT, tool_kind="tool-search"),
    CompactionPart("summary", metadata={"a": 1}, **PROVIDER),
    FilePart(IMAGE, id="i", **PROVIDER),
    SpeechPart(speaker="assistant", transcript="hello"),
]


def result(content: Any = "found", **rest: Any) -> ToolReturnPart:
    return ToolReturnPart("lookup", content, "call-1", timestamp=MADE_AT, **rest)


RESULTS: list[ToolReturnPart] = [
    result(),
    result(FREE, metadata=FREE),
    result([FREE, *FILES, {"deep": FILES}]),
    result(None, outcome="denied"),
    result("x", outcome="failed"),
    result("x", outcome="interrupted"),
    result("try again", outcome="retried", retry=RetryInfo(cause="model_retry", attempt=1, max_retries=2)),
    result([{"type": "missing", "loc": ["q"], "msg": "m", "input": {}}], outcome="retried"),
    result("x", tool_kind="newer-kind"),
]

USER_CONTENT: list[Any] = [
    "text",
    TextContent("t", metadata=FREE),
    *FILES,
    CachePoint(),
    StructuredContent({"a": 1}),
]

EVENTS: list[AgentStreamEvent] = [
    *(PartStartEvent(index=0, part=part, canonical_system="scripted", previous_part_kind="text") for part in PARTS),
    PartStartEvent(index=1, part=TextPart("a"), previous_part_kind="speech"),
    *(PartEndEvent(index=0, part=part, canonical_system="scripted", next_part_kind="tool-call") for part in PARTS),
    PartEndEvent(index=0, part=TextPart("a"), next_part_kind="speech"),
    PartDeltaEvent(index=0, delta=TextPartDelta("b", citations_delta=CITATIONS, **PROVIDER)),
    PartDeltaEvent(index=0, delta=ThinkingPartDelta(content_delta="b", signature_delta="s", **PROVIDER)),
    PartDeltaEvent(
        index=0, delta=ToolCallPartDelta(tool_name_delta="n", args_delta="{", tool_call_id="call-1", **PROVIDER)
    ),
    PartDeltaEvent(index=0, delta=SpeechPartDelta(transcript_delta="b")),
    FinalResultEvent(tool_name="final_output", tool_call_id="call-1"),
    FunctionToolCallEvent(CALL, args_valid=False),
    *(FunctionToolResultEvent(part) for part in RESULTS),
    FunctionToolResultEvent(result(), content="look at this"),
    FunctionToolResultEvent(result(), content=USER_CONTENT),
    OutputToolCallEvent(CALL, args_valid=True),
    *(OutputToolResultEvent(part) for part in RESULTS),
    EnqueuedMessagesEvent(enqueue_id="e1", messages=(ModelRequest(parts=[UserPromptPart("hello")]),)),
]

MESSAGES: list[ModelMessage] = [
    ModelRequest(
        parts=[
            SystemPromptPart("s", dynamic_ref="d", metadata={"a": 1}, context_id="c"),
            UserPromptPart("hello"),
            UserPromptPart(USER_CONTENT),
            *RESULTS,
            RetryFeedbackPart("again", retry=RetryInfo(cause="model_retry")),
            RetryFeedbackPart(
                [{"type": "missing", "loc": ("q",), "msg": "m", "input": {}}], retry=RetryInfo(cause="validation_error")
            ),
        ],
        instructions="i",
        timestamp=MADE_AT,
        run_id="r",
        conversation_id="c",
        metadata=FREE,
        state="interrupted",
    ),
    ModelResponse(
        parts=PARTS,
        usage=RequestUsage(input_tokens=1, output_tokens=2, cache_write_tokens=3, details={"a": 1}),
        model_name="m",
        provider_url="https://example.org",
        provider_response_id="p",
        finish_reason="stop",
        canonical_system="scripted",
        workspace_ref=WorkspaceRef(id="w", provider="p"),
        failed_attempts=[
            ModelRequestAttempt(model_name="m", timestamp=MADE_AT, duration=timedelta(seconds=1), outcome="error")
        ],
        metadata=FREE,
        state="suspended",
        **PROVIDER,
    ),
    ModelRequest(parts=[RetryFeedbackPart("again", retry=RetryInfo(cause="model_retry"))]),
]
