"""A batch of the event log: selects what is written next, and interprets the answers of Redis. It does no IO."""

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
    """What an answer of Redis means for its item."""

    WRITTEN = "written"
    """The item is written."""
    REPEAT = "repeat"
    """An event that may have been written before is refused: either it was written, or something has ended the run."""
    FENCED = "fenced"
    """An event came after the run's end, which something else has written."""
    GONE = "gone"
    """The event's stream does not exist."""
    REFUSED = "refused"
    """Redis will never accept it."""
    LOST = "lost"
    """The event is in the stream, but an earlier event that Redis refused can no longer be written."""
    FULL = "full"
    """Redis accepts no writes at the moment."""
    MOVING = "moving"
    """It alone is refused for now: in a cluster, its slot is moving from one node to another."""
    BEHIND = "behind"
    """The end of a run must wait, because events before it are waiting."""
    NO_SCRIPT = "no_script"
    """Redis no longer has the script of ends."""


PASSING = (Meaning.FULL, Meaning.MOVING, Meaning.BEHIND)
"""Meanings after which an item is retried after a while."""
TRIED_AGAIN = (*PASSING, Meaning.NO_SCRIPT)


def take_batch(queue: deque[LogItem], *, one_a_run: bool) -> tuple[list[LogItem], list[Append]]:
    """Takes the next items to write off the queue, and the unneeded events of runs that were dropped.

    With ``one_a_run`` the batch has at most one item of each run. Otherwise Redis could accept an event right after it
    has refused the one before, which it would then never accept.
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
    """Returns the meanings of the answers, one per item.

    ``repeated`` says whether the whole batch may have been written before.
    """
    meanings: list[Meaning] = []
    late: set[object] = set()
    written = Meaning.WRITTEN
    for item, answer in zip(batch, answers, strict=True):
        if isinstance(answer, bytes) and not late:  # an event's id, as nearly all answers are
            meanings.append(written)
            continue
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
    """Returns the meaning for another item. ``may_wait`` is true of an end whose run has waiting events."""
    if not isinstance(answer, ResponseError):
        return Meaning.BEHIND if may_wait and isinstance(answer, list) and answer[0] == _BEHIND else Meaning.WRITTEN
    if is_passing(answer):
        return _passing(answer)
    return Meaning.NO_SCRIPT if isinstance(answer, NoScriptError) else Meaning.REFUSED


def _passing(error: ResponseError) -> Meaning:
    # While a slot moves, only its commands are refused: this says nothing about other runs.
    return Meaning.MOVING if isinstance(error, TryAgainError) else Meaning.FULL
