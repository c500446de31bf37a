"""A direct provider's model as a run sees it: its errors told plainly, its usage reported."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from runtime.llm.providers.errors import told_plainly
from runtime.llm.usage import ModelUsage, UsageLedger
from runtime.llm.wire.answer import AnswerStream
from runtime.llm.wire.history import without_blank_text


class DirectModel(WrapperModel):
    """A model for one run. Raises ProviderError when a call fails.

    The usage of each call goes to the ledger when its stream ends, also when it fails after the provider has told it.
    """

    def __init__(self, wrapped: Model[Any], name: str, usage: UsageLedger) -> None:
        super().__init__(wrapped)
        self._name = name
        self._ledger = usage

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
        began = time.perf_counter()
        with told_plainly(self._name):
            async with self.wrapped.request_stream(
                without_blank_text(messages), model_settings, model_request_parameters, run_context
            ) as answer:
                stream = AnswerStream(model_request_parameters=answer.model_request_parameters, _stream=answer)
                try:
                    yield stream
                finally:
                    self._report(stream, began)

    def _report(self, stream: StreamedResponse, began: float) -> None:
        usage = stream.usage
        latency = time.perf_counter() - began
        first = stream.time_to_first_chunk(began)
        self._ledger.add(
            ModelUsage(
                prompt_tokens=usage.input_tokens,
                completion_tokens=usage.output_tokens,
                total_tokens=usage.total_tokens,
                latency=latency,
                time_to_first_token=first,
                time_to_generate=None if first is None else latency - first,
            )
        )
