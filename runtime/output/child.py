"""A process that examines schemas and checks outputs for a worker. The worker's socket is its standard input.

It ends when the worker closes that socket, however the worker ends. The worker kills it when a job takes too long; if
the worker is gone by then, the alarm does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache

from runtime.output.elsewhere import DONE, EXAMINE, REFUSED
from runtime.output.errors import InvalidOutputSchema, OutputProblem, OutputRejected
from runtime.output.frames import receive_message, send_message
from runtime.output.judge import judge
from runtime.output.policy import Repair
from runtime.output.pool import JOB_SECONDS
from runtime.output.repair import AppliedRepair
from runtime.output.schema import examine
from runtime.output.validation import Validation

ALARM_SECONDS = JOB_SECONDS + 5
NICENESS = 5
"""Where CPU time is scarce, the streams of the workers have priority."""


def main() -> None:
    # A signal that stops the worker must not stop the checks of runs that may still finish.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    with socket.socket(fileno=sys.stdin.fileno()) as worker:
        worker.setblocking(True)  # gevent made it non-blocking
        send_message(worker, [b"ready"])
        serve(worker)


def serve(worker: socket.socket) -> None:
    """Does jobs until the connection ends."""
    while True:
        try:
            job = receive_message(worker)
        except ConnectionError:
            return
        signal.setitimer(signal.ITIMER_REAL, ALARM_SECONDS)
        answer = do(*job)
        signal.setitimer(signal.ITIMER_REAL, 0)
        send_message(worker, answer)


def do(kind: bytes, schema: bytes, *rest: bytes) -> list[bytes]:
    """Returns the answer to one job."""
    if kind == EXAMINE:
        try:
            return [DONE, examine(schema.decode()).as_json().encode()]
        except InvalidOutputSchema as error:
            return [REFUSED, str(error).encode()]
    repair, text = (part.decode() for part in rest)
    try:
        checked = judge(_validation(schema), text, Repair(repair))
    except OutputRejected as error:
        return [REFUSED, _as_json(error.problems)]
    return [DONE, _as_json(checked.repairs), checked.text.encode() if checked.repairs else b""]


def _as_json(parts: Sequence[OutputProblem | AppliedRepair]) -> bytes:
    return json.dumps([asdict(part) for part in parts]).encode()


@lru_cache(maxsize=16)
def _validation(schema: bytes) -> Validation:
    return Validation(json.loads(schema))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        # The error's text is left out, because it may quote what was checked.
        print(f"{type(error).__name__} in a process that checks outputs", file=sys.stderr)  # noqa: T201
        traceback.print_tb(error.__traceback__)
        sys.exit(1)
