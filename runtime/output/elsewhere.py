"""Has schemas examined and answers checked in the processes of this worker's pool."""

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
"""The pool of this process, by process id: a forked process must not use its parent's sockets."""


def shared_pool() -> CheckPool:
    """Returns the pool of this process, which is created on first use."""
    pool = _pools.get(os.getpid())
    if pool is None:
        pool = _pools[os.getpid()] = CheckPool()
    return pool


def close_shared_pool() -> None:
    """Ends the processes of the pool, if there is one. The next use creates a new pool."""
    pool = _pools.pop(os.getpid(), None)
    if pool is not None:
        pool.close()


def examine_elsewhere(schema: str) -> str:
    """Returns the findings about a schema, as JSON.

    Raises InvalidOutputSchema when the schema cannot be used, and OutputCheckUnavailable when no process could examine
    it.
    """
    try:
        outcome, text = shared_pool().do([EXAMINE, schema.encode()])
    except JobTimeout:
        raise InvalidOutputSchema(f"the schema could not be examined within {JOB_SECONDS:g} seconds") from None
    if outcome == REFUSED:
        raise InvalidOutputSchema(text.decode())
    return text.decode()


def judge_elsewhere(schema: str, text: str, repair: Repair) -> CheckedOutput:
    """Judges an answer as ``judge`` does, in another process.

    Raises OutputRejected when the output does not satisfy the schema or could not be checked in time, and
    OutputCheckUnavailable when no process could check it.
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
