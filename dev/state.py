"""The state folder of dev/start: ``.greenrun`` in the checkout, or a temporary one for the demo."""

import base64
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.errors import LaunchError


class StateFolder:
    """The paths in the state folder, its lock, and the secrets that are created once and kept there.

    Raises LaunchError when the folder cannot be created or belongs to another user.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.redis_data = path / "redis"
        self.redis_log = path / "logs" / "redis.log"
        self.server_log = path / "logs" / "gunicorn.log"
        self.admin_token_file = path / "admin-token"
        self.api_token_file = path / "api-token"
        self.secret_keys_file = path / "secret-keys"
        self.database = path / "greenrun.db"
        self.database_url = f"sqlite:///{self.database.absolute()}"
        self.workspace_key_file = path / "workspace-key"
        try:
            for folder in (path, self.redis_data, path / "logs"):
                folder.mkdir(mode=0o700, exist_ok=True)
            path.chmod(0o700)
        except OSError as error:
            raise LaunchError(f"cannot use the state folder {path}: {error}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the folder for this process. The kernel releases the lock when the process ends.

        Raises LaunchError when another dev/start holds the lock.
        """
        with (self.path / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise LaunchError(f"dev/start already runs in this checkout (process {holder})") from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    def admin_token(self) -> str:
        """Returns the operator's token, which is created on first use."""
        return _kept(self.admin_token_file, lambda: f"admin-{secrets.token_urlsafe(32)}")

    def api_token(self) -> str:
        """Returns the token for ``/runs``, which is created on first use."""
        return _kept(self.api_token_file, lambda: f"api-{secrets.token_urlsafe(32)}")

    def secret_keys(self) -> str:
        """Returns the key ring, which is created on first use: one key of 32 random bytes in the form of Fernet."""
        return _kept(self.secret_keys_file, lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())

    def workspace_key(self, make: Callable[[], str]) -> str:
        """Returns the key of the database in this folder, which is created on first use."""
        return _kept(self.workspace_key_file, make)

    def forget_lost_database(self) -> None:
        """Deletes the key of a database that was deleted: it is unknown to a new one."""
        if not self.database.exists():
            self.workspace_key_file.unlink(missing_ok=True)


def _kept(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        unfinished = path.with_suffix(".new")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(make() + "\n")
        unfinished.rename(path)
    return path.read_text().strip()
