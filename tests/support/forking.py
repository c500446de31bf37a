"""Starts processes with all imports already done: ``tests/support/warm_parent.py`` forks them for us."""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from dev.processes import kill_session, start_process

CHECKOUT = Path(__file__).parents[2]
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE")
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.02
ANSWER_BYTES = 64
PR_SET_CHILD_SUBREAPER = 36
KEPT = 3
"""The number that a third descriptor gets in the forked process."""


class ForkedProcess:
    """A child process of ours that the warm parent has forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        with self._lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code. Raises ``subprocess.TimeoutExpired`` when the process runs for longer."""
        begun = time.monotonic()
        while (code := self.poll()) is None:
            if timeout is not None and time.monotonic() - begun > timeout:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(POLL_SECONDS)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)


class WarmParent:
    """The process that forks for this one. It ends when this one does."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(PATIENCE_SECONDS)
        command = [sys.executable, "-m", "tests.support.warm_parent"]
        with theirs, tempfile.TemporaryFile() as output:
            self._process = start_process(command, output=output, stdin=theirs.fileno(), cwd=CHECKOUT, env=plain_env())
            theirs.close()
            if self._control.recv(ANSWER_BYTES) != b"warm":
                self.close()
                output.seek(0)
                raise RuntimeError(f"the warm parent does not start:\n{output.read().decode(errors='replace')}")

    def fork(
        self, module: str, arguments: Sequence[str], descriptors: Sequence[int], folder: Path, env: Mapping[str, str]
    ) -> ForkedProcess:
        """Runs ``python -m module`` in a new session. ``descriptors``: see ``warm_parent.take_descriptors``."""
        request = {"module": module, "arguments": arguments, "folder": str(folder), "env": env, "parent": os.getpid()}
        with self._one_at_a_time:
            _adopt_orphans(True)
            try:
                socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
                pid = int(self._control.recv(ANSWER_BYTES))
                self._control.recv(ANSWER_BYTES)
            finally:
                _adopt_orphans(False)
        return ForkedProcess(pid)

    def close(self) -> None:
        self._control.close()
        kill_session(self._process)


@cache
def warm_parent() -> WarmParent:
    parent = WarmParent()
    atexit.register(parent.close)
    return parent


def plain_env() -> dict[str, str]:
    """The variables of our environment that a process needs to import from the checkout."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}


def _adopt_orphans(adopts: bool) -> None:
    """Makes this process, instead of init, the parent of its orphaned descendants, or stops doing so."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, adopts, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot adopt processes")
