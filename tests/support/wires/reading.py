"""Reads scripted bytes with the real models in this process: without sockets thousands of answers take seconds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import httpx2
from pydantic import SecretStr
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters

from runtime.llm.plugin_daemon import PluginDaemonClient, PluginDaemonError, PluginDaemonModel
from runtime.llm.providers import ModelTarget, ProviderClient, ProviderError, build_model
from runtime.llm.usage import UsageLedger
from runtime.outbound.transport import OutboundTransport

BASE_URL = "https://models.example.com/v1"
PROMPT: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart("hi")])]


class ScriptedTransport(httpx2.AsyncBaseTransport):
    """A transport that answers each request with one body, in the given pieces."""

    def __init__(self, *bodies: Iterable[bytes], headers: dict[str, str] | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self._bodies = list(bodies)
        self._headers = {"content-type": "text/event-stream", **(headers or {})}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(json.loads(request.content))
        body = self._bodies[min(len(self.requests), len(self._bodies)) - 1]
        return httpx2.Response(200, headers=self._headers, stream=_Pieces(body))


class _Pieces(httpx2.AsyncByteStream):
    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = list(pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


@dataclass
class Heard:
    """The outcome of one answer: response, events, error and usage."""

    response: ModelResponse | None = None
    events: list[ModelResponseStreamEvent] = field(default_factory=list)
    error: Exception | None = None
    usage: UsageLedger = field(default_factory=UsageLedger)

    @property
    def reason(self) -> str | None:
        """Why it failed; None when it did not. Raises any error that is not a model's own."""
        match self.error:
            case None:
                return None
            case ProviderError():
                return self.error.reason
            case PluginDaemonError():
                return self.error.error_type
        raise self.error

    @property
    def parts(self) -> list[Any]:
        assert self.response is not None
        return list(self.response.parts)

    @property
    def text(self) -> str:
        return "".join(part.content for part in self.parts if isinstance(part, TextPart))

    @property
    def thinking(self) -> str:
        return "".join(part.content for part in self.parts if isinstance(part, ThinkingPart))

    @property
    def calls(self) -> tuple[tuple[str, str], ...]:
        calls = [part for part in self.parts if isinstance(part, ToolCallPart)]
        assert len({part.tool_call_id for part in calls}) == len(calls)
        assert all(part.tool_call_id.strip() for part in calls)
        return tuple((part.tool_name, _as_text(part.args)) for part in calls)

    @property
    def tokens(self) -> tuple[int, int]:
        total = self.usage.total()
        return (total.prompt_tokens, total.completion_tokens) if total is not None else (0, 0)

    @property
    def streamed(self) -> dict[int, Any]:
        """The parts, put together from the events as a client does it."""
        parts: dict[int, Any] = {}
        for event in self.events:
            if isinstance(event, PartStartEvent):
                parts[event.index] = event.part
            elif isinstance(event, PartDeltaEvent):
                parts[event.index] = event.delta.apply(parts[event.index])
        return parts


def _as_text(args: str | dict[str, Any] | None) -> str:
    if isinstance(args, dict):
        return json.dumps(args, ensure_ascii=False, separators=(",", ":"))
    return args or ""


def model_over(wire: str, transport: httpx2.AsyncBaseTransport, usage: UsageLedger, **target: Any) -> Model[Any]:
    """A model of this wire that sends its requests to the transport."""
    if wire == "plugin":
        return _plugin_model(transport, usage)
    client = ProviderClient()
    client._pools._make = lambda: cast(OutboundTransport, transport)
    return build_model([ModelTarget(**{"model": f"{wire}:model", "base_url": BASE_URL, **target})], client, usage)


def read(wire: str, *pieces: bytes, messages: list[ModelMessage] | None = None, **target: Any) -> Heard:
    """Reads a body, in these pieces, with the model of this wire."""
    return asyncio.run(hear(wire, pieces, messages, **target))


async def hear(wire: str, pieces: Iterable[bytes], messages: list[ModelMessage] | None = None, **target: Any) -> Heard:
    """The same as ``read``, on a running loop."""
    heard = Heard()
    model = model_over(wire, ScriptedTransport(pieces), heard.usage, **target)
    try:
        async with model.request_stream(messages or PROMPT, None, ModelRequestParameters()) as stream:
            try:
                async for event in stream:
                    heard.events.append(event)
            finally:
                heard.response = stream.get()
    except Exception as error:
        heard.error = error
    return heard


def _plugin_model(transport: httpx2.AsyncBaseTransport, usage: UsageLedger) -> PluginDaemonModel:
    client = PluginDaemonClient(
        base_url="http://daemon",
        api_key=SecretStr("key"),
        connect_timeout=1,
        read_timeout=1,
        write_timeout=1,
        pool_timeout=1,
        max_connections=9,
        max_keepalive_connections=9,
        keepalive_expiry=1,
    )
    client._http = httpx2.AsyncClient(transport=transport)
    return PluginDaemonModel(
        client,
        tenant_id="tenant",
        plugin_id="langgenius/openai",
        user_id=None,
        provider="openai",
        model="model",
        credentials={},
        secrets=[],
        model_settings=None,
        usage=usage,
    )
