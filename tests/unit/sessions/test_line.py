"""The line of a session, on both databases: what goes on when ends are heard, whoever has been there before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from errors import RunAlreadyEnded
from models import AgentSession, SessionTurn
from models.enums import TurnStatus, TurnStop
from runtime.protocol.announcements import AnnouncedEnd
from runtime.protocol.dialects import Dialect
from runtime.protocol.ids import new_id
from runtime.protocol.records import RunRecord, RunStatus
from runtime.runs import HeardEnd
from services.database import Database
from services.sessions.lookup import TurnKey
from services.sessions.turns.finalize import Finalizer
from services.sessions.turns.line import Line
from services.sessions.turns.pending import PendingFinalizations


class Runs:
    """The runs of turns as records, without anything that executes them."""

    def __init__(self) -> None:
        self.records: dict[str, RunRecord] = {}
        self.started: list[str] = []

    def get(self, run_id: str) -> RunRecord | None:
        return self.records.get(run_id)

    def page(self, run_id: str, **_: Any) -> list[Any]:
        return []

    def start_waiting(self, run_id: str) -> None:
        self.started.append(run_id)

    def cancel_run(self, run_id: str, *_: Any, **__: Any) -> None:
        if self.records[run_id].has_ended:
            raise RunAlreadyEnded
        self.end(run_id, RunStatus.CANCELLED)

    def begin(self, key: TurnKey) -> None:
        self.records[key.run_id] = RunRecord.begin(key.run_id, dialect=Dialect.CURRENT, worker="w", origin=key.origin)

    def end(self, run_id: str, status: RunStatus) -> None:
        update = {"status": status, "cancelled": status is RunStatus.CANCELLED}
        self.records[run_id] = self.records[run_id].model_copy(update=update)


class Site:
    """One session with turns that have begun, or wait."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.runs = Runs()
        self.session_id = new_id()
        self.acknowledged: list[str] = []
        runtime = cast(Any, SimpleNamespace(runs=self.runs, start=lambda: None))
        self.finalizer = Finalizer(database, runtime, form_seconds=60)
        pending = PendingFinalizations(self.finalizer)
        self.line = Line(database, runtime, cast(Any, self.runs), self.finalizer, pending)

    def add_turns(self, count: int, *, stop: TurnStop | None = None) -> list[TurnKey]:
        """Turns in their order. ``stop`` is what the first one is marked with."""
        now = datetime.now(UTC)
        common = {"tenant_id": "acme", "created_at": now, "updated_at": now}
        keys = [TurnKey("acme", self.session_id, new_id(), new_id(), position + 1) for position in range(count)]
        with self.database.transaction() as session:
            counts = {"turns": count, "unfinished": count}
            session.add(AgentSession(id=self.session_id, sealed_composition="sealed", **counts, **common))
            session.flush()
            for key in keys:
                found = {"id": key.turn_id, "run_id": key.run_id, "position": key.position}
                row = SessionTurn(session_id=self.session_id, task_id=new_id(), query="q", **found, **common)
                row.stop = stop if key is keys[0] else None
                session.add(row)
        for key in keys:
            self.runs.begin(key)
        return keys

    def hear(self, *keys: TurnKey) -> None:
        self.line.hear([HeardEnd(self.announced(key), self.acknowledging(key)) for key in keys])

    def announced(self, key: TurnKey) -> AnnouncedEnd:
        status = self.runs.records[key.run_id].status
        return AnnouncedEnd(run_id=key.run_id, origin=key.origin, tenant_id="acme", status=status)

    def acknowledging(self, key: TurnKey) -> Callable[[], None]:
        return lambda: self.acknowledged.append(key.run_id)

    def statuses(self) -> list[TurnStatus]:
        with self.database.reading() as session:
            turns = session.query(SessionTurn).where(SessionTurn.session_id == self.session_id)
            return [turn.status for turn in turns.order_by(SessionTurn.position)]


@pytest.fixture
def site(database: Database) -> Site:
    return Site(database)


def test_the_turn_behind_one_that_has_ended_begins(site: Site) -> None:
    first, second = site.add_turns(2)
    site.runs.end(first.run_id, RunStatus.FAILED)

    site.hear(first)

    assert site.runs.started == [second.run_id]
    assert site.statuses() == [TurnStatus.FAILED, TurnStatus.RUNNING]
    assert site.acknowledged == [first.run_id]


def test_the_turn_behind_one_that_a_reader_has_rolled_back_begins(site: Site) -> None:
    first, second = site.add_turns(2, stop=TurnStop.ROLLBACK)
    site.runs.end(first.run_id, RunStatus.CANCELLED)
    site.finalizer.finalize_session("acme", site.session_id)
    assert site.statuses() == [TurnStatus.RUNNING]

    site.hear(first)

    assert site.runs.started == [second.run_id]
    assert site.acknowledged == [first.run_id]


def test_the_turn_behind_one_that_a_reader_has_finalized_begins(site: Site) -> None:
    first, second = site.add_turns(2)
    site.runs.end(first.run_id, RunStatus.FAILED)
    site.finalizer.finalize_session("acme", site.session_id)

    site.hear(first)

    assert site.runs.started == [second.run_id]


def test_an_end_of_a_session_that_is_gone_is_acknowledged(site: Site) -> None:
    (only,) = site.add_turns(1, stop=TurnStop.ROLLBACK)
    site.runs.end(only.run_id, RunStatus.SUCCEEDED)
    site.finalizer.finalize(only)

    site.hear(only)

    assert site.acknowledged == [only.run_id]
    assert site.runs.started == []


def test_turns_that_were_to_be_stopped_are_cancelled_before_the_next_one_begins(site: Site) -> None:
    first, second = site.add_turns(2, stop=TurnStop.INTERRUPT)

    site.line.advance(site.session_id)

    assert site.runs.records[first.run_id].cancelled
    assert site.runs.started == [second.run_id]
    assert site.statuses() == [TurnStatus.CANCELLED, TurnStatus.RUNNING]


def test_a_turn_behind_one_that_goes_on_waits(site: Site) -> None:
    first, _ = site.add_turns(2)

    site.line.advance(site.session_id)

    assert site.runs.started == [first.run_id]  # one that has begun already is left alone there
