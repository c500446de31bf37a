"""Requests for sessions. Unknown keys are refused."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from models.enums import MultitaskStrategy
from runtime.protocol.requests import MAX_IDEMPOTENCY_KEY_LENGTH, CompositionSpec
from services.agents.texts import ShortLine
from services.souls.document import MAX_PROMPT_CHARS


def without_nul(value: object) -> object:
    """Returns a text without its NUL characters; anything else unchanged."""
    return value.replace("\0", "") if isinstance(value, str) else value


Query = Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARS, pattern=r"\S"), BeforeValidator(without_nul)]


class _Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class CreateSessionRequest(_Wanted):
    """A session with an agent, on its active version unless a version or a tag is named; or with a composition."""

    agent_id: str | None = None
    version_id: str | None = None
    tag: str | None = None
    composition: CompositionSpec | None = None
    name: ShortLine = ""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    multitask_strategy: MultitaskStrategy = MultitaskStrategy.ENQUEUE

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.agent_id is None) == (self.composition is None):
            raise ValueError("takes either agent_id or composition")
        if self.agent_id is None and (self.version_id is not None or self.tag is not None):
            raise ValueError("version_id and tag are of an agent, and this session has none")
        if self.version_id is not None and self.tag is not None:
            raise ValueError("version_id and tag exclude each other")
        return self


class ChangeSessionRequest(_Wanted):
    """What to change in a session. What is not sent stays as it is."""

    name: ShortLine | None = None
    metadata: dict[str, JsonValue] | None = None
    version_id: str | None = None


class StartTurnRequest(_Wanted):
    """One turn of a session."""

    query: Query
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    multitask_strategy: MultitaskStrategy | None = None
    """None stands for the session's strategy."""
    version_id: str | None = None
    """A version to which the session moves with this turn."""
    idempotency_key: str | None = Field(default=None, max_length=MAX_IDEMPOTENCY_KEY_LENGTH, pattern=r"\S")
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
