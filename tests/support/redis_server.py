"""Runs a real redis-server for tests."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import ConnectionError, Redis, TimeoutError
from redis.backoff import NoBackoff
from redis.retry import Retry

from dev.processes import log_tail, start_process
from dev.redis_binary import find_redis_server
from dev.stop_signals import wait_until
from tests.support.ports import free_port

START_SECONDS = 30.0
STOP_SECONDS = 30.0
# A free port can be taken by another program before redis-server binds it.
PORT_ATTEMPTS = 5


class RedisServer:
    """A redis-server with its own folder.

    ``url`` is ``redis://…`` or ``unix://…``, with the password if there is one; it stays the same after ``restart``.
    ``folder`` has its data, log and socket.
    """

    def __init__(self, folder: Path, *, unix_socket: bool, persistent: bool, password: str | None = None) -> None:
        self.folder = folder
        self._log = folder / "redis.log"
        self._persistent = persistent
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[Redis] = []
        for _ in range(PORT_ATTEMPTS):
            self._port = 0 if unix_socket else free_port()
            socket = folder / "redis.sock"
            user = f":{password}@" if password else ""
            self.url = f"unix://{user}{socket}" if unix_socket else f"redis://{user}127.0.0.1:{self._port}/0"
            if self._start():
                return
        raise RuntimeError(f"redis-server does not start:\n{log_tail(self._log)}")

    @property
    def pid(self) -> int:
        """Its process id; only available while it runs."""
        assert self._process is not None, "redis-server was stopped"
        return self._process.pid

    def client(self) -> Redis:
        """Returns a new client, closed with the server. It does not retry, and gives up on an answer after 10 s."""
        client = Redis.from_url(self.url, socket_timeout=10, socket_connect_timeout=10, retry=Retry(NoBackoff(), 0))
        self._clients.append(client)
        return client

    def pause(self) -> None:
        """Freezes it: connections stay open and nothing is answered until ``resume``."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kills it (SIGKILL). Its data is lost unless it is ``persistent``."""
        self._signal(signal.SIGKILL)
        self._collect()

    def stop(self) -> None:
        """Stops it gracefully. Does nothing when it is not running."""
        if self._process is not None:
            self._signal(signal.SIGCONT)  # a frozen process does not handle SIGTERM
            self._signal(signal.SIGTERM)
            self._collect()

    def restart(self, *options: str, keep_data: bool = True) -> None:
        """Starts it again at the same address, after stopping it if it is running.

        Data is kept when it is ``persistent``, unless ``keep_data`` is false; ``options`` are for this start only.
        """
        self.stop()
        if not keep_data:
            (self.folder / "appendonly.aof").unlink(missing_ok=True)
            shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
        if not self._start(*options):
            raise RuntimeError(f"redis-server does not start again:\n{log_tail(self._log)}")

    def close(self) -> None:
        """Closes the clients and stops it."""
        for client in self._clients:
            client.close()
        self.stop()

    def _start(self, *options: str) -> bool:
        with self._log.open("ab") as log:
            process = start_process([*self._command(), *options], output=log)
        self._process = process
        with self._probe() as probe:
            answered = wait_until(lambda: process.poll() is not None or _serves(probe, process.pid), START_SECONDS)
        if answered and process.poll() is None:
            return True
        self.kill()
        return False

    def _probe(self) -> Redis:
        return Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0))

    def _command(self) -> list[str]:
        command = [str(find_redis_server()), "--bind", "127.0.0.1", "--port", str(self._port), "--save", ""]
        command += ["--dir", str(self.folder), "--appendonly", "yes" if self._persistent else "no"]
        # ``kill`` must not lose an acknowledged write, or tests of outages would see two faults at once.
        command += ["--appendfsync", "always"]
        if self._password is not None:
            command += ["--requirepass", self._password]
        if not self._port:
            command += ["--unixsocket", str(self.folder / "redis.sock")]
        return command

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "redis-server was stopped"
        self._process.send_signal(number)

    def _collect(self) -> None:
        assert self._process is not None, "redis-server was stopped"
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextmanager
def running_redis(
    *, unix_socket: bool = False, persistent: bool = False, password: str | None = None
) -> Iterator[RedisServer]:
    """Runs a redis-server for the time of the block, on a free port or on a unix socket.

    A ``persistent`` one keeps an append-only file, so that data survives ``kill`` and ``restart``.
    """
    folder = Path(tempfile.mkdtemp(prefix="redis-"))  # short: a unix socket's path has at most 107 bytes
    try:
        server = RedisServer(folder, unix_socket=unix_socket, persistent=persistent, password=password)
        try:
            yield server
        finally:
            server.close()
    finally:
        shutil.rmtree(folder)


def _serves(client: Redis, pid: int) -> bool:
    """Whether the answer comes from this process, and not from another one that took the port first."""
    try:
        info = client.info("server")
    except (ConnectionError, TimeoutError, OSError):
        return False
    return bool(info["process_id"] == pid)
