"""Runs a scripted server in a separate process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).parents[2]
START_SECONDS = 30.0


@contextmanager
def running_child(module: str, *arguments: str) -> Iterator[int]:
    """Runs ``python -m module`` for the time of the block and yields the port that it prints. It never outlives us."""
    command = [sys.executable, "-m", module, "--port", "0", "--stop-with-stdin", *arguments]
    process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{module} did not start (exit code {process.wait(START_SECONDS)})")
        yield int(line)
    finally:
        process.stdin.close()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
