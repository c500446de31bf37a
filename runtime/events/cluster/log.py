"""The event log when Redis is a cluster: a log for each node, so that none waits for the trouble of another."""

from __future__ import annotations

import time
from collections.abc import Callable

from runtime.events.cluster.slots import SlotMap, slot_of
from runtime.events.log import EventLog
from runtime.events.run_log import RunLog
from runtime.protocol.events import RunEnd
from runtime.protocol.records import RunRecord


class ClusterLog:
    """Hands each run to a log, always the same for the runs of one slot: they stay in order wherever the slot moves.

    A log is made for each node when the first run comes whose slot is there, and its link follows slots that move.
    """

    def __init__(self, slots: SlotMap, make: Callable[[], EventLog], stream_of: Callable[[str], str]) -> None:
        self._slots = slots
        self._make = make
        self._stream_of = stream_of
        self._by_node: dict[str, EventLog] = {}
        self._by_slot: dict[int, EventLog] = {}

    def start(self) -> None:
        """Nothing: each log is started when it is made."""

    def open_run(self, record: RunRecord) -> RunLog:
        """The log of a run whose record is stored, and its first event unless it waits."""
        return self._log_of(record.run_id).open_run(record)

    def abandon(self, record: RunRecord, end: RunEnd) -> None:
        """End a run that may or may not have been stored, as soon as Redis can be reached."""
        self._log_of(record.run_id).abandon(record, end)

    def close_run(self, run_log: RunLog) -> None:
        """Forget a run: its lifetime is no longer renewed."""
        self._log_of(run_log.run_id).close_run(run_log)

    def flush(self, timeout: float) -> bool:
        """Wait until everything is written; False when ``timeout`` seconds were not enough."""
        end = time.monotonic() + timeout
        return all(log.flush(max(0.0, end - time.monotonic())) for log in self._by_node.values())

    def close(self) -> None:
        """Stop. What is not written by now is lost; call ``flush`` before."""
        for log in list(self._by_node.values()):
            log.close()

    def _log_of(self, run_id: str) -> EventLog:
        stream = self._stream_of(run_id)
        slot = slot_of(stream)
        if slot not in self._by_slot:
            node = self._slots.last_node_of(stream)
            if node not in self._by_node:
                self._by_node[node] = log = self._make()
                log.start()
            self._by_slot[slot] = self._by_node[node]
        return self._by_slot[slot]
