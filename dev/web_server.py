"""The gunicorn of dev/start."""

import errno
import ipaddress
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from dev.errors import LaunchError
from dev.processes import kill_session, log_tail, start_process
from dev.stop_signals import StopSignals, wait_until
from dev.terminal import say

APP = "dev.app:app"
READY_SECONDS = 60.0
# What gunicorn needs beyond the grace of the runs: it finalises runs, flushes, and has its own timeout.
MARGIN_SECONDS = 20.0
# How long a hurried gunicorn may still take before it is killed.
HURRY_SECONDS = 5.0


@dataclass(frozen=True)
class Address:
    """Where gunicorn listens."""

    host: str
    port: int

    @property
    def bind(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def is_public(self) -> bool:
        """Whether other machines can reach it. A host that cannot be resolved counts as unreachable."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError:
            return False
        return not all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found)

    @property
    def url(self) -> str:
        """The address for programs on this machine."""
        reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://{_bracketed(reachable)}:{self.port}"

    def check_free(self) -> None:
        """Raises LaunchError when gunicorn could not listen here."""
        try:
            _bind(self.host, self.port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise LaunchError(f"{self.bind} is in use by another program; choose another with --port") from None
            raise LaunchError(f"cannot listen on {self.bind}: {error.strerror or error}") from None

    def or_any_free_port(self) -> "Address":
        """Returns this address, or the same with a port that is free at the moment."""
        try:
            return Address(self.host, _bind(self.host, self.port))
        except OSError:
            return Address(self.host, _bind(self.host, 0))


class WebServer:
    """A gunicorn process, which listens at ``address``."""

    def __init__(
        self,
        address: Address,
        workers: int,
        environment: Mapping[str, str],
        log: Path,
        keep_fds: tuple[int, ...],
    ) -> None:
        self.address = address
        self._log = log
        self._shown = 0
        command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"]
        command += ["--no-control-socket", "-b", address.bind, "-w", str(workers), APP]
        with log.open("wb") as output:
            self._process = start_process(
                command,
                output=output,
                cwd=Path(__file__).parent.parent,
                env=environment,
                keep_fds=keep_fds,
            )

    def is_running(self) -> bool:
        return self._process.poll() is None

    def new_log_text(self) -> str:
        """Returns what the server has logged since the last call."""
        with self._log.open("rb") as log:
            log.seek(self._shown)
            text = log.read()
        self._shown += len(text)
        return text.decode(errors="replace")

    def wait_until_ready(self, signals: StopSignals) -> None:
        """Waits until GET /ready answers 200.

        Raises LaunchError when gunicorn ended or is not ready in time, with the end of its log or the reasons it gave.
        Raises StopRequested when a signal came.
        """
        deadline = time.monotonic() + READY_SECONDS
        answer = "no answer"
        with requests.Session() as session:
            session.trust_env = False  # not through a proxy
            while True:
                if not self.is_running():
                    raise LaunchError(f"gunicorn ended while starting; the end of {self._log}:\n{log_tail(self._log)}")
                try:
                    response = session.get(f"{self.address.url}/ready", timeout=5)
                    if response.status_code == 200:
                        return
                    answer = f"{response.status_code} {response.text.strip()[:500]}"
                except requests.RequestException as error:
                    answer = type(error).__name__
                if time.monotonic() > deadline:
                    end_of_log = f"the end of {self._log}:\n{log_tail(self._log)}"
                    raise LaunchError(f"not ready after {READY_SECONDS:.0f} s ({answer}); {end_of_log}")
                signals.pause()

    def stop(self, signals: StopSignals, grace: float) -> None:
        """Ends gunicorn and waits for it: at once when it is idle, else when its runs or their grace have ended.

        A further signal makes it hurry. In any case none of its processes is left.
        """
        if self.is_running():
            calls = signals.count
            self._process.send_signal(signal.SIGTERM)
            wait_until(lambda: not self.is_running() or signals.count > calls, grace + MARGIN_SECONDS)
        if self.is_running():
            calls = signals.count
            say("Hurrying ...")
            self._process.send_signal(signal.SIGQUIT)
            wait_until(lambda: not self.is_running() or signals.count > calls, HURRY_SECONDS)
        kill_session(self._process)


@contextmanager
def web_server(
    address: Address,
    *,
    workers: int,
    environment: Mapping[str, str],
    log: Path,
    signals: StopSignals,
    grace: float,
    keep_fds: tuple[int, ...] = (),
) -> Iterator[WebServer]:
    """Runs a ready gunicorn for the time of the block.

    ``grace`` is how many seconds its active runs may go on at the end. ``keep_fds`` are file descriptors that it and
    its workers inherit.
    """
    address.check_free()
    server = WebServer(address, workers, environment, log, keep_fds)
    try:
        server.wait_until_ready(signals)
        yield server
    finally:
        server.stop(signals, grace)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bind(host: str, port: int) -> int:
    """Binds and releases a port. Returns its number."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        return int(probe.getsockname()[1])
