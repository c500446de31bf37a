"""Connections to Redis, each kind with timeouts of its own.

redis-py's defaults (5 s, then ten retries) would cut every blocking read and hold a request for a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

LINK_ERRORS = (RedisConnectionError, RedisTimeoutError, OSError)
"""What a link raises when the connection is lost; everything sent on it may or may not have been done."""

Command = Sequence[str | bytes | int]

REQUEST_CONNECTIONS = 2
"""Connections that the requests of a worker share; each command takes well under a millisecond."""

REQUEST_TIMEOUT_SECONDS = 3.0
CONNECT_TIMEOUT_SECONDS = 3.0

_COMMON: dict[str, Any] = {
    "protocol": 2,
    "decode_responses": False,
    "health_check_interval": 0,
    "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "socket_keepalive": True,
}


def request_client(url: str) -> redis.Redis:
    """The client that requests use. A stale connection is replaced once; a Redis that is silent is not asked again."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=REQUEST_CONNECTIONS,
        timeout=REQUEST_TIMEOUT_SECONDS,
        socket_timeout=REQUEST_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        client_name="greenrun-requests",
        **_options(url),
    )
    return redis.Redis(connection_pool=pool)


def _options(url: str) -> dict[str, Any]:
    if url.startswith("unix:"):
        return {key: value for key, value in _COMMON.items() if key != "socket_keepalive"}
    return dict(_COMMON)


class RedisLink:
    """One connection that its owner drops and opens again itself.

    ``read_timeout`` is in seconds and must be longer than any blocking command sent on the link.
    """

    def __init__(self, url: str, *, name: str, read_timeout: float) -> None:
        pool = ConnectionPool.from_url(
            url,
            socket_timeout=read_timeout,
            retry=Retry(NoBackoff(), 0),
            client_name=name,
            **_options(url),
        )
        self._connection: Any = pool.make_connection()

    @property
    def is_open(self) -> bool:
        return bool(self._connection.is_connected)

    def open(self) -> None:
        """Connect. Raises one of LINK_ERRORS."""
        self._connection.connect()

    def call(self, *command: str | bytes | int) -> Any:
        """The answer to one command. Raises ResponseError or one of LINK_ERRORS."""
        answer = self.call_all([command])[0]
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    def call_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands at once; the answers in order, with a refused command's error as its answer.

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
        """Drop the connection; ``open`` makes a new one."""
        self._connection.disconnect()
