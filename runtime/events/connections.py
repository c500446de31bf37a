"""Connections to Redis, with timeouts that fit each kind of use.

redis-py's defaults (5 s, then ten retries) would cut every blocking read and could hold a request for a minute.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import (
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

LINK_ERRORS = (RedisConnectionError, RedisTimeoutError, InvalidResponse, OSError)
"""What a link raises when the connection is lost. Commands that were sent on it may or may not have been executed."""

Command = Sequence[str | bytes | int]

_PASSING_ERRORS = (ClusterDownError, MasterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError)
# When a script was refused, Redis before version 7 gives the reason only after a text about the script.
_PASSING_CODES = re.compile(r"(?:^|: -)(?:BUSY|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY) ")
_REPLICA_CODES = re.compile(r"(?:^|: -)(?:MASTERDOWN|READONLY) ")

CONNECT_TIMEOUT_SECONDS = 3.0

_COMMON: dict[str, Any] = {
    "protocol": 2,
    "decode_responses": False,
    "health_check_interval": 0,
    "socket_keepalive": True,
    "socket_read_size": 256 * 1024,
}


def _options(url: str) -> dict[str, Any]:
    if url.startswith("unix:"):
        return {key: value for key, value in _COMMON.items() if key != "socket_keepalive"}
    return dict(_COMMON)


class Link(Protocol):
    """Carries commands to Redis; ``RedisLink`` does so over one connection."""

    @property
    def is_open(self) -> bool: ...

    def open(self) -> None: ...

    def call(self, *command: str | bytes | int) -> Any: ...

    def call_all(self, commands: Sequence[Command]) -> list[Any]: ...

    def close(self) -> None: ...


class RedisLink:
    """One connection, which its owner closes and opens again itself.

    ``read_timeout`` is in seconds and must be longer than any blocking command sent on the link. ``greeting`` is sent
    first on each new connection.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        read_timeout: float,
        connect_timeout: float = CONNECT_TIMEOUT_SECONDS,
        greeting: Sequence[Command] = (),
    ) -> None:
        self._greeting = greeting
        pool = ConnectionPool.from_url(
            url,
            socket_timeout=read_timeout,
            retry=Retry(NoBackoff(), 0),
            client_name=name,
            socket_connect_timeout=connect_timeout,
            **_options(url),
        )
        self._connection: Any = pool.make_connection()

    @property
    def is_open(self) -> bool:
        return bool(self._connection.is_connected)

    def open(self) -> None:
        """Connects. Raises one of LINK_ERRORS, also when Redis refuses the connection."""
        try:
            self._connection.connect()
            for command in self._greeting:
                self.call(*command)
        except ResponseError as error:
            self.close()
            raise RedisConnectionError(str(error)) from error

    def call(self, *command: str | bytes | int) -> Any:
        """Returns the answer to one command. Raises ResponseError or one of LINK_ERRORS."""
        answer = self.call_all([command])[0]
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    def call_all(self, commands: Sequence[Command]) -> list[Any]:
        """Sends all commands at once and returns their answers in order. A refused command's answer is its error.

        Raises one of LINK_ERRORS.
        """
        connection = self._connection
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        return [self._read_answer() for _ in commands]

    def _read_answer(self) -> Any:
        try:
            return self._connection.read_response(disable_decoding=True)
        except ResponseError as error:
            return error

    def close(self) -> None:
        """Closes the connection; ``open`` makes a new one."""
        self._connection.disconnect()


def is_passing(error: ResponseError) -> bool:
    """Returns whether Redis refused a command only for now, because it is full or has no master."""
    return isinstance(error, _PASSING_ERRORS) or _PASSING_CODES.search(str(error)) is not None


def is_from_replica(answer: object) -> bool:
    """Returns whether this Redis is not, or no longer, a master: a new connection may lead to the present one."""
    return isinstance(answer, ResponseError) and _REPLICA_CODES.search(str(answer)) is not None
