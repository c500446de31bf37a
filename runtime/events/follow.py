"""Following a run: its history by pages, then its events as they come, with nothing missing or doubled at the seam."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.events.entries import StreamEntry
from runtime.events.hub import Hub
from runtime.events.store import RunStore
from runtime.events.viewer import Viewer
from runtime.protocol.cursors import position

PAGE_ENTRIES = 200


class Follower:
    """One reader's way through one run, from a cursor to the terminal event.

    Iterating gives batches of entries; an empty batch means that nothing came for ``heartbeat`` seconds. It ends after
    the terminal event, when the stream is gone, or when it was cut (``is_cut``) because the worker stops.
    """

    def __init__(
        self, run_id: str, *, after: str, has_ended: bool, store: RunStore, hub: Hub, heartbeat: float
    ) -> None:
        self._viewer = Viewer(run_id)
        self._run_id = run_id
        self._after = after
        self._has_ended = has_ended
        self._store = store
        self._hub = hub
        self._heartbeat = heartbeat
        self._finished = False

    @property
    def is_cut(self) -> bool:
        return self._viewer.is_cut and not self._finished

    def stop(self) -> None:
        """End the iteration soon, as if it were cut. For another greenlet than the one that iterates."""
        self._viewer.cut()

    def __iter__(self) -> Iterator[list[StreamEntry]]:
        self._hub.admit(self._viewer)
        try:
            yield from self._follow()
        finally:
            self._hub.leave(self._viewer)

    def _follow(self) -> Iterator[list[StreamEntry]]:
        after = self._after
        yield from self._pages()
        if after == self._after and not self._has_ended:
            yield []  # so that the response begins, although nothing may come for a while
        if self._finished or self._has_ended:
            self._finished = True
            return
        # What was read is really in the stream; a cursor that a client made up may lie beyond its end.
        cursor = self._after if self._after != after else self._store.last_cursor(self._run_id)
        if cursor is None:
            return
        self._hub.join(self._viewer, cursor=cursor)
        while not self._finished and not self._viewer.is_cut:
            # What comes while this page is read is both in it and in the queue: no gap, and _advance drops doubles.
            self._viewer.catch_up()
            yield from self._pages()
            yield from self._live()
            yield from self._pages()

    def _pages(self) -> Iterator[list[StreamEntry]]:
        while not self._finished and not self._viewer.is_cut:
            page = self._store.page(self._run_id, after=self._after, limit=PAGE_ENTRIES)
            new = self._advance(page)
            if new:
                yield new
            if len(page) < PAGE_ENTRIES:
                return

    def _live(self) -> Iterator[list[StreamEntry]]:
        while not self._finished and not self._viewer.is_cut and not self._viewer.lagging:
            entries = self._viewer.take(self._heartbeat)
            if self._viewer.lagging or self._viewer.is_cut:
                return
            if not entries and not self._store.has_events(self._run_id):
                self._finished = True
                return
            new = self._advance(entries)
            if new or not entries:
                yield new

    def _advance(self, entries: list[StreamEntry]) -> list[StreamEntry]:
        """The entries that are new to this reader."""
        last = position(self._after)
        new = [entry for entry in entries if entry.position > last]
        if new:
            self._after = new[-1].cursor
        if entries and entries[-1].is_terminal:
            self._finished = True
        return new
