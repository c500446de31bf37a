"""A complete Greenrun with its own state, for the time in which something is tried on it."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.configuration import demo_environment
from dev.database import migrate
from dev.errors import LaunchError
from dev.private_redis import private_redis
from dev.processes import log_tail
from dev.state import StateFolder
from dev.stop_signals import StopSignals
from dev.terminal import say
from dev.web_server import Address, web_server


@dataclass(frozen=True)
class FreshServer:
    """The address of the server, and the token for ``/runs``."""

    url: str
    token: str


@contextmanager
def fresh_server(
    address: Address, signals: StopSignals, *, workers: int = 1, settings: Mapping[str, str] | None = None
) -> Iterator[FreshServer]:
    """Runs a server with a fresh state for the time of the block, on this address, or another port when it is taken.

    Signals interrupt the block. ``settings`` are further settings of the server, by their names without the prefix.

    Raises LaunchError when it cannot start, and StopRequested when a signal came. A LaunchError of the block gets the
    end of the server's log.
    """
    with tempfile.TemporaryDirectory(prefix="greenrun-demo-") as folder:
        state = StateFolder(Path(folder))
        say("Starting a private Redis ...")
        with private_redis(state, signals, leftover_seconds=0) as redis:
            say("Bringing the database up to date ...")
            migrate(state.database_url)
            say("Starting gunicorn ...")
            with web_server(
                address.or_any_free_port(),
                workers=workers,
                environment=demo_environment(state, redis.url, **(settings or {})),
                log=state.server_log,
                signals=signals,
                grace=0,
                keep_fds=(redis.lease,),
            ) as server:
                try:
                    with signals.interrupting():
                        yield FreshServer(server.address.url, state.admin_token())
                except LaunchError as error:
                    raise LaunchError(f"{error}\nThe end of the server's log:\n{log_tail(state.server_log)}") from error
