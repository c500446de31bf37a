"""Deferred tool calls: they end one run, and the request of the next run brings their results."""

from __future__ import annotations

from typing import Any

from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.tools import DeferredToolResults as AgentToolResults

from runtime.composition.composition import Composition
from runtime.layers.history import HistoryLayer
from runtime.layers.tool_layer import ToolLayer
from runtime.protocol.ask_human import NOT_ANSWERED
from runtime.protocol.requests import DeferredToolResults


def deferred_results(given: DeferredToolResults | None, history: HistoryLayer | None) -> AgentToolResults | None:
    """Returns the results of the calls that the history leaves open: the ``given`` ones, or that nobody has answered.

    The model is never shown a call without a result.
    """
    if given is not None:
        return AgentToolResults(calls=dict(given.calls), metadata=dict(given.metadata))
    unanswered = history.unanswered_calls() if history is not None else []
    if not unanswered:
        return None
    return AgentToolResults(
        calls={call.tool_call_id: NOT_ANSWERED.model_dump(mode="json", exclude_none=True) for call in unanswered}
    )


def deferred_tool_call(requests: DeferredToolRequests, composition: Composition) -> dict[str, Any]:
    """Returns the call that ended a run, for its terminal event."""
    (call,) = requests.calls  # the layers reject a second one
    layers = [layer for layer in composition.layers if isinstance(layer, ToolLayer)]
    (asking,) = [layer for layer in layers if call.tool_name in layer.deferred_tool_names()]
    return {
        "tool_call_id": call.tool_call_id,
        "tool_name": call.tool_name,
        "args": asking.deferred_args(call),
        "metadata": requests.metadata.get(call.tool_call_id, {}),
    }
