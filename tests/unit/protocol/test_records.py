"""Run records and status bodies, in every dialect."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from pydantic import ValidationError

from runtime.protocol.dialects import Dialect
from runtime.protocol.events import RunEnd, ended_record
from runtime.protocol.records import NOBODY, RunRecord, RunStatus, feed_payload_start

BASE_KEYS = {"run_id", "status", "created_at", "updated_at", "error"}
SUCCEEDED = RunEnd.succeeded(output="done", snapshot={"schema_version": 1, "layers": []}, usage=None)
LATER = [dialect for dialect in Dialect if dialect is not Dialect.MAY_14]


def record(dialect: Dialect = Dialect.CURRENT) -> RunRecord:
    return RunRecord.begin("run-1", dialect=dialect, worker="worker-1")


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "end",
    [None, SUCCEEDED, RunEnd.failed("broken", reason="timeout"), RunEnd.cancelled(reason="user")],
    ids=["running", "succeeded", "failed", "cancelled"],
)
def test_a_status_never_has_an_error_type_of_null(dialect: Dialect, end: RunEnd | None) -> None:
    current = record(dialect) if end is None else ended_record(record(dialect), end, "token")

    assert set(current.as_status()) == BASE_KEYS


@pytest.mark.parametrize("dialect", Dialect)
def test_a_status_has_an_error_type_where_its_dialect_knows_it(dialect: Dialect) -> None:
    status = ended_record(record(dialect), RunEnd.failed("broken", error_type="limit"), "token").as_status()

    if dialect in (Dialect.AUGUST_10, Dialect.CURRENT):
        assert status["error_type"] == "limit"
    else:
        assert set(status) == BASE_KEYS


def test_a_new_record_runs_and_has_no_error() -> None:
    new = record()

    assert new.as_status() == {
        "run_id": "run-1",
        "status": "running",
        "created_at": new.created_at,
        "updated_at": new.created_at,
        "error": None,
    }
    assert not new.has_ended
    assert not new.cancelled


def test_times_are_iso_8601_in_utc() -> None:
    created = datetime.datetime.fromisoformat(record().created_at)

    assert created.utcoffset() == datetime.timedelta(0)
    assert abs(datetime.datetime.now(datetime.UTC) - created) < datetime.timedelta(minutes=5)


@pytest.mark.parametrize("dialect", Dialect)
def test_a_succeeded_run_has_no_error(dialect: Dialect) -> None:
    ended = ended_record(record(dialect), SUCCEEDED, "token")

    assert (ended.status, ended.error, ended.error_type) == (RunStatus.SUCCEEDED, None, None)
    assert ended.has_ended
    assert ended.end_token == "token"


@pytest.mark.parametrize("dialect", Dialect)
def test_a_failed_run_keeps_its_error(dialect: Dialect) -> None:
    ended = ended_record(record(dialect), RunEnd.failed("broken", error_type="limit"), "token")

    assert (ended.status, ended.error, ended.error_type) == (RunStatus.FAILED, "broken", "limit")
    assert not ended.cancelled


@pytest.mark.parametrize("dialect", LATER)
def test_a_cancelled_run_is_cancelled(dialect: Dialect) -> None:
    ended = ended_record(record(dialect), RunEnd.cancelled(reason="user", message="stop it"), "token")

    assert (ended.status, ended.cancelled) == (RunStatus.CANCELLED, True)


@pytest.mark.parametrize("dialect", LATER)
@pytest.mark.parametrize(
    ("end", "error"),
    [
        (RunEnd.cancelled(reason="user", message="stop it"), "stop it"),
        (RunEnd.cancelled(message="stop it"), "stop it"),
        (RunEnd.cancelled(reason="user"), "user"),
        (RunEnd.cancelled(), None),
    ],
)
def test_since_august_a_cancelled_run_says_why(dialect: Dialect, end: RunEnd, error: str | None) -> None:
    ended = ended_record(record(dialect), end, "token")

    assert ended.error == (error if dialect in (Dialect.AUGUST_10, Dialect.CURRENT) else None)


@pytest.mark.parametrize(("message", "error"), [("stop it", "stop it"), (None, "run cancelled")])
def test_a_cancelled_run_of_14_may_says_failed_and_is_still_known_as_cancelled(message: str | None, error: str) -> None:
    ended = ended_record(record(Dialect.MAY_14), RunEnd.cancelled(message=message), "token")

    assert (ended.status, ended.error, ended.cancelled) == (RunStatus.FAILED, error, True)


def test_an_end_changes_the_time_of_the_last_update_alone() -> None:
    first = record().model_copy(
        update={"created_at": "2026-01-01T00:00:00.000000Z", "updated_at": "2026-01-01T00:00:00Z"}
    )

    ended = ended_record(first, SUCCEEDED, "token")

    assert ended.created_at == first.created_at
    assert ended.updated_at > first.updated_at
    assert (ended.run_id, ended.worker, ended.dialect) == (first.run_id, first.worker, first.dialect)


def test_a_record_survives_its_way_through_storage() -> None:
    ended = ended_record(record(Dialect.MAY_14), RunEnd.cancelled(), "token")

    assert RunRecord.model_validate_json(ended.model_dump_json()) == ended


@pytest.mark.parametrize("tenant_id", [None, "acme", 'a"}\\', "größe"])
def test_the_feed_learns_whose_run_it_was_and_is(tenant_id: str | None) -> None:
    begun = RunRecord.begin("run-1", dialect=Dialect.CURRENT, worker="worker-1", tenant_id=tenant_id)

    for told in (begun, ended_record(begun, SUCCEEDED, "token")):
        payload = told.as_feed_payload()
        tenant = {} if tenant_id is None else {"tenant_id": tenant_id}
        times = {"created_at": told.created_at, "updated_at": told.updated_at}
        assert json.loads(payload) == {**tenant, "run_id": "run-1", "status": told.status, **times}
        starts = [payload.startswith(feed_payload_start(one)) for one in (tenant_id, "acm", "acme2", None, "")]
        assert starts == [True, False, False, tenant_id is None, False]


def test_a_record_from_before_there_were_tenants_has_none() -> None:
    fields = record().model_dump(exclude={"tenant_id"})

    assert RunRecord.model_validate(fields).tenant_id is None


def test_a_record_cannot_be_changed_in_place() -> None:
    changes: dict[str, Any] = {"status": RunStatus.FAILED}

    with pytest.raises(ValidationError, match="frozen"):
        setattr(record(), *changes.popitem())


@pytest.mark.parametrize(
    ("worker", "waits", "is_in_line"),
    [(NOBODY, True, True), ("", True, True), ("worker-1", True, False), ("worker-1", False, False)],
)
def test_a_run_is_in_line_while_it_waits_and_nobody_owns_it(worker: str, waits: bool, is_in_line: bool) -> None:
    waiting = RunRecord.begin("run-1", dialect=Dialect.CURRENT, worker=worker, waits=waits)

    assert waiting.is_in_line is is_in_line
    assert (waiting.owner is None) is is_in_line
