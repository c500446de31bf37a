"""Google's Gemini API, and servers that speak it."""

from __future__ import annotations

import functools
import ssl
from typing import Any

import httpx2
from google.genai.client import Client
from google.genai.types import HttpOptions
from pydantic_ai.models import Model
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider

from runtime.llm.providers.client import ProviderClient
from runtime.llm.providers.target import ModelTarget
from runtime.llm.wire.google import GoogleWire

GOOGLE_URL = "https://generativelanguage.googleapis.com/"


def build(target: ModelTarget, client: ProviderClient) -> Model[Any]:
    """The model, over this client."""
    provider = GoogleProvider(client=_client(target, client.http(GoogleWire)))
    return GoogleModel(target.name, provider=provider, settings=target.settings)


def _client(target: ModelTarget, http: httpx2.AsyncClient) -> Client:
    return Client(
        vertexai=False,
        api_key=target.key,
        http_options=HttpOptions(
            base_url=target.base_url or GOOGLE_URL,
            httpx_async_client=http,
            # The package sends one time for all phases, in milliseconds, in the place of the client's own.
            timeout=int(http.timeout.read * 1000) if http.timeout.read is not None else None,
            client_args={"verify": _unused_tls()},
            async_client_args={"verify": _unused_tls(), "ssl": _unused_tls()},
        ),
    )


@functools.cache
def _unused_tls() -> ssl.SSLContext:
    """For the clients that the package makes beside ours and that are never used.

    Without one it loads the certificates anew, twice for each model: forty milliseconds in which the worker stands
    still. This context trusts nobody.
    """
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
