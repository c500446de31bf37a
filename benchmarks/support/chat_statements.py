"""What a chat turn asks of PostgreSQL before its answer begins, according to PostgreSQL's own log."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from benchmarks.support.chat_server import ChatApp
from dev.stop_signals import wait_until
from tests.support.plugin_daemon import USAGE, ScriptedDaemon
from tests.support.plugin_daemon import Answer as Scripted

LOG_SETTINGS = ("log_statement=all", "log_line_prefix=<%d> ", "log_parameter_max_length=0")
ENTRY = re.compile(r"<(?P<database>\w*)> LOG:  (?:statement|execute [^:]*): (?P<text>.*)", re.DOTALL)
CONTINUED = "\n\t"
TRANSACTION_WORDS = ("BEGIN", "COMMIT", "ROLLBACK")
QUIET_SECONDS = 0.3
PATIENCE_SECONDS = 30.0
WARM_UP_TURNS = 20
"""Enough for each used connection to prepare each statement, which takes one more round trip the first time."""
REPEATS = 5

NEW = "new conversation, known end user"
LATER = "follow-up"
AT_ONCE = "follow-up at once + last one's end"


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements in their order. Each is one round trip."""

    all: list[str]

    @property
    def of_work(self) -> list[str]:
        """The statements that read or change something."""
        return [text for text in self.all if text not in self.of_transactions and text not in self.pings]

    @property
    def of_transactions(self) -> list[str]:
        return [text for text in self.all if text.startswith(TRANSACTION_WORDS)]

    @property
    def pings(self) -> list[str]:
        """The statements that only check whether a connection still works."""
        return [text for text in self.all if text.strip(" ;") in ("", "SELECT", "SELECT 1")]


class StatementLog:
    """The part of the log of a PostgreSQL with ``LOG_SETTINGS`` that is about one database."""

    def __init__(self, path: Path, database_url: str) -> None:
        self._path = path
        self._database = database_url.partition("?")[0].rpartition("/")[2]

    def size(self) -> int:
        return self._path.stat().st_size

    def since(self, size: int) -> Statements:
        """Returns the statements that were logged after the log had this size."""
        with self._path.open("rb") as file:
            file.seek(size)
            text = file.read().decode(errors="replace")
        entries = (ENTRY.match(entry) for entry in re.split(r"\n(?!\t)", text))
        mine = [entry["text"] for entry in entries if entry and entry["database"] == self._database]
        return Statements([" ".join(text.replace(CONTINUED, " ").split()) for text in mine])

    def wait_until_quiet(self) -> None:
        """Waits until no more statements come. Raises RuntimeError when that takes too long."""
        size, since = self.size(), time.monotonic()

        def is_quiet() -> bool:
            nonlocal size, since
            if (now := self.size()) != size:
                size, since = now, time.monotonic()
            return time.monotonic() - since > QUIET_SECONDS

        if not wait_until(is_quiet, PATIENCE_SECONDS):
            raise RuntimeError(f"somebody asks the database all the time:\n{self.since(size).all}")


def count_statements(app: ChatApp, daemon: ScriptedDaemon, model: str, log: StatementLog) -> dict[str, Statements]:
    """Returns the statements before the first piece of an answer by the kind of turn: the median of several."""
    turns = WARM_UP_TURNS + 3 * REPEATS
    daemon.script(model, *(_answer(number) for number in range(turns)))
    numbers = iter(range(turns))
    conversation_id = None
    for _ in range(WARM_UP_TURNS):
        with _turn(app, daemon, log, next(numbers), conversation_id) as (_, conversation_id):
            pass
    found: dict[str, list[Statements]] = defaultdict(list)
    for _ in range(REPEATS):
        conversation_id = None
        for kind in (NEW, AT_ONCE, LATER):
            if kind is not AT_ONCE:
                log.wait_until_quiet()
            with _turn(app, daemon, log, next(numbers), conversation_id) as (statements, conversation_id):
                found[kind].append(statements)
    return {kind: sorted(many, key=lambda one: len(one.all))[len(many) // 2] for kind, many in found.items()}


@contextmanager
def _turn(
    app: ChatApp, daemon: ScriptedDaemon, log: StatementLog, number: int, conversation_id: str | None
) -> Iterator[tuple[Statements, str]]:
    """Yields what a turn asked until its first piece came, and its conversation. The turn ends with the block.

    The model says no more before that, so that nothing of the turn's end is included.
    """
    body = {"inputs": {}, "query": "A question?", "user": "ann", "response_mode": "streaming"}
    if conversation_id is not None:
        body["conversation_id"] = conversation_id
    size = log.size()
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {app.key}"}
        url = f"{app.url}/v1/chat-messages"
        with session.post(url, json=body, headers=headers, stream=True, timeout=PATIENCE_SECONDS) as response:
            response.raise_for_status()
            lines = response.iter_lines()
            first = next(line for line in lines if b'"event":"message",' in line)
            statements = log.since(size)
            yield statements, json.loads(first.removeprefix(b"data: "))["conversation_id"]
            daemon.release(_rest_of(number))
            if not any(b'"event":"message_end"' in line for line in lines):
                raise RuntimeError("a turn was lost")


def _answer(number: int) -> Scripted:
    return [{"text": "ok"}, {"wait": _rest_of(number)}, {"finish": "stop", "usage": USAGE}]


def _rest_of(number: int) -> str:
    return f"rest-{number}"
