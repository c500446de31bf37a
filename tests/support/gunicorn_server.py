"""The real gunicorn for tests."""

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
    """A gunicorn in a process group and a working folder of its own.

    Attributes:
        url: its address, without a slash at the end.
        session: what `get` and `post` use; it ignores the proxies of the environment.
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
            # What is no setting may be looked at by an import, as gunicorn's own variables are.
            cold = cold or not all(name.startswith(PREFIX) for name in env)
            start = _start_cold if cold else _start_warm
            # The working folder is an empty one, so that no .env of the checkout is read.
            self._process = start(arguments, listener.fileno(), log.fileno(), folder, {**plain_env(), **env})

    @property
    def pid(self) -> int:
        """The process id of gunicorn's arbiter."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def workers(self) -> list[int]:
        """Return the process ids of the workers that run."""
        return sorted(still_running(children(self.pid)))

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.url + path, **{"timeout": REQUEST_SECONDS, **options})

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.session.post(self.url + path, **{"timeout": REQUEST_SECONDS, **options})

    def is_running(self) -> bool:
        return self._process.poll() is None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the arbiter and return at once."""
        self._process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for gunicorn to end and return its exit code; negative when a signal ended it.

        Raises:
            AssertionError: it still runs after so many seconds.
        """
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"gunicorn still runs after {seconds:g} s:\n{self.log}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """Send a signal to the arbiter (if it still runs) and `wait`."""
        if self.is_running():
            self.send_signal(number)
        return self.wait(seconds)

    def wait_until_ready(self) -> None:
        """Wait for GET /ready to answer 200.

        Raises:
            RuntimeError: it ended or is not ready in time; with all it wrote.
        """
        ready = wait_until(lambda: not self.is_running() or self._is_ready(), START_SECONDS)
        if not ready or not self.is_running():
            what = "is not ready" if self.is_running() else f"ended with {self._process.returncode}"
            raise RuntimeError(f"gunicorn {what}:\n{self.log}")

    def close(self) -> None:
        """End it at once, with all of its processes."""
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
    """Run gunicorn, ready, for the time of the block. Call `stop` for a graceful end; leaving the block kills it.

    Args:
        env: its environment, besides the likes of PATH. No DIFY_AGENT_ variable is inherited and no .env is read.
        port: of 127.0.0.1; 0 is a free one.
        conf: gunicorn's configuration file, from the checkout.
        app: the application, importable from the checkout.
        cold: import everything anew, as every real start does, instead of being forked by the `warm_parent`: for tests
            of starting, reloading and memory. A server with variables that are no settings of ours always does.

    Raises:
        RuntimeError: it did not become ready.
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
    # Where to be is a default that gunicorn has from its import, which was elsewhere.
    arguments = [*arguments, f"fd://{KEPT}", "--chdir", str(folder)]
    return warm_parent().fork("gunicorn", arguments, (log, log, listener), folder, env)
