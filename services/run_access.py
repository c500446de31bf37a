"""Access to runs: which of them a caller may see."""

from __future__ import annotations

from dataclasses import dataclass

from errors import RunNotFound
from runtime.protocol.records import RunRecord


@dataclass(frozen=True, slots=True)
class RunAccess:
    """The runs that a caller may see: those of some tenants. For them, all others do not exist."""

    tenants: frozenset[str | None] | None
    """The tenants. None among them stands for the runs without a tenant, and None in their place for all runs."""

    def may_see(self, record: RunRecord) -> bool:
        return self.tenants is None or record.tenant_id in self.tenants

    def require(self, record: RunRecord | None) -> RunRecord:
        """Returns the record. Raises RunNotFound both for None and for one that is hidden."""
        if record is None or not self.may_see(record):
            raise RunNotFound
        return record


EVERY_RUN = RunAccess(None)
RUNS_WITHOUT_TENANT = RunAccess(frozenset({None}))
