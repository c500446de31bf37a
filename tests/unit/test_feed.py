"""The list of the feed: for a reader that fell further behind than Redis remembers, and for one who may not see all."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runtime.events.entries import StreamEntry
from runtime.events.feed import CursorLost, FeedSnapshot
from runtime.events.subscriber import Subscriber
from runtime.protocol.dialects import Dialect
from runtime.protocol.records import RunRecord, RunStatus
from runtime.runs.feed import RunFeed
from services.feed import SNAPSHOT_PAGE_RUNS, ListReader
from services.run_access import EVERY_RUN, RUNS_WITHOUT_TENANT, RunAccess

RUN = RunRecord.begin("01a1f884-b753-710d-b464-93120ce7b7ee", dialect=Dialect.CURRENT, worker="worker")


class ForgetfulFeed:
    """A feed that has lost what was behind its first snapshot, and then has one run that ends."""

    stream = "feed"

    def __init__(self) -> None:
        self.snapshots = iter([FeedSnapshot("1-0", []), FeedSnapshot("9-0", [RUN.run_id])])

    def snapshot(self) -> FeedSnapshot:
        return next(self.snapshots)

    def records(self, run_ids: list[str]) -> list[RunRecord]:
        assert run_ids == [RUN.run_id]
        return [RUN.model_copy(update={"status": RunStatus.SUCCEEDED, "updated_at": "later"})]

    def page(self, name: str, *, after: str, limit: int) -> list[StreamEntry]:
        if after == "1-0":
            raise CursorLost
        return [StreamEntry(b"10-0", b"run", b'{"status":"succeeded"}')] if after == "9-0" else []


class QuietHub:
    """A hub whose streams are of other workers, and silent."""

    def __init__(self) -> None:
        self.subscribers: list[Subscriber] = []

    def admit(self, subscriber: Subscriber) -> None:
        self.subscribers.append(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        self.subscribers.remove(subscriber)

    def join_owned(self, subscriber: Subscriber) -> bool:
        return False


def test_a_list_that_fell_too_far_behind_begins_with_what_runs_now() -> None:
    hub = QuietHub()
    runtime: Any = SimpleNamespace(runs=SimpleNamespace(feed=RunFeed(cast(Any, ForgetfulFeed()), cast(Any, hub))))
    batches = iter(ListReader(runtime, None, access=EVERY_RUN))

    empty, snapshot, end = (json.loads(next(batches)[0]) for _ in range(3))
    del batches

    assert empty == {"type": "runs", "runs": [], "more": False, "id": "1-0"}
    assert snapshot["id"] == "9-0"
    assert snapshot["runs"][0]["status"] == "running", "as it was at the snapshot: its end comes behind"
    assert snapshot["runs"][0]["updated_at"] == RUN.created_at
    assert end == {"type": "run", "id": "10-0", "run": {"status": "succeeded"}}
    assert hub.subscribers == []


class MixedFeed:
    """Runs of three owners by turns, most of which the others do not see, and the end of one of each."""

    stream = "feed"
    owners = ("acme", "acme-2", None)

    def __init__(self) -> None:
        self.runs = {
            f"run-{number}": RUN.model_copy(
                update={"run_id": f"run-{number}", "tenant_id": self.owners[min(number % 10, 2)]}
            )
            for number in range(25 * SNAPSHOT_PAGE_RUNS)
        }

    def snapshot(self) -> FeedSnapshot:
        return FeedSnapshot("9-0", list(self.runs))

    def records(self, run_ids: list[str]) -> list[RunRecord]:
        return [self.runs[run_id] for run_id in run_ids]

    def page(self, name: str, *, after: str, limit: int) -> list[StreamEntry]:
        ended = [self.runs[f"run-{number}"] for number in range(3)]
        return [
            StreamEntry(b"1%d-0" % number, b"run", run.as_feed_payload())
            for number, run in enumerate(ended)
            if after == "9-0"
        ]


@pytest.mark.parametrize(
    ("access", "pages", "ended"),
    [
        (EVERY_RUN, 25, ["run-0", "run-1", "run-2"]),
        (RUNS_WITHOUT_TENANT, 20, ["run-2"]),
        (RunAccess(frozenset({"acme"})), 3, ["run-0"]),
        (RunAccess(frozenset({"acme", None})), 23, ["run-0", "run-2"]),
        (RunAccess(frozenset({"acm"})), 1, []),
    ],
)
def test_a_list_is_full_pages_of_what_its_reader_may_see(access: RunAccess, pages: int, ended: list[str]) -> None:
    feed = MixedFeed()
    runtime: Any = SimpleNamespace(runs=SimpleNamespace(feed=RunFeed(cast(Any, feed), cast(Any, QuietHub()))))
    visible = [run_id for run_id, run in feed.runs.items() if access.may_see(run)]

    batches = iter(ListReader(runtime, None, access=access))
    snapshot = [json.loads(next(batches)[0]) for _ in range(pages)]
    news = [json.loads(message) for message in next(batches)] if ended else []
    del batches

    assert [run["run_id"] for page in snapshot for run in page["runs"]] == visible
    assert {len(page["runs"]) for page in snapshot[:-1]} <= {SNAPSHOT_PAGE_RUNS}
    assert [page["more"] for page in snapshot] == [True] * (pages - 1) + [False]
    assert [one["run"]["run_id"] for one in news] == ended


def test_a_list_that_is_stopped_before_it_begins_reads_nothing() -> None:
    reader = ListReader(SimpleNamespace(), None, access=EVERY_RUN)

    reader.stop()

    assert list(reader) == []
