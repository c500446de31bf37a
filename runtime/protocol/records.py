"""The run record: what is known of a run beside its events."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from runtime.protocol.clock import utc_now
from runtime.protocol.dialects import RULES, Dialect
from runtime.protocol.jobs import Origin
from runtime.protocol.phases import Phase

NOBODY = "00000000-0000-0000-0000-000000000000"
"""The worker of a run that no worker owns. It has the form of an id, as an earlier version's workers tell whoever is
named there that the run has ended."""


class RunStatus(StrEnum):
    """The status of a run. All but ``running`` are final."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunRecord(BaseModel):
    """Stored as one JSON string. ``worker`` owns the run, and is ``NOBODY`` while it waits in line; ``end_token`` is of
    the attempt that ended it.

    ``cancelled`` is true of a cancelled run also where its dialect has no such status and the record says ``failed``.
    ``idempotency_digest`` names the idempotency key that it was made under, which itself is not kept. A run that one of
    our keys started has a ``tenant_id``: it is there for that tenant and the operator alone. One that ``waits`` was
    stored without its first event, which comes when it begins: ``phase`` says so. ``origin`` is None for a plain run,
    and in what an earlier version has stored.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    status: RunStatus = RunStatus.RUNNING
    created_at: str
    updated_at: str
    error: str | None = None
    error_type: str | None = None
    cancelled: bool = False
    dialect: Dialect
    worker: str
    end_token: str | None = None
    idempotency_digest: str | None = None
    tenant_id: str | None = None
    waits: bool = False
    origin: Origin | None = None
    user_id: str | None = None

    @classmethod
    def begin(
        cls,
        run_id: str,
        *,
        dialect: Dialect,
        worker: str,
        idempotency_digest: str | None = None,
        tenant_id: str | None = None,
        user_id: str | None = None,
        origin: Origin | None = None,
        waits: bool = False,
    ) -> Self:
        now = utc_now()
        return cls(
            run_id=run_id,
            created_at=now,
            updated_at=now,
            dialect=dialect,
            worker=worker,
            idempotency_digest=idempotency_digest,
            tenant_id=tenant_id,
            user_id=user_id,
            origin=origin,
            waits=waits,
        )

    @property
    def owner(self) -> str | None:
        """The worker that owns the run, or did; None where no worker has."""
        return self.worker if self.worker not in ("", NOBODY) else None

    @property
    def is_in_line(self) -> bool:
        """Whether it waits and no worker owns it."""
        return self.phase is Phase.WAITING and self.owner is None

    @property
    def phase(self) -> Phase:
        """How far the run had come when this was stored."""
        if self.has_ended:
            return Phase.ENDED
        return Phase.WAITING if self.waits else Phase.BEGUN

    @property
    def has_ended(self) -> bool:
        return self.status is not RunStatus.RUNNING

    def as_feed_payload(self) -> bytes:
        """What the feed of all runs tells of it: one line of JSON."""
        fields = (self.run_id, self.status, self.created_at, self.updated_at)
        return b'%b%b","status":"%b","created_at":"%b","updated_at":"%b"}' % (
            feed_payload_start(self.tenant_id),
            *(field.encode() for field in fields),
        )

    def as_status(self) -> dict[str, Any]:
        """The body of ``GET /runs/{run_id}`` in the run's dialect. Of ``error_type`` no client accepts a null."""
        body: dict[str, Any] = {
            "run_id": self.run_id,
            "status": self.status,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "error": self.error,
        }
        if RULES[self.dialect].error_type and self.error_type is not None:
            body["error_type"] = self.error_type
        return body


def feed_payload_start(tenant_id: str | None) -> bytes:
    """How the feed's payloads of a tenant's runs begin, and no others, so that nobody has to parse them to tell."""
    tenant = b"" if tenant_id is None else b'"tenant_id":%b,' % json.dumps(tenant_id).encode()
    return b'{%b"run_id":"' % tenant
