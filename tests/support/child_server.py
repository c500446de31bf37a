"""A scripted server in a process of its own."""

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
    """The port that ``python -m module`` prints. It ends with the context, and with this process at the latest."""
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
