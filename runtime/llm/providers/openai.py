"""OpenAI, and every server that speaks its API: vLLM, Ollama, gateways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import httpx2
from openai import AsyncOpenAI, omit
from pydantic_ai.models import Model
from pydantic_ai.models.openai import (
    OpenAIChatModel,
    OpenAIChatModelSettings,
    OpenAIResponsesModel,
    OpenAIStreamedResponse,
)
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers import Provider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

from runtime.llm.providers.client import ProviderClient
from runtime.llm.providers.target import ModelTarget
from runtime.llm.wire.chat import ChatWire
from runtime.llm.wire.responses import ResponsesWire

OPENAI_URL = "https://api.openai.com/v1"
RESPONSES = "openai-responses"

FULL_HOSTS = ("api.openai.com", "openai.azure.com")
"""Hosts, with all below them, whose servers take all that OpenAI's own does."""

# A stream that ends without a reason to finish was cut off, however politely the connection was closed.
openai_wire = partial(ChatWire, ends_with_done=False)
# Some servers give no reason, and only the mark behind the last event.
generic_wire = partial(ChatWire, ends_with_done=True)

GENERIC = OpenAIModelProfile(
    openai_chat_supports_max_completion_tokens=False,
    openai_chat_supports_multiple_system_messages=False,
    openai_supports_strict_tool_definition=False,
    openai_supports_encrypted_reasoning_content=False,
    openai_supports_phase=False,
    openai_system_prompt_role="system",
)
"""What servers that speak OpenAI's API have in common, whatever the model they serve is called."""

OWN_THINK_TAGS = ("", "")
"""Tags that no text holds: thinking is told from text where all providers' answers pass."""


def build(target: ModelTarget, client: ProviderClient) -> Model[Any]:
    """The model, over this client."""
    is_generic = _is_generic(target)
    profile = GENERIC if is_generic else OpenAIModelProfile()
    if target.prefix == RESPONSES:
        provider = _provider(target, _client(target, client.http(ResponsesWire)))
        return OpenAIResponsesModel(target.name, provider=provider, profile=profile, settings=target.settings)
    wire = generic_wire if is_generic else openai_wire
    provider = _provider(target, _client(target, client.http(wire)))
    model = _GenericChatModel if is_generic else _ChatModel
    return model(target.name, provider=provider, profile=profile, settings=target.settings)


@dataclass
class _ChatStream(OpenAIStreamedResponse):
    def __post_init__(self) -> None:
        profile = OpenAIModelProfile(thinking_tags=OWN_THINK_TAGS)
        self._model_profile = cast(OpenAIModelProfile, {**self._model_profile, **profile})
        # The wire tells the usage so far, however the server told it.
        settings = OpenAIChatModelSettings(openai_continuous_usage_stats=True)
        self._model_settings = cast(OpenAIChatModelSettings, {**(self._model_settings or {}), **settings})


class _ChatModel(OpenAIChatModel):
    @property
    def _streamed_response_cls(self) -> type[OpenAIStreamedResponse]:
        return _ChatStream


class _GenericChatModel(_ChatModel):
    def _get_stream_options(self, model_settings: OpenAIChatModelSettings) -> Any:
        return omit  # such a server may refuse them; ``extra_body`` can ask for them


def _is_generic(target: ModelTarget) -> bool:
    if target.compatibility is not None:
        return target.compatibility == "generic"
    if target.base_url is None:
        return False
    host = httpx2.URL(target.base_url).host.lower().rstrip(".")
    return not any(host == known or host.endswith(f".{known}") for known in FULL_HOSTS)


def _provider(target: ModelTarget, client: AsyncOpenAI) -> Provider[AsyncOpenAI]:
    """Elsewhere than at OpenAI a model has what such servers have in common, and not what only OpenAI can do."""
    if not _is_generic(target):
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
