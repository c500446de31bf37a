"""The private Redis of dev/start: on a unix socket in the state folder, with an append-only file."""

import hashlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from redis import BusyLoadingError, ConnectionError, Redis, TimeoutError
from redis.backoff import NoBackoff
from redis.retry import Retry

from dev.errors import LaunchError
from dev.processes import kill_session, log_tail, start_process
from dev.redis_binary import find_redis_server
from dev.state import StateFolder
from dev.stop_signals import StopSignals, wait_until
from dev.terminal import say

# Linux allows 107 bytes, macOS 103.
LONGEST_SOCKET_PATH = 100
ANSWER_SECONDS = 15.0
STOP_SECONDS = 30.0


class PrivateRedis:
    """A redis-server process and its keeper (see ``dev.keeper``).

    ``url`` is the value for DIFY_AGENT_REDIS_URL. ``lease`` is a file descriptor: Redis runs until we have closed it
    and every process that inherited it is gone.
    """

    def __init__(self, state: StateFolder) -> None:
        self.socket = socket_path(state)
        self.url = "unix://" + quote(str(self.socket))
        self._log = state.redis_log
        command = _redis_command(state, self.socket)
        reading_end, self.lease = os.pipe()
        keeper = [sys.executable, "-m", "dev.keeper", *command]
        try:
            with state.redis_log.open("wb") as log:
                self._keeper = start_process(
                    keeper, output=log, stdin=reading_end, cwd=Path(__file__).parent.parent, outlives_us=True
                )
        except BaseException:
            os.close(self.lease)
            raise
        finally:
            os.close(reading_end)

    def is_running(self) -> bool:
        return self._keeper.poll() is None

    def wait_until_ready(self, signals: StopSignals) -> None:
        """Waits until PING is answered and the append-only file is loaded, for as long as that makes progress.

        Raises LaunchError when Redis ended or does not answer, and StopRequested when a signal came.
        """
        deadline = time.monotonic() + ANSWER_SECONDS
        with _client(self.socket) as client:
            while True:
                try:
                    client.ping()
                    return
                except BusyLoadingError:
                    deadline = time.monotonic() + ANSWER_SECONDS
                except (ConnectionError, TimeoutError):
                    if not self.is_running() or time.monotonic() > deadline:
                        raise LaunchError(f"the private Redis does not start:\n{log_tail(self._log)}") from None
                signals.pause()

    def stop(self) -> None:
        """Releases Redis, and waits until it has written its data and ended. Call it when nothing uses Redis now."""
        os.close(self.lease)
        try:
            self._keeper.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            kill_session(self._keeper)


@contextmanager
def private_redis(state: StateFolder, signals: StopSignals, leftover_seconds: float) -> Iterator[PrivateRedis]:
    """Runs a ready private Redis for the time of the block, after ending one that an earlier start has left."""
    end_leftover(state, signals, leftover_seconds)
    redis = PrivateRedis(state)
    try:
        redis.wait_until_ready(signals)
        yield redis
    finally:
        redis.stop()


def socket_path(state: StateFolder) -> Path:
    """Returns the path of the socket: in the state folder, or a short path when that one is too long for a socket.

    Raises LaunchError when the temporary folder is not usable for it either.
    """
    path = state.path / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path

    name = hashlib.sha256(os.fsencode(state.path)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"greenrun-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # Anyone can write to the temporary folder, so another user may have created it first.
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise LaunchError(f"{folder} is not a private folder of yours: remove it, or set TMPDIR to another place")
    if len(os.fsencode(folder / "redis.sock")) > LONGEST_SOCKET_PATH:
        raise LaunchError(f"no path short enough for a Redis socket: {folder} is too long; set TMPDIR to a short one")
    return folder / "redis.sock"


def end_leftover(state: StateFolder, signals: StopSignals, seconds: float) -> None:
    """Ends a Redis that a killed dev/start has left on our socket.

    The server of that start began to drain when the kernel informed it of the death, and it needs its Redis to record
    how its last runs ended. So this waits while the server is connected, for at most ``seconds``.

    Raises LaunchError when that Redis cannot be ended, and StopRequested when a signal came.
    """
    socket = socket_path(state)
    deadline = time.monotonic() + seconds
    told = asked = False
    with _client(socket) as client:
        while True:
            try:
                others = len(client.client_list()) - 1
                if not told:
                    say("An earlier start was killed; waiting for what is left of it to end ...")
                    told = True
                if not asked and (others == 0 or time.monotonic() > deadline):
                    asked = True
                    deadline = time.monotonic() + STOP_SECONDS
                    client.shutdown()
                elif asked and time.monotonic() > deadline:
                    raise LaunchError(f"a Redis on {socket} does not end when asked to; end it by hand")
            except BusyLoadingError:
                pass
            except ConnectionError:
                socket.unlink(missing_ok=True)  # no process listens on it
                return
            except TimeoutError:
                _kill_silent(state, socket)
                return
            signals.pause()


def _kill_silent(state: StateFolder, socket: Path) -> None:
    pid_file = _pid_file(state)
    pid = pid_file.read_text().strip() if pid_file.exists() else ""
    # The process id may have been reused; Redis shows its socket in its process title.
    shown = subprocess.run(["ps", "-ww", "-o", "command=", "-p", pid or "0"], capture_output=True, text=True).stdout
    if str(socket) not in shown:
        raise LaunchError(f"something listens on {socket} and does not answer; end it by hand")
    os.kill(int(pid), signal.SIGKILL)
    if not wait_until(lambda: not _accepts(socket), STOP_SECONDS):
        raise LaunchError(f"the Redis on {socket} (process {pid}) survives being killed")
    socket.unlink(missing_ok=True)


def _accepts(path: Path) -> bool:
    try:
        with _client(path) as client:
            client.ping()
    except ConnectionError:
        return False
    except TimeoutError:
        return True
    return True


def _client(path: Path) -> Redis:
    return Redis(
        unix_socket_path=str(path),
        socket_timeout=5,
        socket_connect_timeout=5,
        retry=Retry(NoBackoff(), 0),
    )


def _redis_command(state: StateFolder, socket: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(state.redis_data),
        "pidfile": str(_pid_file(state)),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [str(find_redis_server()), *(part for name, value in options.items() for part in (f"--{name}", value))]


def _pid_file(state: StateFolder) -> Path:
    return state.path / "redis.pid"
