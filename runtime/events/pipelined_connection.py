"""The pipelined connection over which all requests of a worker use Redis.

Commands that come while one batch is being sent go out together in the next one, and each caller gets the answers to
their own commands. So one connection carries as much as Redis can process, and no request needs its own connection.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import gevent
from gevent.event import AsyncResult, Event
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from runtime.events.connections import LINK_ERRORS, Command, RedisLink, is_from_replica

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 3.0
"""For one answer."""
PATIENCE_SECONDS = 4.0
"""For everything that a caller waits for: their turn, perhaps a new connection, and the answers."""
PATIENCE_PARTS = 8
"""Callers wait in parts and check for the answers in between.

If the hub is late because hundreds of requests came at once, each part takes only one turn of the hub. So a busy worker
is not mistaken for a silent Redis.
"""
MAX_BATCH_COMMANDS = 512


class Requests(Protocol):
    """Sends commands to Redis for many greenlets at once; ``PipelinedConnection`` implements it."""

    def start(self) -> None: ...

    def ask(self, *commands: Command) -> list[Any]: ...

    def ping(self) -> None: ...

    def unblock(self, stream: str, connection_id: int) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class _Question:
    commands: Sequence[Command]
    answers: AsyncResult[list[Any]] = field(default_factory=AsyncResult)


class PipelinedConnection:
    """Sends commands for many greenlets at once. None of them may block."""

    def __init__(self, url: str, *, name: str) -> None:
        self._link = RedisLink(url, name=name, read_timeout=TIMEOUT_SECONDS)
        self._questions: deque[_Question] = deque()
        self._arrived = Event()
        self._greenlet: gevent.Greenlet[..., None] | None = None

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._answer_for_ever)

    def ask(self, *commands: Command) -> list[Any]:
        """Returns the answers in order. A refused command's answer is its error.

        All commands are repeated when the connection is lost before their answers, so each must allow repetition.
        Commands are not repeated to a silent Redis. Raises one of LINK_ERRORS.
        """
        question = _Question(commands)
        self._questions.append(question)
        self._arrived.set()
        for _ in range(PATIENCE_PARTS):
            question.answers.wait(PATIENCE_SECONDS / PATIENCE_PARTS)
            if question.answers.ready():
                return question.answers.get() or []
        if question in self._questions:
            self._questions.remove(question)
        raise RedisTimeoutError("Redis did not answer in time")

    def ping(self) -> None:
        """Checks that Redis answers. Raises one of LINK_ERRORS, also when Redis answers that it accepts no writes."""
        (answer,) = self.ask(("PING",))
        if isinstance(answer, ResponseError):
            raise RedisConnectionError(str(answer))

    def unblock(self, stream: str, connection_id: int) -> None:
        """Makes the blocking read of a connection return at once. Raises one of LINK_ERRORS."""
        self.ask(("CLIENT", "UNBLOCK", connection_id))

    def close(self) -> None:
        """Stops. Waiting callers get a ConnectionError."""
        if self._greenlet is not None:
            self._greenlet.kill()
        self._fail([], RedisConnectionError("the worker stops"))
        self._link.close()

    def _answer_for_ever(self) -> None:
        while True:
            self._arrived.wait()
            batch = self._take_batch()
            if batch:
                self._answer(batch)
            if not self._questions:
                self._arrived.clear()

    def _take_batch(self) -> list[_Question]:
        batch: list[_Question] = []
        count = 0
        while self._questions and count < MAX_BATCH_COMMANDS:
            question = self._questions.popleft()
            count += len(question.commands)
            batch.append(question)
        return batch

    def _answer(self, batch: list[_Question]) -> None:
        commands = [command for question in batch for command in question.commands]
        try:
            answers = self._call(commands)
        except Exception as error:  # whatever it is, no caller may wait for ever
            self._link.close()
            self._fail(batch, error)
            return
        if any(map(is_from_replica, answers)):
            self._link.close()
        rest = iter(answers)
        for question in batch:
            question.answers.set([next(rest) for _ in question.commands])

    def _call(self, commands: list[Command]) -> list[Any]:
        """Returns the answers. Raises one of LINK_ERRORS."""
        if self._link.is_open:
            try:
                return self._link.call_all(commands)
            except RedisTimeoutError:
                raise
            except LINK_ERRORS:
                self._link.close()  # perhaps Redis was just restarted
        self._link.open()
        return self._link.call_all(commands)

    def _fail(self, batch: list[_Question], error: Exception) -> None:
        """Raises the error for the batch and for all callers who wait after it: they have waited long enough."""
        for question in (*batch, *self._questions):
            question.answers.set_exception(error)
        self._questions.clear()
