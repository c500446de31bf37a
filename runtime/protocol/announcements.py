"""Announced ends: what observers are told of a run that has ended."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from runtime.protocol.events import RunEnd
from runtime.protocol.jobs import RUN, Origin
from runtime.protocol.records import RunRecord


class AnnouncedEnd(BaseModel):
    """One run that has ended. It holds nothing that the run has said.

    ``status`` is how the run ended before a dialect has shaped it, so that a cancelled run is told from a failed one.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    origin: Origin
    tenant_id: str | None = None
    status: str
    reason: str | None = None

    @classmethod
    def of(cls, record: RunRecord, end: RunEnd) -> AnnouncedEnd | None:
        """The announcement of an end; None for a plain run without a tenant, which nobody has to hear of."""
        if record.origin is None and record.tenant_id is None:
            return None
        return cls(
            run_id=record.run_id,
            origin=record.origin or Origin(kind=RUN, id=record.run_id),
            tenant_id=record.tenant_id,
            status=end.status,
            reason=end.reason,
        )
