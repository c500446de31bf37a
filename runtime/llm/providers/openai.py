"""OpenAI, and every server that speaks its API: vLLM, Ollama, gateways."""

from __future__ import annotations

from typing import Any

import httpx2
from openai import AsyncOpenAI
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers import Provider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

from runtime.llm.providers.target import ModelTarget

OPENAI_URL = "https://api.openai.com/v1"
RESPONSES = "openai-responses"

# A stream that ends without a reason to finish was cut off, however politely the connection was closed.
WHOLE_ANSWERS = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)


def build(target: ModelTarget, http: httpx2.AsyncClient) -> Model[Any]:
    """The model, over this client."""
    provider = _provider(target, _client(target, http))
    if target.prefix == RESPONSES:
        return OpenAIResponsesModel(target.name, provider=provider, settings=target.settings)
    return OpenAIChatModel(target.name, provider=provider, profile=WHOLE_ANSWERS, settings=target.settings)


def _provider(target: ModelTarget, client: AsyncOpenAI) -> Provider[AsyncOpenAI]:
    """Elsewhere than at OpenAI a model has what such servers have in common, and not what only OpenAI can do."""
    if target.base_url is None:
        return OpenAIProvider(openai_client=client)
    return OpenAICompatibleProvider("openai-compatible", openai_client=client)


def _client(target: ModelTarget, http: httpx2.AsyncClient) -> AsyncOpenAI:
    client = AsyncOpenAI(
        api_key=target.key,
        base_url=target.base_url or OPENAI_URL,
        http_client=http,
        max_retries=0,  # what is tried again, and where, the fallback models say
    )
    # The package takes these from the server's environment; a request must not carry them anywhere.
    client.admin_api_key = client.organization = client.project = client.webhook_secret = None
    client._custom_headers = {}
    return client
