"""A Pydantic AI model behind the plugin daemon."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse, check_allow_model_requests
from pydantic_ai.settings import ModelSettings

from runtime.llm.plugin_daemon.client import PluginDaemonClient
from runtime.llm.plugin_daemon.failures import Failures
from runtime.llm.plugin_daemon.messages import prompt_messages
from runtime.llm.plugin_daemon.request import CallIdentity, request_body
from runtime.llm.plugin_daemon.stream import PluginDaemonStreamedResponse
from runtime.llm.usage import UsageLedger
from runtime.llm.wire.history import without_blank_text


class PluginDaemonModel(Model[None]):
    """A model of a Dify plugin, for one run. None of its errors shows one of the ``secrets``.

    Raises a ``PluginDaemonError`` when a call fails. The usage of each call goes to the ledger when its stream ends,
    also when it fails after the plugin has told it.
    """

    # Files that a tool returns travel as the user's, since a tool message holds text only.
    _relocates_tool_files = True

    def __init__(
        self,
        client: PluginDaemonClient,
        *,
        tenant_id: str,
        plugin_id: str,
        user_id: str | None,
        provider: str,
        model: str,
        credentials: Mapping[str, Any],
        model_settings: ModelSettings | None,
        usage: UsageLedger,
        secrets: Sequence[str],
    ) -> None:
        super().__init__(settings=model_settings)
        self._client = client
        self._tenant_id = tenant_id
        self._plugin_id = plugin_id
        self._identity = CallIdentity(provider=provider, model=model, credentials=credentials, user_id=user_id)
        self._usage = usage
        self._secrets = [*secrets, client.api_key.get_secret_value()]

    @property
    def model_name(self) -> str:
        return self._identity.model

    @property
    def system(self) -> str:
        return self._identity.provider

    @property
    def base_url(self) -> str:
        return self._client.base_url

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Call the model and wait for its whole answer."""
        async with self.request_stream(messages, model_settings, model_request_parameters) as stream:
            async for _ in stream:
                pass
            return stream.get()

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Call the model and stream its answer."""
        check_allow_model_requests()
        settings, parameters = self.prepare_request(model_settings, model_request_parameters)
        failures = Failures(self.model_name, self._secrets)
        prompts = await prompt_messages(
            without_blank_text(messages), self._get_instruction_parts(messages, parameters) or []
        )
        body = request_body(self._identity, prompts, settings or {}, parameters)
        async with self._client.invoke_llm(
            tenant_id=self._tenant_id, plugin_id=self._plugin_id, body=body, failures=failures
        ) as reader:
            response = PluginDaemonStreamedResponse(
                model_request_parameters=parameters,
                _model_name=self.model_name,
                _provider_name=self.system,
                _provider_url=self.base_url,
                _body=reader,
                _failures=failures,
                _on_usage=self._usage.add,
                _merges_text=self._client.merges_text,
            )
            try:
                yield response
            finally:
                response.report_usage()
