"""Anthropic, and servers that speak its API."""

from __future__ import annotations

from typing import Any

import httpx2
from anthropic import AsyncAnthropic
from pydantic_ai.messages import ModelResponse, ThinkingPart
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

from runtime.llm.providers.client import ProviderClient
from runtime.llm.providers.target import ModelTarget
from runtime.llm.wire.anthropic import AnthropicWire

ANTHROPIC_URL = "https://api.anthropic.com"


def build(target: ModelTarget, client: ProviderClient) -> Model[Any]:
    """The model, over this client."""
    provider = AnthropicProvider(anthropic_client=_client(target, client.http(AnthropicWire)))
    model = AnthropicModel if target.base_url is None else _CompatibleModel
    return model(target.name, provider=provider, settings=target.settings)


class _CompatibleModel(AnthropicModel):
    """A model of a server that speaks the API. Some sign no thinking, and still want it back as thinking."""

    def _map_thinking_part(
        self,
        message: ModelResponse,
        part: ThinkingPart,
        assistant_content_params: list[Any],
        carried_thinking_params: list[Any],
    ) -> None:
        is_own = part.provider_name == self.system and message.provider_url == self.base_url
        if is_own and part.content and not part.signature:
            assistant_content_params.append({"type": "thinking", "thinking": part.content, "signature": ""})
        else:
            super()._map_thinking_part(message, part, assistant_content_params, carried_thinking_params)


def _client(target: ModelTarget, http: httpx2.AsyncClient) -> AsyncAnthropic:
    client = AsyncAnthropic(
        api_key=target.key,
        base_url=target.base_url or ANTHROPIC_URL,
        http_client=http,
        max_retries=0,  # what is tried again, and where, the fallback models say
        open_telemetry=False,
    )
    # The package takes these from the server's environment; a request must not carry them anywhere.
    client.webhook_key = None
    client._custom_headers = {}
    return client
