"""The benchmark's side of the load process of chats."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict

from benchmarks.support.load import Load
from dev.processes import end_with_parent
from tests.support.gunicorn_server import CHECKOUT


class Held(TypedDict):
    """A conversation: its id, None if nothing was answered, and the queries that were answered."""

    id: str | None
    queries: list[str]


@dataclass(frozen=True, slots=True)
class Talk:
    """The result of conversations; times in seconds.

    ``lost`` has, for each turn that was not answered as it should be, what happened to it. ``waits`` are the times from
    the end of each turn to the first piece of the next one's answer, sorted. ``client_share`` is the load process's own
    CPU, as a share of the time.
    """

    conversations: list[Held]
    lost: list[str]
    waits: list[float]
    seconds: float
    client_share: float

    @property
    def answered(self) -> int:
        """How many turns were answered, with whatever text."""
        return sum(len(held["queries"]) for held in self.conversations)


@dataclass(frozen=True, slots=True)
class Posted:
    """The result of bare runs."""

    seconds: float
    client_share: float


class ChatLoad(Load):
    """A running load process of chats."""

    def talk(
        self, url: str, key: str, *, subject: str, conversations: int, turns: int, at_once: int, answer: str
    ) -> Talk:
        """Holds conversations, ``at_once`` at a time. Each turn is sent the moment the last one's end is seen.

        ``subject`` is in all queries, so that those of one talk differ from those of another. Every turn must be
        answered with ``answer``.
        """
        wanted = {"subject": subject, "conversations": conversations, "turns": turns, "at_once": at_once}
        self._tell(job="talk", url=url, key=key, answer=answer, **wanted)
        return Talk(**self._hear())

    def post(self, url: str, body: dict[str, Any], *, lanes: int, runs: int) -> Posted:
        """Posts ``runs`` runs in each lane, one after the other, each with a reader. All must succeed."""
        self._tell(job="post", url=url, body=body, lanes=lanes, runs=runs)
        return Posted(**self._hear())


@contextmanager
def running_chat_load() -> Iterator[ChatLoad]:
    """Runs a load process for the time of the context."""
    command = [sys.executable, "-m", "benchmarks.support.chat_load_process"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True, preexec_fn=end_with_parent())
    try:
        yield ChatLoad(process)
    finally:
        process.kill()
        process.communicate()
