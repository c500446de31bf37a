"""The checks that a request must pass before its run is stored. No IO, no hooks."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from errors import InvalidComposition, TenantNotAllowed
from runtime.composition.binding import bind_composition
from runtime.composition.composition import Composition
from runtime.config import OperatorRules
from runtime.layers.history import HistoryLayer
from runtime.layers.model_layer import MODEL_LAYER_NAME
from runtime.layers.registry import LAYER_TYPES
from runtime.layers.tool_layer import ToolLayer
from runtime.protocol.ask_human import AskHumanResult
from runtime.protocol.dialects import RULES, Dialect
from runtime.protocol.problems import problems_text
from runtime.protocol.requests import CreateRunRequest, DeferredToolResults, ExitIntent, LayerSpec
from runtime.runs import ProvenRun

MAX_IDS_TOLD = 5
MAX_ID_CHARS_TOLD = 100


def is_cleanup(request: CreateRunRequest) -> bool:
    """Whether the request only runs the delete hooks of a session's layers, without a model or a prompt."""
    return (
        request.session_snapshot is not None
        and request.on_exit.default is ExitIntent.DELETE
        and all(layer.name != MODEL_LAYER_NAME for layer in request.composition.layers)
    )


def check_tenant(layers: Sequence[LayerSpec], tenant_id: str | None) -> None:
    """Raises TenantNotAllowed when a tenant's run would use the plugin daemon for another one: the daemon trusts us."""
    if tenant_id is None:
        return
    for layer in layers:
        layer_type = LAYER_TYPES.get(layer.type)
        if layer_type is None or not layer_type.tells_identity:
            continue
        if (layer.config or {}).get("tenant_id", tenant_id) != tenant_id:
            raise TenantNotAllowed(f"layer '{layer.name}': this key acts for its own tenant alone")


def proven_run(request: CreateRunRequest, dialect: Dialect, rules: OperatorRules) -> ProvenRun:
    """Returns the run that a request asks for. Raises InvalidComposition if it cannot run."""
    cleanup = is_cleanup(request)
    composition = bind_composition(
        request.composition,
        registry=LAYER_TYPES,
        on_exit=request.on_exit,
        snapshot=request.session_snapshot,
        pass_over_closed=cleanup,
        rules=rules,
    )
    results = request.deferred_tool_results
    if not cleanup:
        results = _checked_results(results, composition, dialect)
    elif results is not None:
        raise InvalidComposition("deferred_tool_results: a cleanup run calls no model that could take them")
    return ProvenRun(composition, dialect, request.composition.layers, results, cleanup)


def _checked_results(
    results: DeferredToolResults | None, composition: Composition, dialect: Dialect
) -> DeferredToolResults | None:
    """Returns the results that the model gets; without any there must be a prompt."""
    history = _history_of(composition)
    _check_deferring(composition, history, dialect)
    awaited = _awaited_results(results, history, dialect)
    if awaited is not None:
        _check_results(awaited, history)
    elif not composition.user_prompts():
        raise InvalidComposition("run.user_prompts must not be empty")
    return awaited


def _awaited_results(
    results: DeferredToolResults | None, history: HistoryLayer | None, dialect: Dialect
) -> DeferredToolResults | None:
    """Returns the results of a request; in Dify's dialects without those that only repeat what is in the history.

    A workflow node of June whose outputs failed their check sends the results again, with the snapshot of the run that
    took them: that run's user prompts begin its next attempt.
    """
    if results is None or history is None or not dialect.is_dated or not results.calls or history.unanswered_calls():
        return results
    return None if all(map(history.is_answered, {**results.calls, **results.metadata})) else results


def _history_of(composition: Composition) -> HistoryLayer | None:
    return next((layer for layer in composition.layers if isinstance(layer, HistoryLayer)), None)


def _check_deferring(composition: Composition, history: HistoryLayer | None, dialect: Dialect) -> None:
    """Checks that a deferred call can reach the caller, and stays in the snapshot until it is answered."""
    for layer in composition.layers:
        if not isinstance(layer, ToolLayer) or not layer.deferred_tool_names():
            continue
        if history is None:
            raise InvalidComposition(f"layer '{layer.name}': it needs a layer of type '{HistoryLayer.type_id}'")
        if not RULES[dialect].deferred_tool_call:
            raise InvalidComposition(f"layer '{layer.name}': the dialect {dialect} knows no deferred tool calls")


def _check_results(results: DeferredToolResults, history: HistoryLayer | None) -> None:
    """Checks that each open call of the history has a result, and nothing else has one."""
    if history is None:
        raise InvalidComposition(f"deferred_tool_results need a layer of type '{HistoryLayer.type_id}'")
    unanswered = {call.tool_call_id for call in history.unanswered_calls()}
    if unknown := [call_id for call_id in {**results.calls, **results.metadata} if call_id not in unanswered]:
        raise InvalidComposition(f"deferred_tool_results: no such call waits for a result: {_told(unknown)}")
    if missing := [call_id for call_id in unanswered if call_id not in results.calls]:
        raise InvalidComposition(f"deferred_tool_results: a result is missing: {_told(missing)}")
    if not results.calls:
        raise InvalidComposition("deferred_tool_results: no call of the history waits for a result")
    for call_id, value in results.calls.items():
        try:
            AskHumanResult.model_validate(value)
        except ValidationError as error:
            raise InvalidComposition(
                f"deferred_tool_results: the result of {_told([call_id])} is invalid: {problems_text(error)}"
            ) from None


def _told(call_ids: list[str]) -> str:
    return ", ".join(f"'{call_id[:MAX_ID_CHARS_TOLD]}'" for call_id in call_ids[:MAX_IDS_TOLD])
