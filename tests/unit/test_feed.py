"""The list of the feed, for a reader that fell further behind than Redis remembers."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from runtime.events.entries import StreamEntry
from runtime.events.feed import CursorLost, FeedSnapshot
from runtime.events.viewer import Viewer
from runtime.protocol.dialects import Dialect
from runtime.protocol.records import RunRecord, RunStatus
from services.feed import ListReader

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
        self.viewers: list[Viewer] = []

    def admit(self, viewer: Viewer) -> None:
        self.viewers.append(viewer)

    def leave(self, viewer: Viewer) -> None:
        self.viewers.remove(viewer)

    def join_owned(self, viewer: Viewer) -> bool:
        return False


def test_a_list_that_fell_too_far_behind_begins_with_what_runs_now() -> None:
    hub = QuietHub()
    runtime: Any = SimpleNamespace(feed=ForgetfulFeed(), hub=hub)
    batches = iter(ListReader(runtime, None))

    empty, snapshot, end = (json.loads(next(batches)[0]) for _ in range(3))
    del batches

    assert empty == {"type": "runs", "runs": [], "more": False, "id": "1-0"}
    assert snapshot["id"] == "9-0"
    assert snapshot["runs"][0]["status"] == "running", "as it was at the snapshot: its end comes behind"
    assert snapshot["runs"][0]["updated_at"] == RUN.created_at
    assert end == {"type": "run", "id": "10-0", "run": {"status": "succeeded"}}
    assert hub.viewers == []


def test_a_list_that_is_stopped_before_it_begins_reads_nothing() -> None:
    reader = ListReader(SimpleNamespace(), None)  # type: ignore[arg-type]

    reader.stop()

    assert list(reader) == []
