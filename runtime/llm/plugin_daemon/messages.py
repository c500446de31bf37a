"""The conversation as the daemon's prompt messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from pydantic_ai.messages import (
    CachePoint,
    InstructionPart,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextContent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)

# What every adapter of the library does first: it turns deprecated and compacted parts into those handled here.
from pydantic_ai.models import _sendable_request_parts

from runtime.llm.plugin_daemon.content import prompt_file
from runtime.llm.unsupported import UnsupportedRequest
from runtime.llm.wire.thinking import think_block

PromptMessage = dict[str, Any]

PARAGRAPH = "\n\n"
"""Between texts that were separate parts of one message."""


async def prompt_messages(
    messages: Sequence[ModelMessage], instructions: Sequence[InstructionPart]
) -> list[PromptMessage]:
    """The messages in their order, with the instructions after the leading system messages.

    Raises UnsupportedRequest for parts that a plugin cannot be told of.
    """
    mapped: list[PromptMessage] = []
    for message in messages:
        if isinstance(message, ModelResponse):
            mapped.extend(_assistant_messages(message))
        else:
            mapped.extend([prompt async for prompt in _request_messages(message)])
    leading = next((index for index, prompt in enumerate(mapped) if prompt["role"] != "system"), len(mapped))
    mapped[leading:leading] = [_system_message(part.content) for part in instructions]
    return mapped


def _system_message(text: str) -> PromptMessage:
    return {"role": "system", "content": text, "name": None}


async def _request_messages(message: ModelRequest) -> AsyncIterator[PromptMessage]:
    files: list[UserContent] = []
    for part in _sendable_request_parts(message.parts):
        match part:
            case SystemPromptPart():
                yield _system_message(part.content)
            case UserPromptPart():
                yield await _user_message(part.content)
            case ToolReturnPart():
                text, returned_files = part.model_response_str_and_user_content()
                files.extend(returned_files)
                yield {
                    "role": "tool",
                    "content": text,
                    "name": part.tool_name,
                    "tool_call_id": part.tool_call_id,
                }
            case _:
                raise UnsupportedRequest(
                    f"A {part.part_kind!r} part cannot be sent to a model as it is: "
                    "pass the messages through the model's prepare_messages() first."
                )
    if files:
        # A tool message holds text only, so what a tool returned besides follows as the user's.
        yield await _user_message(files)


async def _user_message(content: str | Sequence[UserContent]) -> PromptMessage:
    return {"role": "user", "content": await _user_content(content), "name": None}


async def _user_content(content: str | Sequence[UserContent]) -> str | list[dict[str, Any]]:
    """One string when all of it is text, which every plugin understands; else a list of parts."""
    if isinstance(content, str):
        return content
    parts: list[dict[str, Any]] = []
    for item in content:
        if isinstance(item, str):
            parts.append({"type": "text", "data": item})
        elif isinstance(item, TextContent):
            parts.append({"type": "text", "data": item.content})
        elif not isinstance(item, CachePoint):
            parts.append(await prompt_file(item))
    if all(part["type"] == "text" for part in parts):
        return PARAGRAPH.join(part["data"] for part in parts)
    return parts


def _assistant_messages(message: ModelResponse) -> list[PromptMessage]:
    """The model's turn, or nothing when there is neither text nor a tool call in it.

    Files that a model generated are not sent back: most plugins take text only here.
    """
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case TextPart():
                texts.append(part.content)
            case ThinkingPart(content=thinking) if thinking:
                texts.append(think_block(thinking))
            case ToolCallPart():
                function = {"name": part.tool_name, "arguments": part.args_as_json_str()}
                calls.append({"id": part.tool_call_id, "type": "function", "function": function})
    content = PARAGRAPH.join(text for text in texts if text)
    if not content and not calls:
        return []
    # The daemon refuses null where a content is due.
    return [{"role": "assistant", "content": content, "name": None, "tool_calls": calls}]
