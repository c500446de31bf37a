"""The run record: what is stored about a run beside its events."""

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
"""The worker of a run that no worker owns.

It has the form of an id, because workers of an earlier version inform whichever worker is named here of the run's end.
"""


class RunStatus(StrEnum):
    """The status of a run. All but ``running`` are final."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunRecord(BaseModel):
    """The stored record of a run, one JSON string.

    ``worker`` owns the run; it is ``NOBODY`` while the run waits in line. ``end_token`` identifies the attempt that
    ended the run. ``cancelled`` is true of a cancelled run even if its dialect has no such status and the record says
    ``failed``. ``idempotency_digest`` is the digest of the idempotency key that the run was made under; the key itself
    is not stored. A run that was started with a tenant's key has a ``tenant_id``: only that tenant and the operator can
    see it. A run that ``waits`` was stored without its first event, which is written when it begins (see ``phase``).
    ``origin`` is None for a plain run, and in records that an earlier version has stored.
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
        """The worker that owns the run or has owned it; None if no worker has."""
        return self.worker if self.worker not in ("", NOBODY) else None

    @property
    def is_in_line(self) -> bool:
        """Whether the run waits and no worker owns it."""
        return self.phase is Phase.WAITING and self.owner is None

    @property
    def phase(self) -> Phase:
        """The run's phase when this record was stored."""
        if self.has_ended:
            return Phase.ENDED
        return Phase.WAITING if self.waits else Phase.BEGUN

    @property
    def has_ended(self) -> bool:
        return self.status is not RunStatus.RUNNING

    def as_feed_payload(self) -> bytes:
        """Returns the run as the feed of all runs shows it: one line of JSON."""
        fields = (self.run_id, self.status, self.created_at, self.updated_at)
        return b'%b%b","status":"%b","created_at":"%b","updated_at":"%b"}' % (
            feed_payload_start(self.tenant_id),
            *(field.encode() for field in fields),
        )

    def as_status(self) -> dict[str, Any]:
        """Returns the body of ``GET /runs/{run_id}`` in the run's dialect.

        ``error_type`` is left out rather than null, because no client accepts a null there.
        """
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
    """Returns how the feed payloads of this tenant's runs, and no others, begin, so that none must be parsed."""
    tenant = b"" if tenant_id is None else b'"tenant_id":%b,' % json.dumps(tenant_id).encode()
    return b'{%b"run_id":"' % tenant
