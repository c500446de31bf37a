"""The runner: one run from its entered composition to its end, on the worker's asyncio loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import AgentStreamEvent, ModelMessage, ModelRequest, SystemPromptPart
from pydantic_ai.run import AgentRunResult
from pydantic_ai.toolsets import AbstractToolset
from pydantic_ai.usage import UsageLimits

from runtime.composition.composition import Composition
from runtime.config import RunLimits
from runtime.execution.active_run import ActiveRun
from runtime.execution.failures import RunCannotProceed, failed_end
from runtime.execution.limits import check_limits
from runtime.layers.history import HistoryLayer
from runtime.layers.model_layer import MODEL_LAYER_NAME, ModelLayer
from runtime.layers.tool_layer import ToolLayer
from runtime.llm.clients import ModelClients
from runtime.llm.usage import ModelUsage, UsageLedger
from runtime.protocol.events import RunEnd
from runtime.protocol.redaction import Redactor

AnyModelLayer = ModelLayer[Any]


class Runner:
    """Executes runs. One Pydantic AI agent serves them all; what differs is given to each call."""

    def __init__(self, clients: ModelClients, *, default_model: AnyModelLayer | None, limits: RunLimits) -> None:
        self._clients = clients
        self._default_model = default_model
        self._limits = limits
        self._agent: Agent[None, str] = Agent(name="greenrun")
        self._usage_limits = UsageLimits(request_limit=limits.model_requests)

    async def execute(self, run: ActiveRun) -> RunEnd:
        """How the run ended by itself. A cancelled run raises CancelledError."""
        model_layer = _model_layer(run.composition) or self._default_model
        redactor = Redactor(run.composition.secrets() + (model_layer.secrets() if model_layer else []))
        usage = UsageLedger()
        deadline = asyncio.timeout(self._limits.seconds)
        try:
            async with deadline, run.composition.entered():
                result = await self._call_model(run, model_layer, usage)
            return RunEnd.succeeded(
                output=result.output,
                snapshot=run.composition.snapshot().model_dump(mode="json"),
                usage=_total_usage(usage, result).model_dump(mode="json"),
            )
        except TimeoutError as error:
            return self._timed_out() if deadline.expired() else failed_end(run.run_id, error, redactor)
        except Exception as error:
            return failed_end(run.run_id, error, redactor)

    async def _call_model(
        self, run: ActiveRun, model_layer: AnyModelLayer | None, usage: UsageLedger
    ) -> AgentRunResult[str]:
        if model_layer is None:
            raise RunCannotProceed(f"the composition has no layer named {MODEL_LAYER_NAME}, and no default is set")
        composition = run.composition
        history = _history_layer(composition)
        result = await self._agent.run(
            _user_prompt(composition.user_prompts()),
            model=model_layer.create_model(self._clients, usage),
            message_history=_messages(composition.system_prompts(), history),
            toolsets=self._toolsets(composition, model_layer),
            usage_limits=self._usage_limits,
            event_stream_handler=_event_writer(run, self._limits),
            infer_name=False,
        )
        if history is not None:
            history.append(result.new_messages())
        return result

    def _timed_out(self) -> RunEnd:
        return RunEnd.failed(f"the run took longer than {self._limits.seconds:g} seconds", reason="timeout")

    def _toolsets(self, composition: Composition, model_layer: AnyModelLayer) -> list[AbstractToolset[None]] | None:
        layers = [layer for layer in composition.layers if isinstance(layer, ToolLayer)]
        if model_layer is self._default_model:
            layers.append(model_layer)
        return [toolset for layer in layers for toolset in layer.toolsets(self._clients)] or None


def _model_layer(composition: Composition) -> AnyModelLayer | None:
    return next((layer for layer in composition.layers if isinstance(layer, ModelLayer)), None)


def _history_layer(composition: Composition) -> HistoryLayer | None:
    return next((layer for layer in composition.layers if isinstance(layer, HistoryLayer)), None)


def _event_writer(run: ActiveRun, limits: RunLimits) -> Any:
    async def write_events(_: RunContext[None], events: AsyncIterable[AgentStreamEvent]) -> None:
        async for event in events:
            check_limits(event, limits)
            encoded = run.encoder.agent_event(event)
            if encoded is not None:
                run.log.append(encoded)
                if run.log.is_full:
                    await run.log.wait_for_room()

    return write_events


def _user_prompt(prompts: list[str]) -> str | list[str]:
    """One text goes as a string, several as a list."""
    return prompts[0] if len(prompts) == 1 else prompts


def _messages(system_prompts: list[str], history: HistoryLayer | None) -> list[ModelMessage]:
    """The system prompts of this run, which are not stored, before the stored messages."""
    messages: list[ModelMessage] = []
    if system_prompts:
        messages.append(ModelRequest(parts=[SystemPromptPart(text) for text in system_prompts]))
    if history is not None:
        messages.extend(history.state.messages)
    return messages


def _total_usage(usage: UsageLedger, result: AgentRunResult[str]) -> ModelUsage:
    """What the model reported of its calls, or the tokens that Pydantic AI counted."""
    total = usage.total()
    if total is not None:
        return total
    counted = result.usage
    return ModelUsage(
        prompt_tokens=counted.input_tokens,
        completion_tokens=counted.output_tokens,
        total_tokens=counted.input_tokens + counted.output_tokens,
    )
