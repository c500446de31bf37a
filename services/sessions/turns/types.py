"""Turns as they are asked for, and as they were accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import JsonValue

from models.enums import MultitaskStrategy
from runtime.protocol.requests import DeferredToolResults
from runtime.runs import Claim
from services.sessions.lookup import TurnKey


@dataclass(frozen=True, slots=True)
class NewTurn:
    """What a turn is to be."""

    query: str
    inputs: Mapping[str, JsonValue] = field(default_factory=dict)
    multitask_strategy: MultitaskStrategy | None = None
    """None is the session's."""
    version_id: str | None = None
    """A version that the session moves to."""
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    user_id: str | None = None
    claim: Claim | None = None
    deferred_results: DeferredToolResults | None = field(default=None, repr=False)
    """The answer to the session's question, which this turn goes on with."""


@dataclass(frozen=True, slots=True)
class StartedTurn:
    """A turn that was accepted, now or under the same idempotency key before."""

    key: TurnKey
    task_id: str
    created_at: datetime
    ahead: int
    """How many turns of the session were unfinished before it."""
