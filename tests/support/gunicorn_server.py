"""Runs the real gunicorn for tests."""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from dev.processes import Process, kill_session, start_process
from dev.stop_signals import wait_until
from tests.support.forking import CHECKOUT, KEPT, plain_env, warm_parent
from tests.support.ports import listen_on
from tests.support.process_tree import children, still_running

START_SECONDS = 60.0
# Longer than the default grace, so that an ordinary stop is never cut short.
STOP_SECONDS = 60.0
REQUEST_SECONDS = 30.0
PREFIX = "DIFY_AGENT_"


class GunicornServer:
    """A gunicorn with its own process group and working folder.

    ``url`` is its address, without a slash at the end. ``session`` is what ``get`` and ``post`` use; it ignores the
    proxies of the environment.
    """

    def __init__(
        self, folder: Path, env: dict[str, str], *, workers: int, port: int, conf: str, app: str, cold: bool = False
    ) -> None:
        self._log = folder / "gunicorn.log"
        self.session = requests.Session()
        self.session.trust_env = False
        # gunicorn gets a socket that already listens: a free port cannot be lost to another program on the way.
        with listen_on(port) as listener, self._log.open("wb") as log:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            arguments = ["-c", str(CHECKOUT / conf), "--no-control-socket", "-w", str(workers), app, "-b"]
            # A variable that is not one of our settings may be read during an import, as gunicorn's are.
            cold = cold or not all(name.startswith(PREFIX) for name in env)
            start = _start_cold if cold else _start_warm
            # The working folder is empty, so that no .env of the checkout is read.
            self._process = start(arguments, listener.fileno(), log.fileno(), folder, {**plain_env(), **env})

    @property
    def pid(self) -> int:
        """The process id of gunicorn's arbiter."""
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it has logged so far."""
        return self._log.read_text(errors="replace")

    def workers(self) -> list[int]:
        """Returns the process ids of the running workers."""
        return sorted(still_running(children(self.pid)))

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.url + path, **{"timeout": REQUEST_SECONDS, **options})

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.session.post(self.url + path, **{"timeout": REQUEST_SECONDS, **options})

    def is_running(self) -> bool:
        return self._process.poll() is None

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal to the arbiter and returns at once."""
        self._process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Waits for gunicorn to end and returns its exit code, which is negative when a signal ended it.

        Raises ``AssertionError`` when it still runs after ``seconds``.
        """
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"gunicorn still runs after {seconds:g} s:\n{self.log}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """Sends a signal to the arbiter, if it still runs, and calls ``wait``."""
        if self.is_running():
            self.send_signal(number)
        return self.wait(seconds)

    def wait_until_ready(self) -> None:
        """Waits until ``GET /ready`` answers 200.

        Raises ``RuntimeError``, with the log, when gunicorn has ended or is not ready in time.
        """
        ready = wait_until(lambda: not self.is_running() or self._is_ready(), START_SECONDS)
        if not ready or not self.is_running():
            what = "is not ready" if self.is_running() else f"ended with {self._process.returncode}"
            raise RuntimeError(f"gunicorn {what}:\n{self.log}")

    def close(self) -> None:
        """Kills gunicorn and all of its processes."""
        self.session.close()
        kill_session(self._process)

    def _is_ready(self) -> bool:
        try:
            return self.get("/ready", timeout=5).status_code == 200
        except requests.RequestException:
            return False


@contextmanager
def running_server(
    env: dict[str, str],
    workers: int = 1,
    port: int = 0,
    conf: str = "gunicorn.conf.py",
    app: str = "app:app",
    *,
    cold: bool = False,
) -> Iterator[GunicornServer]:
    """Runs gunicorn, ready, for the time of the block. Call ``stop`` for a graceful end; leaving the block kills it.

    ``env`` is its environment, besides basic variables such as PATH: no DIFY_AGENT_ variable is inherited and no .env
    is read. ``port`` is a port of 127.0.0.1; 0 chooses a free one. ``conf`` is gunicorn's configuration file, in the
    checkout; ``app`` is the application, importable from the checkout.

    A ``cold`` server imports everything anew, as every real start does, instead of being forked by ``warm_parent``;
    tests of starting, reloading and memory need that. A server with variables that are not our settings is always cold.

    Raises ``RuntimeError`` when it does not become ready.
    """
    folder = Path(tempfile.mkdtemp(prefix="gunicorn-"))
    try:
        server = GunicornServer(folder, env, workers=workers, port=port, conf=conf, app=app, cold=cold)
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.close()
    finally:
        shutil.rmtree(folder)


def _start_cold(arguments: list[str], listener: int, log: int, folder: Path, env: dict[str, str]) -> Process:
    command = [sys.executable, "-m", "gunicorn", *arguments, f"fd://{listener}"]
    return start_process(command, output=log, cwd=folder, env=env, keep_fds=(listener,))


def _start_warm(arguments: list[str], listener: int, log: int, folder: Path, env: dict[str, str]) -> Process:
    # gunicorn takes the default of --chdir when it is imported, which happened in another folder.
    arguments = [*arguments, f"fd://{KEPT}", "--chdir", str(folder)]
    return warm_parent().fork("gunicorn", arguments, (log, log, listener), folder, env)
