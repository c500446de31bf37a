"""Turns in line: while they wait for those before them they cost nothing, and they are never forgotten."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from runtime.events.keys import Keys
from runtime.protocol.records import NOBODY, RunRecord
from tests.conftest import StartServer
from tests.support.agent_client import ADMIN_TOKEN
from tests.support.agent_server import SECRET_KEYS
from tests.support.databases import migrate
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer
from tests.support.session_client import SessionClient, says, says_and_waits, shown

IN_LINE = 20
QUEUE = 3
READERS = 8


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def start(start_server: StartServer, folder: Path, prefix: str, **settings: Any) -> SessionClient:
    database = f"sqlite:///{folder / 'line.sqlite'}"
    migrate(database)
    server = start_server(
        redis_prefix=prefix, admin_token=ADMIN_TOKEN, database_url=database, secret_keys=SECRET_KEYS, **settings
    )
    return SessionClient(server.url)


def test_turns_in_line_take_no_place_of_the_worker(
    start_server: StartServer, tmp_path: Path, daemon: ScriptedDaemon, model: str
) -> None:
    client = start(start_server, tmp_path, "line-places", max_active_runs=1, max_waiting_runs=1)
    daemon.script(model, says_and_waits("a", until=model), *[says("b")] * IN_LINE)
    agent = client.scripted_agent(model)
    session = client.session(agent)
    run_ids = [client.start(session, f"q{number}")["run_id"] for number in range(IN_LINE + 1)]
    daemon.script(f"{model}-2", says("other"))

    other = client.start(client.session(client.scripted_agent(f"{model}-2", name="Bob")))["run_id"]
    daemon.release(model)

    assert {client.finish(run_id)["type"] for run_id in [*run_ids, other]} == {"run_succeeded"}
    asked = [shown(call)[-1][1] for call in daemon.calls(model)]
    assert asked == [f"q{number}" for number in range(IN_LINE + 1)]


def test_a_turn_that_has_waited_too_long_fails_and_the_one_behind_it_goes_on(
    start_server: StartServer, tmp_path: Path, daemon: ScriptedDaemon, model: str
) -> None:
    client = start(start_server, tmp_path, "line-late", max_wait_seconds=2, lease_seconds=4)
    daemon.script(model, says_and_waits("a1", until=model), says("a3"))
    session = client.session(client.scripted_agent(model))
    first, late = (client.start(session, query)["run_id"] for query in ("q1", "q2"))

    end = client.finish(late)
    third = client.start(session, "q3")["run_id"]
    daemon.release(model)

    error = "the turn waited longer than 2 seconds for those before it"
    assert (end["type"], end["data"]) == ("run_failed", {"error": error, "reason": "session_busy"})
    assert [client.finish(run_id)["type"] for run_id in (first, third)] == ["run_succeeded"] * 2
    assert [(turn["status"], turn["reason"]) for turn in client.turns(session)] == [
        ("succeeded", None),
        ("failed", "session_busy"),
        ("succeeded", None),
    ]


def test_readers_that_came_while_a_turn_was_in_line_see_each_of_its_events_once(
    start_server: StartServer, tmp_path: Path, daemon: ScriptedDaemon, model: str
) -> None:
    """The readers are on every worker, including the one that executes the turn."""
    client = start(start_server, tmp_path, "line-readers")
    daemon.script(model, says_and_waits("a", until=model), [{"stream": {"chunks": 200, "text": "word "}}])
    session = client.session(client.scripted_agent(model))
    client.start(session, "q1")
    second = client.start(session, "q2")["run_id"]

    with ThreadPoolExecutor(READERS) as pool:
        reading = [pool.submit(client.runs().follow, second) for _ in range(READERS)]
        daemon.release(model)
        seen = [[frame.id for frame in one.result()] for one in reading]

    stored = [event["id"] for event in client.runs().page(second, limit=500)["events"]]
    assert len(stored) == len(set(stored))
    assert seen == [stored] * READERS


@pytest.mark.parametrize("worker", [None, ""], ids=["of this version", "of an earlier version"])
def test_the_record_of_a_turn_in_line_names_no_worker_and_its_run_begins(
    start_server: StartServer,
    tmp_path: Path,
    daemon: ScriptedDaemon,
    redis_server: RedisServer,
    model: str,
    worker: str | None,
) -> None:
    """In a cluster, workers of an earlier version name a control stream after whatever worker stands in the record."""
    prefix = f"line-nobody-{worker is None}"
    client = start(start_server, tmp_path, prefix)
    daemon.script(model, says_and_waits("a1", until=model), says("a2"))
    session = client.session(client.scripted_agent(model))
    first, second = (client.start(session, query)["run_id"] for query in ("q1", "q2"))
    key = f"{prefix}:runs:{second}:record"

    with redis_server.client() as redis:
        record = RunRecord.model_validate_json(redis.get(key))
        if worker is not None:
            redis.set(key, record.model_copy(update={"worker": worker}).model_dump_json())
    daemon.release(model)

    assert (record.owner, record.is_in_line) == (None, True)
    assert Keys("prefix", buckets=16).control(record.worker) == f"prefix:workers:{{00}}:{NOBODY}:control"
    assert [client.finish(run_id)["type"] for run_id in (first, second)] == ["run_succeeded"] * 2


@pytest.mark.parametrize("workers", [1, 2])
def test_of_turns_that_come_at_once_just_as_many_wait_as_may_and_the_others_are_refused(
    start_server: StartServer, tmp_path: Path, daemon: ScriptedDaemon, model: str, workers: int
) -> None:
    client = start(start_server, tmp_path, f"line-bound-{workers}", max_session_queue=QUEUE, workers=workers)
    daemon.script(model, says_and_waits("a", until=model), *[says("b")] * (QUEUE + 1))
    session = client.session(client.scripted_agent(model))
    first = client.start(session, "q0", idempotency_key="first")

    with ThreadPoolExecutor(READERS) as pool:
        answers = list(pool.map(lambda number: ask(client, session, f"q{number}"), range(1, 25)))
    again = client.start(session, "q0", idempotency_key="first")

    accepted = [answer.json()["run_id"] for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert len(accepted) == QUEUE
    for answer in refused:
        assert (answer.status_code, answer.json()["code"]) == (429, "session_queue_full")
        assert answer.headers["Retry-After"] == "1"
    assert again["run_id"] == first["run_id"]
    daemon.release(model)
    assert {client.finish(run_id)["type"] for run_id in [first["run_id"], *accepted]} == {"run_succeeded"}
    assert len(client.turns(session)) == QUEUE + 1
    assert client.say(session, "later")["type"] == "run_succeeded"


def test_turns_that_stop_those_before_them_are_taken_however_many_wait(
    start_server: StartServer, tmp_path: Path, daemon: ScriptedDaemon, model: str
) -> None:
    client = start(start_server, tmp_path, "line-stops", max_session_queue=1)
    daemon.script(model, says_and_waits("a", until=model), says("c"))
    session = client.session(client.scripted_agent(model))
    waiting = [client.start(session, query)["run_id"] for query in ("q1", "q2")]
    daemon.wait_for_call(model)
    assert ask(client, session, "q3").status_code == 429

    last = client.start(session, "q4", multitask_strategy="interrupt")["run_id"]

    assert client.finish(last)["type"] == "run_succeeded"
    assert [client.finish(run_id)["type"] for run_id in waiting] == ["run_cancelled"] * 2


def ask(client: SessionClient, session: str, query: str) -> requests.Response:
    return client.call("POST", f"/sessions/{session}/runs", json={"query": query})
