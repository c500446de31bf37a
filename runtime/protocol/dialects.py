"""Dialects: the event shapes that Dify's published clients of different dates accept.

The clients' models forbid unknown keys, so one shape cannot serve them all. A run's dialect is chosen when the run is
accepted, and applied when an event or the record is written. Readers forward bytes and need not know the dialect.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from runtime.protocol.requests import CreateRunRequest, LayerSpec


class Dialect(StrEnum):
    """The date of a Dify client, or ``current`` for Greenrun's own and all other clients."""

    MAY_14 = "2026-05-14"
    MAY_27 = "2026-05-27"
    JUNE_16 = "2026-06-16"
    JULY_17 = "2026-07-17"
    AUGUST_10 = "2026-08-10"
    CURRENT = "current"

    @property
    def is_dated(self) -> bool:
        """Whether this is the dialect of a Dify client."""
        return self is not Dialect.CURRENT


_MAY_KINDS = frozenset(
    {"part_start", "part_delta", "part_end", "final_result", "function_tool_call", "function_tool_result"}
)
_AUGUST_KINDS = _MAY_KINDS | {"output_tool_call", "output_tool_result"}

_TOKEN_KEYS = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})


@dataclass(frozen=True, slots=True)
class DialectRules:
    """The wire format of one dialect. The defaults are what the dialects of 2026 have in common."""

    message_delta: bool = False
    """Whether an agent event has ``agent_message_delta`` beside its data."""
    usage_keys: frozenset[str] | None = frozenset()
    """The keys of a success's ``usage``: an empty set means no usage, None means all keys."""
    error_type: bool = False
    cancelled_event: bool = True
    cancelled_error: bool = False
    """Whether the record of a cancelled run gives the reason in ``error``."""
    deferred_tool_call: bool = False
    """Whether a run may succeed with a deferred tool call instead of an output."""
    output_validation: bool = False
    """Whether a terminal event reports the validation of a checked output."""
    output_tool_is_configured: bool = False
    """Whether the output tool's name comes from the config of its layer."""
    event_kinds: frozenset[str] | None = _MAY_KINDS
    """The Pydantic AI event kinds that are sent; None means all."""
    clients: tuple[str, ...] = ("1.94.0",)
    """The Pydantic AI versions of its clients: only what all of them can read is written. If empty, everything is."""


RULES: dict[Dialect, DialectRules] = {
    Dialect.MAY_14: DialectRules(cancelled_event=False, output_tool_is_configured=True, clients=("1.85.1", "1.94.0")),
    Dialect.MAY_27: DialectRules(),
    Dialect.JUNE_16: DialectRules(deferred_tool_call=True),
    Dialect.JULY_17: DialectRules(message_delta=True, usage_keys=_TOKEN_KEYS, deferred_tool_call=True),
    Dialect.AUGUST_10: DialectRules(
        message_delta=True,
        usage_keys=None,
        error_type=True,
        cancelled_error=True,
        deferred_tool_call=True,
        event_kinds=_AUGUST_KINDS,
        clients=("1.107.0",),
    ),
    Dialect.CURRENT: DialectRules(
        message_delta=True,
        usage_keys=None,
        error_type=True,
        cancelled_error=True,
        deferred_tool_call=True,
        output_validation=True,
        event_kinds=None,
        clients=(),
    ),
}

_ASK_HUMAN = "dify.ask_human"
_JULY_LAYERS = frozenset({"dify.config", "dify.shell", "dify.drive"})
_JUNE_LAYERS = frozenset({_ASK_HUMAN, "dify.shell", "dify.drive"})
_OLD_INVOKE_FROM = frozenset({"workflow_run", "single_step", "agent_app", "babysit", "fasten"})


def choose_dialect(request: CreateRunRequest) -> Dialect:
    """Returns the dialect that the request's features indicate. The first feature found decides.

    Clients published after 10 August 2026 have no dialect: their requests cannot run here, whatever is chosen.
    """
    layers = request.composition.layers
    types = {layer.type for layer in layers}
    contexts = [layer for layer in layers if layer.type == "dify.execution_context"]
    has_purpose = request.purpose is not None
    # Dify's clients of June send the key with every request, mostly as null.
    has_results_key = "deferred_tool_results" in request.model_fields_set
    if "dify.runtime" in types:
        return Dialect.AUGUST_10
    if "dify.plugin" in types and not has_purpose:
        return Dialect.MAY_14
    if types & _JULY_LAYERS and not has_purpose:
        return Dialect.JULY_17
    if has_purpose and (has_results_key or types & _JUNE_LAYERS):
        return Dialect.JUNE_16
    if has_purpose or any(_has_old_invoke_from(context) for context in contexts):
        return Dialect.MAY_27
    if request.deferred_tool_results is not None or _ASK_HUMAN in types:
        return Dialect.JUNE_16
    if any((context.config or {}).get("agent_mode") is not None for context in contexts):
        return Dialect.JUNE_16
    return Dialect.CURRENT


def _has_old_invoke_from(context: LayerSpec) -> bool:
    config = context.config or {}
    invoke_from = config.get("invoke_from")
    return isinstance(invoke_from, str) and invoke_from in _OLD_INVOKE_FROM and config.get("agent_mode") is None
