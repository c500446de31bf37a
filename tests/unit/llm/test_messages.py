"""The conversation as prompt messages."""

from __future__ import annotations

import asyncio
import base64
import warnings
from typing import Any

import pytest
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    CachePoint,
    DocumentUrl,
    FilePart,
    ImageUrl,
    InstructionPart,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    RetryFeedbackPart,
    RetryInfo,
    RetryPromptPart,
    SystemPromptPart,
    TextContent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UploadedFile,
    UserContent,
    UserPromptPart,
    VideoUrl,
)

from runtime.llm.plugin_daemon.content import answered_file
from runtime.llm.plugin_daemon.messages import prompt_messages
from runtime.llm.wire.errors import WireError

PNG = b"\x89PNG"


def mapped(*messages: ModelMessage, instructions: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return asyncio.run(prompt_messages(messages, [InstructionPart(content=text) for text in instructions]))


def user_content(*items: UserContent) -> Any:
    return mapped(ModelRequest(parts=[UserPromptPart(content=list(items))]))[0]["content"]


def test_a_conversation_keeps_its_order() -> None:
    messages = mapped(
        ModelRequest(parts=[SystemPromptPart("be brief"), UserPromptPart("question")]),
        ModelResponse(parts=[TextPart("answer")]),
        ModelRequest(parts=[UserPromptPart("more")]),
    )

    assert messages == [
        {"role": "system", "content": "be brief", "name": None},
        {"role": "user", "content": "question", "name": None},
        {"role": "assistant", "content": "answer", "name": None, "tool_calls": []},
        {"role": "user", "content": "more", "name": None},
    ]


def test_instructions_follow_the_leading_system_messages() -> None:
    request = ModelRequest(parts=[SystemPromptPart("one"), SystemPromptPart("two"), UserPromptPart("question")])

    messages = mapped(request, instructions=("three", "four"))

    assert [message["content"] for message in messages] == ["one", "two", "three", "four", "question"]
    assert [message["role"] for message in messages] == ["system"] * 4 + ["user"]


def test_instructions_come_first_where_there_is_no_system_message() -> None:
    messages = mapped(ModelRequest(parts=[UserPromptPart("question")]), instructions=("be brief",))

    assert [message["content"] for message in messages] == ["be brief", "question"]


def test_a_tool_call_and_its_result_are_linked() -> None:
    messages = mapped(
        ModelResponse(parts=[ToolCallPart("search", {"q": "x"}, "call-1")]),
        ModelRequest(parts=[ToolReturnPart("search", "found", "call-1")]),
    )

    function = {"name": "search", "arguments": '{"q":"x"}'}
    assert messages == [
        {
            "role": "assistant",
            "content": "",
            "name": None,
            "tool_calls": [{"id": "call-1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "found", "name": "search", "tool_call_id": "call-1"},
    ]


@pytest.mark.parametrize(
    "parts",
    [[], [TextPart("")], [ThinkingPart("")], [FilePart(BinaryContent(PNG, media_type="image/png"))]],
)
def test_an_assistant_turn_without_text_and_calls_is_left_out(parts: list[Any]) -> None:
    assert mapped(ModelResponse(parts=parts)) == []


def test_thinking_is_sent_back_in_tags() -> None:
    messages = mapped(ModelResponse(parts=[ThinkingPart("hm"), TextPart("answer"), TextPart("more")]))

    assert messages[0]["content"] == "<think>\nhm\n</think>\n\nanswer\n\nmore"


def test_a_tool_that_asks_for_a_retry_answers_its_call() -> None:
    messages = mapped(ModelRequest(parts=[ToolReturnPart("f", "wrong", "1", outcome="retried")]))

    assert messages[0]["role"] == "tool"
    assert messages[0]["tool_call_id"] == "1"
    assert "wrong" in messages[0]["content"]


def test_old_retry_prompts_become_tool_messages_or_else_user_messages() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bound = RetryPromptPart("wrong", tool_name="f", tool_call_id="1")
        unbound = RetryPromptPart("wrong")

    messages = mapped(ModelRequest(parts=[bound, unbound]))

    assert [message["role"] for message in messages] == ["tool", "user"]
    assert all("wrong" in message["content"] for message in messages)


def test_no_content_is_ever_null() -> None:
    messages = mapped(
        ModelRequest(parts=[UserPromptPart(""), UserPromptPart([]), ToolReturnPart("f", None, "1")]),
        ModelResponse(parts=[ToolCallPart("f", None, "2")]),
    )

    assert [message["content"] for message in messages] == ["", "", "", ""]
    assert messages[3]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_texts_become_one_string() -> None:
    assert user_content("a") == "a"
    assert user_content("a", CachePoint(), TextContent("b")) == "a\n\nb"


def test_files_make_a_list_of_parts() -> None:
    content = user_content(
        "look",
        ImageUrl("https://x/y.png", identifier="id1", vendor_metadata={"detail": "high"}),
        BinaryContent(PNG, media_type="image/jpeg", identifier="id2"),
        AudioUrl("https://x/y.mp3", identifier="id3"),
        VideoUrl("https://x/y.mp4", identifier="id4"),
        DocumentUrl("https://x/y.pdf", identifier="id5"),
        BinaryContent(b"a,b", media_type="text/csv", identifier="id6"),
    )

    assert content == [
        {"type": "text", "data": "look"},
        {
            "type": "image",
            "format": "png",
            "base64_data": "",
            "url": "https://x/y.png",
            "mime_type": "image/png",
            "filename": "id1.png",
            "detail": "high",
        },
        {
            "type": "image",
            "format": "jpeg",
            "base64_data": base64.b64encode(PNG).decode(),
            "url": "",
            "mime_type": "image/jpeg",
            "filename": "id2.jpeg",
            "detail": "low",
        },
        {
            "type": "audio",
            "format": "mp3",
            "base64_data": "",
            "url": "https://x/y.mp3",
            "mime_type": "audio/mpeg",
            "filename": "id3.mp3",
        },
        {
            "type": "video",
            "format": "mp4",
            "base64_data": "",
            "url": "https://x/y.mp4",
            "mime_type": "video/mp4",
            "filename": "id4.mp4",
        },
        {
            "type": "document",
            "format": "pdf",
            "base64_data": "",
            "url": "https://x/y.pdf",
            "mime_type": "application/pdf",
            "filename": "id5.pdf",
        },
        {
            "type": "document",
            "format": "csv",
            "base64_data": base64.b64encode(b"a,b").decode(),
            "url": "",
            "mime_type": "text/csv",
            "filename": "id6.csv",
        },
    ]


def test_what_a_url_does_not_say_is_left_empty() -> None:
    [part] = user_content(ImageUrl("https://x/y", identifier="id"))

    assert (part["mime_type"], part["format"], part["filename"]) == ("", "", "id")


def test_a_format_without_a_known_name_is_the_media_subtype() -> None:
    [part] = user_content(BinaryContent(b"x", media_type="image/x-odd", identifier="id"))

    assert (part["format"], part["filename"]) == ("x-odd", "id.x-odd")


def test_files_of_a_tool_follow_in_a_user_message() -> None:
    image = BinaryContent(PNG, media_type="image/png", identifier="pic")

    messages = mapped(ModelRequest(parts=[ToolReturnPart("draw", ["done", image], "1")]))

    assert [message["role"] for message in messages] == ["tool", "user"]
    assert "See file pic." in messages[0]["content"]
    assert [part["type"] for part in messages[1]["content"]] == ["text", "image", "text"]


def test_an_uploaded_file_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be sent through the plugin daemon"):
        user_content(UploadedFile("file-1", "openai"))


def test_a_part_that_was_not_prepared_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="retry-feedback"):
        mapped(ModelRequest(parts=[RetryFeedbackPart("x", retry=RetryInfo(cause="model_retry"))]))


def answer_part(**fields: Any) -> dict[str, Any]:
    return {"type": "image", "base64_data": base64.b64encode(PNG).decode(), "url": "", **fields}


@pytest.mark.parametrize(
    ("fields", "media_type"),
    [
        ({"mime_type": "image/webp"}, "image/webp"),
        ({"mime_type": "", "format": "gif"}, "image/gif"),
        ({}, "image/png"),
        ({"type": "audio", "mime_type": None}, "audio/mpeg"),
        ({"type": "document", "format": "pdf"}, "application/octet-stream"),
    ],
)
def test_a_file_in_the_answer_becomes_a_part(fields: dict[str, Any], media_type: str) -> None:
    part = answered_file(answer_part(**fields))

    assert part.content.data == PNG
    assert part.content.media_type == media_type


@pytest.mark.parametrize("data", ["", None, 5, "not base64!", "YQ"])
def test_a_file_that_is_not_in_the_answer_is_refused(data: object) -> None:
    with pytest.raises(WireError):
        answered_file(answer_part(base64_data=data, url="https://x/y.png"))
