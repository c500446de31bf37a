"""Jobs: what has to be known to execute a run, as plain data that any worker could be sent."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from runtime.protocol.dialects import Dialect
from runtime.protocol.requests import CreateRunRequest

RUN, TURN, CLEANUP, ASIDE = "run", "turn", "cleanup", "aside"
"""The kinds of origins there are."""


class Origin(BaseModel):
    """Who asked for a run: a kind, and what that kind knows it by.

    The kind is a string and no enum, so that a worker can read and end what a later version has stored.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    id: str


class Job(BaseModel):
    """One run to be executed."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    origin: Origin
    dialect: Dialect
    attempt: int = 1
    tenant_id: str | None = None
    user_id: str | None = None
    """On whose behalf it runs, where its origin says so."""
    request: CreateRunRequest | None = Field(default=None, repr=False)
    """None where the origin makes it of what it has stored. It may hold credentials: never store it in the clear."""
