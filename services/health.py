"""Whether this worker accepts new runs."""

from __future__ import annotations

from errors import StorageUnavailable
from runtime.runs import Worker
from services.database import Database


class HealthService:
    """Checks what a run needs: the worker and the database."""

    def __init__(self, worker: Worker, database: Database) -> None:
        self._worker = worker
        self._database = database

    def problems(self) -> list[str]:
        """Returns why new runs would be refused, in words for load balancers; empty when they would not be."""
        problems = ["draining"] if self._worker.is_draining else []
        try:
            self._worker.runs.ping()
        except StorageUnavailable:
            problems.append("redis_unreachable")
        if self._database.is_in_use and (problem := self._database.problem()):
            problems.append(problem)
        return problems
