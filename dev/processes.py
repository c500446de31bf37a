"""Starts and ends the processes of dev/start."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

PR_SET_PDEATHSIG = 1


class Process(Protocol):
    """A child process of ours: the part of ``subprocess.Popen`` that we use."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...


def end_with_parent() -> Callable[[], None]:
    """Returns a ``preexec_fn`` that has the kernel send SIGTERM to the child when its parent dies, for whatever reason.

    Only Linux can do this; elsewhere the child outlives a parent that was killed.
    """
    if not sys.platform.startswith("linux"):
        return lambda: None

    # Looked up here, because the child of a fork should do as little as possible before exec.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask_for_signal() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)

    return ask_for_signal


def start_process(
    command: Sequence[str],
    *,
    output: IO[bytes] | int,
    stdin: int = subprocess.DEVNULL,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    keep_fds: Sequence[int] = (),
    outlives_us: bool = False,
) -> subprocess.Popen[bytes]:
    """Starts a command in its own session, so that the terminal's Ctrl-C does not reach it.

    Unless it ``outlives_us`` it gets SIGTERM when we die.
    """
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=env,
        pass_fds=keep_fds,
        start_new_session=True,
        preexec_fn=None if outlives_us else end_with_parent(),
    )


def kill_session(process: Process) -> None:
    """Kills a process of ``start_process`` and all of its children, and reaps it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def log_tail(path: Path, lines: int = 15) -> str:
    """Returns the last lines of a log file, indented, for an error message."""
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
