"""Starts processes that have everything imported: children of ours that ``tests/support/warm_parent.py`` forks."""

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
"""The descriptor that a third one becomes in the forked process."""


class ForkedProcess:
    """A child of ours that another process has forked."""

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
        """Raises subprocess.TimeoutExpired."""
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
    """The warm parent of this process. It ends when we do."""

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
        """Run ``python -m module`` in a session of its own; see ``warm_parent.take_descriptors``."""
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
    """What a process needs of our environment to import from the checkout."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}


def _adopt_orphans(adopts: bool) -> None:
    """Whether we, and not init, are the parent of what our descendants leave behind."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, adopts, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot adopt processes")
