"""The runner: executes one run from its entered composition to its end, on the worker's asyncio loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from dataclasses import replace
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import AgentStreamEvent, ModelMessage, ModelRequest, SystemPromptPart
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.toolsets import AbstractToolset
from pydantic_ai.usage import UsageLimits

from runtime.composition.composition import Composition
from runtime.config import RunLimits
from runtime.execution.active_run import ActiveRun
from runtime.execution.checked_output import LIBRARY_RETRIES, CheckedOutputs
from runtime.execution.deferral import deferred_results, deferred_tool_call
from runtime.execution.failures import RunCannotProceed, failed_end
from runtime.execution.limits import check_limits
from runtime.layers.dify_output import DifyOutputLayer
from runtime.layers.history import HistoryLayer
from runtime.layers.model_layer import MODEL_LAYER_NAME, ModelLayer
from runtime.layers.tool_layer import ToolLayer
from runtime.llm.clients import ModelClients
from runtime.llm.usage import ModelUsage, UsageLedger
from runtime.protocol.events import RunEnd
from runtime.protocol.redaction import Redactor

AnyModelLayer = ModelLayer[Any]
AgentOutput = str | dict[str, Any] | DeferredToolRequests


class Runner:
    """Executes runs. They all share one Pydantic AI agent; what differs between runs is passed to each call."""

    def __init__(self, clients: ModelClients, *, default_model: AnyModelLayer | None, limits: RunLimits) -> None:
        self._clients = clients
        self._default_model = default_model
        self._limits = limits
        self._agent: Agent[None, AgentOutput] = Agent(name="greenrun", output_type=[str, DeferredToolRequests])
        self._usage_limits = UsageLimits(request_limit=limits.model_requests)

    async def execute(self, run: ActiveRun) -> RunEnd:
        """Returns how the run ended by itself. Raises CancelledError for a cancelled run."""
        model_layer = _model_layer(run.composition) or self._default_model
        redactor = Redactor(run.composition.secrets() + (model_layer.secrets() if model_layer else []))
        usage = UsageLedger()
        outputs = _checked_outputs(run)
        deadline = asyncio.timeout(self._limits.seconds)
        try:
            async with deadline, run.composition.entered():
                result = None if run.is_cleanup else await self._call_model(run, model_layer, usage, outputs)
            end = _success(run.composition, result, usage)
        except Exception as error:
            if isinstance(error, TimeoutError) and deadline.expired():
                end = self._timed_out()
            else:
                end = failed_end(run.run_id, error, redactor)
        return replace(end, output_validation=outputs.report(redactor)) if outputs is not None else end

    async def _call_model(
        self,
        run: ActiveRun,
        model_layer: AnyModelLayer | None,
        usage: UsageLedger,
        outputs: CheckedOutputs | None,
    ) -> AgentRunResult[AgentOutput]:
        if model_layer is None:
            raise RunCannotProceed(f"the composition has no layer named {MODEL_LAYER_NAME}, and no default is set")
        composition = run.composition
        history = _history_layer(composition)
        result: AgentRunResult[AgentOutput] = await self._agent.run(
            _user_prompt(composition.user_prompts()) if run.deferred_results is None else None,
            deferred_tool_results=deferred_results(run.deferred_results, history),
            model=model_layer.create_model(self._clients, usage),
            message_history=_messages(composition.system_prompts(), history),
            toolsets=self._toolsets(composition, model_layer),
            usage_limits=self._usage_limits,
            event_stream_handler=_event_writer(run, self._limits),
            infer_name=False,
            **_output_options(outputs),
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


def _checked_outputs(run: ActiveRun) -> CheckedOutputs | None:
    layers = [layer for layer in run.composition.layers if isinstance(layer, DifyOutputLayer)]
    return CheckedOutputs(layers[0], run.record.dialect) if layers and not run.is_cleanup else None


def _output_options(outputs: CheckedOutputs | None) -> dict[str, Any]:
    """Returns the agent's options to answer with the output tool instead of text."""
    if outputs is None:
        return {}
    return {
        "output_type": [outputs.output_type, DeferredToolRequests],
        "capabilities": [outputs],
        "retries": {"output": LIBRARY_RETRIES},
    }


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
    """Returns one text as a string and several as a list."""
    return prompts[0] if len(prompts) == 1 else prompts


def _messages(system_prompts: list[str], history: HistoryLayer | None) -> list[ModelMessage]:
    """Returns this run's system prompts, which are not stored, followed by the stored messages."""
    messages: list[ModelMessage] = []
    if system_prompts:
        messages.append(ModelRequest(parts=[SystemPromptPart(text) for text in system_prompts]))
    if history is not None:
        messages.extend(history.state.messages)
    return messages


def _success(composition: Composition, result: AgentRunResult[AgentOutput] | None, usage: UsageLedger) -> RunEnd:
    """Returns the end of a run that no error has stopped. ``result`` is None if no model was called."""
    snapshot = composition.snapshot().model_dump(mode="json")
    if result is None:
        return RunEnd.succeeded(output=None, snapshot=snapshot, usage=None)
    total = _total_usage(usage, result).model_dump(mode="json")
    if isinstance(result.output, DeferredToolRequests):
        return RunEnd.deferred(call=deferred_tool_call(result.output, composition), snapshot=snapshot, usage=total)
    return RunEnd.succeeded(output=result.output, snapshot=snapshot, usage=total)


def _total_usage(usage: UsageLedger, result: AgentRunResult[AgentOutput]) -> ModelUsage:
    """Returns the usage that the model reported for its calls, or else the tokens that Pydantic AI counted."""
    total = usage.total()
    if total is not None:
        return total
    counted = result.usage
    return ModelUsage(
        prompt_tokens=counted.input_tokens,
        completion_tokens=counted.output_tokens,
        total_tokens=counted.input_tokens + counted.output_tokens,
    )
