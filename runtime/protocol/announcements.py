"""Announced ends: the messages to observers about runs that have ended."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from runtime.protocol.events import RunEnd
from runtime.protocol.jobs import RUN, Origin
from runtime.protocol.records import RunRecord


class AnnouncedEnd(BaseModel):
    """The announcement of one ended run. It contains nothing of the run's input or output.

    ``status`` is how the run ended, before its dialect is applied, so that a cancelled run differs from a failed one.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    origin: Origin
    tenant_id: str | None = None
    status: str
    reason: str | None = None

    @classmethod
    def of(cls, record: RunRecord, end: RunEnd) -> AnnouncedEnd | None:
        """Returns the announcement of an end; None for a plain run without a tenant, which no observer needs."""
        if record.origin is None and record.tenant_id is None:
            return None
        return cls(
            run_id=record.run_id,
            origin=record.origin or Origin(kind=RUN, id=record.run_id),
            tenant_id=record.tenant_id,
            status=end.status,
            reason=end.reason,
        )
