"""Jobs: all that is needed to execute a run, as plain data that could be sent to any worker."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from runtime.protocol.dialects import Dialect
from runtime.protocol.requests import CreateRunRequest

RUN, TURN, CLEANUP, ASIDE = "run", "turn", "cleanup", "aside"
"""The kinds of origins."""


class Origin(BaseModel):
    """Who asked for a run: a kind, and an id within that kind.

    The kind is a string rather than an enum, so that a worker can read and end what a later version has stored.
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
    """The user on whose behalf it runs, if its origin names one."""
    request: CreateRunRequest | None = Field(default=None, repr=False)
    """None if the origin builds the request from what it has stored.

    A request may contain credentials: never store it in the clear.
    """
