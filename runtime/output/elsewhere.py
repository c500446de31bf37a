"""Examinations and checks in the processes of this worker's pool."""

from __future__ import annotations

import json
import os

from runtime.output.errors import InvalidOutputSchema, OutputProblem, OutputRejected
from runtime.output.judge import CheckedOutput
from runtime.output.policy import Repair
from runtime.output.pool import JOB_SECONDS, CheckPool, JobTimeout
from runtime.output.repair import AppliedRepair

EXAMINE, CHECK = b"examine", b"check"
DONE, REFUSED = b"done", b"refused"

_pools: dict[int, CheckPool] = {}
"""The pool of this process, by its id: one that was forked must not talk over its parent's sockets."""


def shared_pool() -> CheckPool:
    """The pool of this process, made on first use."""
    pool = _pools.get(os.getpid())
    if pool is None:
        pool = _pools[os.getpid()] = CheckPool()
    return pool


def close_shared_pool() -> None:
    """End the processes of the pool, if there is one. The next use makes a new pool."""
    pool = _pools.pop(os.getpid(), None)
    if pool is not None:
        pool.close()


def examine_elsewhere(schema: str) -> str:
    """The findings about a schema, as JSON.

    Raises:
        InvalidOutputSchema: it cannot be used.
        OutputCheckUnavailable: no process could tell.
    """
    try:
        outcome, text = shared_pool().do([EXAMINE, schema.encode()])
    except JobTimeout:
        raise InvalidOutputSchema(f"the schema could not be examined within {JOB_SECONDS:g} seconds") from None
    if outcome == REFUSED:
        raise InvalidOutputSchema(text.decode())
    return text.decode()


def judge_elsewhere(schema: str, text: str, repair: Repair) -> CheckedOutput:
    """As ``judge``.

    Raises:
        OutputRejected: the output is not as the schema says, or nobody could tell in time.
        OutputCheckUnavailable: no process could tell.
    """
    try:
        outcome, *answer = shared_pool().do([CHECK, schema.encode(), repair.encode(), text.encode()])
    except JobTimeout:
        raise OutputRejected(
            [OutputProblem.of_whole(f"the output could not be checked within {JOB_SECONDS:g} seconds")]
        ) from None
    if outcome == REFUSED:
        raise OutputRejected([OutputProblem(**problem) for problem in json.loads(answer[0])])
    repairs, repaired = answer
    return CheckedOutput(repaired.decode() or text, [AppliedRepair(**repair) for repair in json.loads(repairs)])
