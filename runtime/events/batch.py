"""A batch of the event log: what is written next, and what Redis' answers to it mean. Without IO."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from redis.exceptions import NoScriptError, ResponseError, TryAgainError

from runtime.events.connections import is_passing
from runtime.events.log_items import Append, End, LogItem
from runtime.events.store import EndOutcome

MAX_BATCH_ITEMS = 512

_BEHIND = EndOutcome.BEHIND.encode()


class Meaning(StrEnum):
    """What Redis' answer to one item means."""

    WRITTEN = "written"
    """It is done."""
    REPEAT = "repeat"
    """An event that may have been written before is not taken now: either it was, or something has ended the run."""
    FENCED = "fenced"
    """An event came behind the run's end, which something else has written."""
    GONE = "gone"
    """The stream of the event is not there."""
    REFUSED = "refused"
    """Redis will never take it."""
    LOST = "lost"
    """The event is in the stream, and one before it, which Redis refused, can no longer be."""
    FULL = "full"
    """Redis takes no writes for now."""
    MOVING = "moving"
    """It is refused for now, alone: in a cluster its place moves from node to node."""
    BEHIND = "behind"
    """The end of a run waits, since events before it do."""
    NO_SCRIPT = "no_script"
    """Redis has forgotten the script of ends."""


PASSING = (Meaning.FULL, Meaning.MOVING, Meaning.BEHIND)
"""What is tried again after a while."""
TRIED_AGAIN = (*PASSING, Meaning.NO_SCRIPT)


def take_batch(queue: deque[LogItem], *, one_a_run: bool) -> tuple[list[LogItem], list[Append]]:
    """Take off the queue what to write next, and beside it the events of runs whose events nobody wants any more.

    With ``one_a_run`` it is one item of each run: else Redis could take an event right after it has refused the one
    before, which it then never takes.
    """
    batch: list[LogItem] = []
    unwanted: list[Append] = []
    later: list[LogItem] = []
    runs: set[object] = set()
    while queue and len(batch) + len(later) < MAX_BATCH_ITEMS:
        item = queue.popleft()
        if item.run_log.is_dropped and isinstance(item, Append):
            unwanted.append(item)
        elif one_a_run and item.run_log in runs:
            later.append(item)
        else:
            batch.append(item)
            runs.add(item.run_log)
    queue.extendleft(reversed(later))
    return batch, unwanted


def read_answers(batch: Sequence[LogItem], answers: Sequence[Any], *, repeated: bool) -> list[Meaning]:
    """What the answers mean, one an item. ``repeated`` is whether the whole batch may have been written before."""
    meanings: list[Meaning] = []
    late: set[object] = set()
    for item, answer in zip(batch, answers, strict=True):
        is_late = item.run_log in late
        if isinstance(item, Append):
            meaning = _of_event(answer, repeated=repeated or item.repeated, is_late=is_late)
            if meaning in PASSING:
                late.add(item.run_log)
        else:
            meaning = _of_other(answer, may_wait=is_late and isinstance(item, End))
        meanings.append(meaning)
    return meanings


def _of_event(answer: Any, *, repeated: bool, is_late: bool) -> Meaning:
    if isinstance(answer, bytes):
        return Meaning.LOST if is_late else Meaning.WRITTEN
    if answer is None:
        return Meaning.GONE
    if is_passing(answer):
        return _passing(answer)
    if "equal or smaller" not in str(answer):
        return Meaning.REFUSED
    if not repeated:
        return Meaning.FENCED
    return Meaning.LOST if is_late else Meaning.REPEAT


def _of_other(answer: Any, *, may_wait: bool) -> Meaning:
    """``may_wait`` is of an end whose run has events that wait."""
    if not isinstance(answer, ResponseError):
        return Meaning.BEHIND if may_wait and isinstance(answer, list) and answer[0] == _BEHIND else Meaning.WRITTEN
    if is_passing(answer):
        return _passing(answer)
    return Meaning.NO_SCRIPT if isinstance(answer, NoScriptError) else Meaning.REFUSED


def _passing(error: ResponseError) -> Meaning:
    # What moves is refused alone, and says nothing of other runs.
    return Meaning.MOVING if isinstance(error, TryAgainError) else Meaning.FULL
