"""What a chat turn costs beyond a bare run, how soon the next one is answered, and that none is lost or forgotten."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.support import table
from benchmarks.support.chat_load import ChatLoad, Talk, running_chat_load
from benchmarks.support.chat_server import ChatApp, chat_server
from benchmarks.support.chat_statements import LOG_SETTINGS, StatementLog, count_statements
from benchmarks.support.servers import DAEMON_KEY
from runtime.protocol.ids import new_id
from tests.support.plugin_daemon import USAGE, ScriptedDaemon, running_daemon
from tests.support.plugin_daemon import Answer as Scripted
from tests.support.postgres_server import no_postgres, running_postgres

SQLITE, POSTGRESQL = "sqlite", "postgresql"
FINALIZE_SECONDS = 0.3
"""The last turns, which nobody waits for, are finalized after their ends were seen."""
ALONE_CONVERSATIONS = 20
PROBLEMS_SHOWN = 5
COLUMNS = ["a second", "CPU-ms", "next p50", "next p99", table.CLIENT_CPU]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of answer: what the model does, and what it has then said. The model has the same name."""

    name: str
    script: Scripted
    answer: str


KINDS = (
    Kind("tiny", [{"text": "ok"}, {"finish": "stop", "usage": USAGE}], "ok"),
    Kind("50-chunks", [{"stream": {"chunks": 50, "text": "word "}}], "word " * 50),
)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one load, in seconds. ``cpu`` is per answered turn or run, and ``waits`` are sorted."""

    per_second: float
    cpu: float
    client_share: float
    waits: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Problems:
    """Findings that must not occur."""

    turns: int = 0
    lost: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    def add(self, app: ChatApp, kind: Kind, talk: Talk, turns: int) -> None:
        """Checks what a talk of this many turns has lost, and what each of its conversations remembers."""
        self.turns += turns
        self.lost += talk.lost
        gaps = (app.gap(held, kind.answer) for held in talk.conversations)
        self.gaps += [gap for gap in gaps if gap is not None]

    def print(self) -> None:
        table.row("lost turns, gaps in histories", [str(len(self.lost)), str(len(self.gaps)), f"of {self.turns}"])
        for problem, times in Counter([*self.lost, *self.gaps]).most_common(PROBLEMS_SHOWN):
            print(f"  {times} times: {problem}")

    def are_there(self) -> bool:
        return bool(self.lost or self.gaps)


def main() -> int:
    """Prints all results on each database. Returns 1 when a turn was lost or a history has a gap."""
    options = _options()
    failed = False
    with running_daemon(api_key=DAEMON_KEY) as daemon, running_chat_load() as load:
        for database in (SQLITE, POSTGRESQL):
            if options.database not in (database, table.BOTH):
                continue
            if database == POSTGRESQL and (reason := no_postgres()):
                print(f"\n{database}: skipped, it {reason}")
                continue
            with _database(database) as url, chat_server(daemon, url) as (server_url, pid):
                for kind in KINDS:
                    app = ChatApp.make(server_url, pid, kind.name)
                    failed |= _measure(app, kind, daemon, load, database, options).are_there()
            if database == POSTGRESQL:
                _count(daemon, explain=options.explain)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=200, help="at once, and bare runs at once")
    parser.add_argument("--turns", type=int, default=5, help="of each conversation, and bare runs one after the other")
    parser.add_argument("--rounds", type=int, default=3, help="in each of which all take turns")
    parser.add_argument("--database", choices=[SQLITE, POSTGRESQL, table.BOTH], default=table.BOTH)
    parser.add_argument("--explain", action="store_true", help="print the counted statements")
    options = parser.parse_args()
    if min(options.conversations, options.rounds) < 1 or options.turns < 2:
        parser.error("at least one conversation, two turns and one round")
    return options


@contextmanager
def _database(kind: str) -> Iterator[str]:
    with ExitStack() as stack:
        if kind == SQLITE:
            yield f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory(prefix='conversations-'))}/chats.db"
        else:
            yield stack.enter_context(running_postgres()).create_database()


# Turns and bare runs.


def _measure(
    app: ChatApp, kind: Kind, daemon: ScriptedDaemon, load: ChatLoad, database: str, options: argparse.Namespace
) -> Problems:
    count, problems = options.conversations, Problems()
    results: dict[str, list[Result]] = {}

    def talk(conversations: int, at_once: int, turns: int = options.turns) -> tuple[Talk, Result]:
        daemon.script(kind.name, kind.script)  # this also forgets the calls so far
        began = app.cpu()
        talked = load.talk(
            app.url,
            app.key,
            subject=new_id(),
            conversations=conversations,
            turns=turns,
            at_once=at_once,
            answer=kind.answer,
        )
        result = _result(app, began, talked.seconds, talked.answered, talked.client_share, talked.waits)
        problems.add(app, kind, talked, conversations * turns)
        return talked, result

    def post(body: dict[str, Any]) -> Result:
        daemon.script(kind.name, kind.script)
        began = app.cpu()
        posted = load.post(app.url, body, lanes=count, runs=options.turns)
        return _result(app, began, posted.seconds, count * options.turns, posted.client_share)

    # As many turns as come on average before a measured one.
    warm, _ = talk(min(count, ALONE_CONVERSATIONS), count, max(1, options.turns // 2))
    before, with_history = app.run_body(), app.run_body(_remembered(app, warm))
    together, alone = f"turns, {count} conversations at once", "turns, one conversation at a time"
    bare, remembering = f"bare runs, {count} at once", "bare runs given a mean history"
    for _ in range(options.rounds):
        for name, result in (
            (together, talk(count, count)[1]),
            (bare, post(before)),
            (remembering, post(with_history)),
            (alone, talk(min(count, ALONE_CONVERSATIONS), 1)[1]),
        ):
            results.setdefault(name, []).append(result)
    table.head(f"{database}, {kind.name} answers, medians of {options.rounds} rounds", COLUMNS)
    medians = {name: _median(found) for name, found in results.items()}
    for name, result in medians.items():
        table.row(name, _cells(result))
    for name, run in (("a bare run", bare), ("one given history", remembering)):
        table.row(f"a turn above {name}", ["", f"{(medians[together].cpu - medians[run].cpu) * 1000:+.2f}"])
    problems.print()
    return problems


def _remembered(app: ChatApp, talk: Talk) -> dict[str, Any] | None:
    """Returns what one of the conversations remembers."""
    conversation_id = next((held["id"] for held in talk.conversations if held["id"]), None)
    if conversation_id is None:
        raise RuntimeError(f"no conversation has begun: {talk.lost[:PROBLEMS_SHOWN]}")
    return app.remembered(conversation_id)


def _result(
    app: ChatApp, began: float, seconds: float, count: int, share: float, waits: list[float] | None = None
) -> Result:
    time.sleep(FINALIZE_SECONDS)
    return Result(count / seconds, (app.cpu() - began) / max(count, 1), share, waits or [])


def _median(results: list[Result]) -> Result:
    return Result(
        per_second=table.median([result.per_second for result in results]),
        cpu=table.median([result.cpu for result in results]),
        client_share=table.median([result.client_share for result in results]),
        waits=sorted(wait for result in results for wait in result.waits),
    )


def _cells(result: Result) -> list[str]:
    waits = result.waits
    told = [f"{waits[round(share * (len(waits) - 1))] * 1000:.1f} ms" if waits else "" for share in (0.5, 0.99)]
    return [f"{result.per_second:.0f}", f"{result.cpu * 1000:.2f}", *told, f"{result.client_share:.0%}"]


# Statements.


def _count(daemon: ScriptedDaemon, *, explain: bool) -> None:
    """Prints what PostgreSQL is asked before the first piece of an answer."""
    model = "counted"
    with running_postgres(*LOG_SETTINGS) as server:
        database_url = server.create_database()
        with chat_server(daemon, database_url) as (url, pid):
            app = ChatApp.make(url, pid, model)
            counted = count_statements(app, daemon, model, StatementLog(server.log, database_url))
    table.head("round trips to PostgreSQL before the answer begins", ["statements", "transactions", "pings", "all"])
    for kind, statements in counted.items():
        parts = (statements.of_work, statements.of_transactions, statements.pings, statements.all)
        table.row(kind, [str(len(part)) for part in parts])
    if explain:
        for kind, statements in counted.items():
            print(f"\n{kind}")
            for text in statements.all:
                print(f"  {text or ';'}")


if __name__ == "__main__":
    sys.exit(main())
