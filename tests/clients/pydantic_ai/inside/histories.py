"""Histories as a server with this version keeps them in its snapshots: made by its agent, and read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_ai import Agent, DeferredToolRequests, ExternalToolset, ModelRetry
from pydantic_ai.messages import (
    BinaryContent,
    FilePart,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.tools import ToolDefinition

QUESTION = {"question": "Go on?"}


class Kept(BaseModel):
    """The state of the history layer. It forbids unknown keys at every depth."""

    model_config = ConfigDict(extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    messages: list[ModelMessage]


def make(_: object = None) -> dict[str, Any]:
    """Makes a session whose last run has answered, and one whose last run waits for a human."""
    return {"answered": _answered(), "waiting": _waiting()}


def read(histories: list[list[Any]]) -> list[dict[str, Any]]:
    """The problems in reading each history, and its content: the kind, tool call and text of each part."""
    return [_read(messages) for messages in histories]


def _read(messages: list[Any]) -> dict[str, Any]:
    try:
        kept = Kept.model_validate_json(json.dumps({"messages": messages}))
        ModelMessagesTypeAdapter.validate_python(messages)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in error.errors(include_url=False)]
        return {"problems": problems, "messages": []}
    return {"problems": [], "messages": [[_said(part) for part in message.parts] for message in kept.messages]}


def _said(part: Any) -> list[str | None]:
    content = getattr(part, "content", None)
    return [part.part_kind, getattr(part, "tool_call_id", None), content if isinstance(content, str) else None]


def _answered() -> list[Any]:
    agent = Agent(
        _model(
            [
                ThinkingPart("hm, comets", signature="c2lnbmVk", provider_name="function"),
                TextPart("Let me see."),
                ToolCallPart("lookup", {"query": "comets"}, "call-1"),
                ToolCallPart("no_such_tool", {}, "call-2"),
            ],
            [ToolCallPart("picky", '{"query": "comets"}', "call-3")],
            [FilePart(BinaryContent(b"\x89PNG\xff", media_type="image/png")), TextPart("Two comets.")],
        )
    )

    @agent.tool_plain
    def lookup(query: str) -> dict[str, Any]:
        return {"found": [query, {"kind": "comet", "size": 1.5}], "more": None}

    @agent.tool_plain
    def picky(query: str) -> str:
        raise ModelRetry("ask for one comet")

    return _kept(agent.run_sync(["How many comets?", "Be brief."]).new_messages())


def _waiting() -> list[Any]:
    ask = ToolDefinition(name="ask_human", parameters_json_schema={"type": "object"})
    agent = Agent(
        _model([ToolCallPart("ask_human", QUESTION, "call-1")]),
        output_type=[str, DeferredToolRequests],
        toolsets=[ExternalToolset([ask])],
    )
    return _kept(agent.run_sync("Deploy it.").new_messages())


def _model(*responses: list[ModelResponsePart]) -> FunctionModel:
    remaining: Iterator[list[ModelResponsePart]] = iter(responses)

    def answer(_: list[ModelMessage], __: AgentInfo) -> ModelResponse:
        return ModelResponse(parts=next(remaining))

    return FunctionModel(answer)


def _kept(messages: list[ModelMessage]) -> list[Any]:
    return list(Kept(messages=messages).model_dump(mode="json")["messages"])
