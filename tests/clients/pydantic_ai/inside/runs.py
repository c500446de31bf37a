"""Reads whole runs as Dify's client of a date does: pages of events and statuses, with models that forbid extras."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError, create_model
from pydantic_ai.messages import AgentStreamEvent


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Nothing(Closed):
    pass


class Layer(Closed):
    name: str
    lifecycle_state: Literal["new", "active", "suspended", "closed"]
    runtime_state: dict[str, JsonValue]


class Snapshot(Closed):
    schema_version: Literal[1]
    layers: list[Layer]


class DeferredCall(Closed):
    tool_call_id: str
    tool_name: str
    args: dict[str, JsonValue]
    metadata: dict[str, JsonValue]


class Tokens(Closed):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Prices(Tokens):
    prompt_unit_price: str
    prompt_price_unit: str
    prompt_price: str
    completion_unit_price: str
    completion_price_unit: str
    completion_price: str
    total_price: str
    currency: str
    latency: float
    time_to_first_token: float | None
    time_to_generate: float | None


class Cancelled(Closed):
    reason: str | None = None
    message: str | None = None


USAGES: dict[str, Any] = {"tokens": Tokens, "prices": Prices}


def unread(given: dict[str, Any]) -> list[str]:
    """The problems of a client that ``knows`` these models in reading ``pages`` and ``statuses``."""
    knows = set(given["knows"])
    page, status = TypeAdapter(_page(knows)), TypeAdapter(_status(knows))
    problems = [problem for one in given["pages"] for problem in _problems(page, one)]
    return problems + [problem for one in given["statuses"] for problem in _problems(status, one)]


def _problems(adapter: TypeAdapter[Any], value: object) -> list[str]:
    try:
        adapter.validate_json(json.dumps(value))
    except ValidationError as error:
        return [f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in error.errors(include_url=False)]
    return []


def _page(knows: set[str]) -> Any:
    delta = {"agent_message_delta": (str | None, ...)} if "agent_message_delta" in knows else {}
    error_type = {"error_type": (str | None, None)} if "error_type" in knows else {}
    usages = [model for kind, model in USAGES.items() if kind in knows]
    usage = {"usage": (usages[0] | None, None)} if usages else {}
    deferred = {"deferred_tool_call": (DeferredCall, None)} if "deferred_tool_call" in knows else {}
    failed = _closed("Failed", error=(str, ...), reason=(str | None, None), **error_type)
    succeeded = _closed("Succeeded", output=(JsonValue, None), session_snapshot=(Snapshot, ...), **usage, **deferred)
    events = [
        _event("run_started", Nothing),
        _event("pydantic_ai_event", AgentStreamEvent, **delta),
        _event("run_succeeded", succeeded),
        _event("run_failed", failed),
    ]
    if "run_cancelled" in knows:
        events.append(_event("run_cancelled", Cancelled))
    event: Any = Annotated[Union[tuple(events)], Field(discriminator="type")]  # noqa: UP007 they are known only now
    return _closed("Page", run_id=(str, ...), next_cursor=(str, ...), events=(list[event], ...))


def _event(kind: str, data: Any, **rest: Any) -> Any:
    envelope = {"id": (str, ...), "run_id": (str, ...), "created_at": (datetime, ...)}
    return _closed(f"Event_{kind}", type=(Literal[kind], ...), data=(data, ...), **envelope, **rest)


def _status(knows: set[str]) -> Any:
    states = (
        Literal["running", "succeeded", "failed", "cancelled"]
        if "run_cancelled" in knows
        else Literal["running", "succeeded", "failed"]
    )
    error_type = {"error_type": (str | None, None)} if "error_type" in knows else {}
    return _closed(
        "Status",
        run_id=(str, ...),
        status=(states, ...),
        created_at=(datetime, ...),
        updated_at=(datetime, ...),
        error=(str | None, ...),
        **error_type,
    )


def _closed(name: str, **fields: Any) -> Any:
    return create_model(name, __base__=Closed, **fields)
