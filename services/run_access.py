"""Access to runs: which of them somebody may see."""

from __future__ import annotations

from dataclasses import dataclass

from errors import RunNotFound
from runtime.protocol.records import RunRecord


@dataclass(frozen=True, slots=True)
class RunAccess:
    """What somebody may see: the runs of some tenants. All others do not exist for them."""

    tenants: frozenset[str | None] | None
    """None among them stands for the runs without a tenant, and None in their place for all runs."""

    def may_see(self, record: RunRecord) -> bool:
        return self.tenants is None or record.tenant_id in self.tenants

    def require(self, record: RunRecord | None) -> RunRecord:
        """The record that was looked up. Raises RunNotFound, the same for one that is hidden as for none."""
        if record is None or not self.may_see(record):
            raise RunNotFound
        return record


EVERY_RUN = RunAccess(None)
RUNS_WITHOUT_TENANT = RunAccess(frozenset({None}))
