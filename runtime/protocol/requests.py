"""The bodies of requests below ``/runs``. Unknown keys are refused at every level."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from runtime.protocol.json_text import InvalidJson, read_json
from runtime.protocol.snapshots import MAX_LAYERS, SessionSnapshot

JSON_BUDGET = "json_budget"
"""A key of the validation context: the ValueBudget of the body, for JSON inside its strings."""

COMPOSITION_SCHEMA_VERSION = 1
MAX_IDEMPOTENCY_KEY_LENGTH = 512
MAX_CANCEL_MESSAGE_LENGTH = 4096
DEFAULT_STREAM_TOKEN_SECONDS = 300
MAX_STREAM_TOKEN_SECONDS = 3600


class WireModel(BaseModel):
    """A request body or a part of one. It forbids unknown keys, so that a misspelt key is an error and not ignored."""

    model_config = ConfigDict(extra="forbid")


class ExitIntent(StrEnum):
    """What happens to a layer when the run leaves it."""

    SUSPEND = "suspend"
    DELETE = "delete"


def _decode_config(value: object, info: ValidationInfo) -> object:
    """Decodes a layer's config if it is a JSON string, as Dify sometimes sends it. Raises TooManyValues."""
    if not isinstance(value, str):
        return value
    try:
        decoded = read_json(value, budget=(info.context or {}).get(JSON_BUDGET))
    except InvalidJson:
        raise ValueError("config is a string, but not the JSON of an object") from None
    if decoded is not None and not isinstance(decoded, dict):
        raise ValueError("config is a string, but not the JSON of an object")
    return decoded


LayerConfig = Annotated[dict[str, Any] | None, BeforeValidator(_decode_config)]


class LayerSpec(WireModel):
    """One named layer of a composition. ``deps`` maps a dependency key of the type to a layer name."""

    name: str
    type: str
    deps: dict[str, str] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict, repr=False)
    config: LayerConfig = Field(default=None, repr=False)


class CompositionSpec(WireModel):
    """An ordered list of named layers."""

    schema_version: int = COMPOSITION_SCHEMA_VERSION
    layers: list[LayerSpec] = Field(max_length=MAX_LAYERS)


class OnExit(WireModel):
    """The exit intent of each layer, by name; ``default`` applies to all others."""

    default: ExitIntent = ExitIntent.SUSPEND
    layers: dict[str, ExitIntent] = Field(default_factory=dict)


class DeferredToolResults(WireModel):
    """The results of deferred tool calls of an earlier run, by tool call id."""

    calls: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, dict[str, Any]] = Field(default_factory=dict)


class CreateRunRequest(WireModel):
    """The body of ``POST /runs``."""

    composition: CompositionSpec
    session_snapshot: SessionSnapshot | None = None
    on_exit: OnExit = Field(default_factory=OnExit)
    deferred_tool_results: DeferredToolResults | None = None
    idempotency_key: str | None = Field(default=None, max_length=MAX_IDEMPOTENCY_KEY_LENGTH, pattern=r"\S")
    metadata: dict[str, Any] = Field(default_factory=dict)
    purpose: Literal["workflow_node", "single_step", "agent_app", "babysit", "fasten_preview"] | None = None
    execution_context: dict[str, Any] | None = None
    """Sent by Dify's builds of 19 to 25 May 2026. It is ignored, because a layer contains the same."""


class CancelRunRequest(WireModel):
    """The body of ``POST /runs/{run_id}/cancel``; it may be empty."""

    reason: str | None = Field(default=None, max_length=MAX_CANCEL_MESSAGE_LENGTH)
    message: str | None = Field(default=None, max_length=MAX_CANCEL_MESSAGE_LENGTH)


class CreateStreamTokenRequest(WireModel):
    """The body of ``POST /runs/{run_id}/stream-tokens``; it may be empty."""

    ttl_seconds: int = Field(default=DEFAULT_STREAM_TOKEN_SECONDS, ge=1, le=MAX_STREAM_TOKEN_SECONDS, strict=True)
