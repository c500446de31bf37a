"""Anthropic, and servers that speak its API."""

from __future__ import annotations

from typing import Any

import httpx2
from anthropic import AsyncAnthropic
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

from runtime.llm.providers.target import ModelTarget

ANTHROPIC_URL = "https://api.anthropic.com"


def build(target: ModelTarget, http: httpx2.AsyncClient) -> Model[Any]:
    """The model, over this client."""
    provider = AnthropicProvider(anthropic_client=_client(target, http))
    return AnthropicModel(target.name, provider=provider, settings=target.settings)


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
