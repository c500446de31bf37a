"""Models tried in order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.exceptions import FallbackExceptionGroup
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import ModelRequestParameters, StreamedResponse
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.settings import ModelSettings

from runtime.llm.providers.errors import ProviderError
from runtime.llm.providers.model import DirectModel


class ModelChain(FallbackModel):
    """The next model is tried when one fails in a way that passes on and has not streamed anything yet.

    Every request of a run begins with the first model again. Raises ProviderError: that of the model that ended it,
    or one that tells of all of them when each passed on.
    """

    def __init__(self, models: Sequence[DirectModel]) -> None:
        super().__init__(*models, fallback_on=_passes_on)

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Ask the models in order for a whole answer."""
        try:
            return await super().request(messages, model_settings, model_request_parameters)
        except FallbackExceptionGroup as group:
            raise _all_failed(group) from group

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Ask the models in order for an answer that begins, and stream it."""
        try:
            async with super().request_stream(
                messages, model_settings, model_request_parameters, run_context
            ) as stream:
                yield stream
        except FallbackExceptionGroup as group:
            raise _all_failed(group) from group


def _passes_on(error: Exception) -> bool:
    return isinstance(error, ProviderError) and error.passes_on


def _all_failed(group: FallbackExceptionGroup) -> ProviderError:
    errors = [error for error in group.exceptions if isinstance(error, ProviderError)]
    names = ", ".join(error.model_name for error in errors)
    texts = "; ".join(str(error) for error in errors)
    return ProviderError(names, f"all models failed: {texts}", reason=errors[-1].reason, passes_on=True)
