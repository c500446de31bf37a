"""Many sessions and many turns, on two servers and with a Redis Cluster: every turn is finalized and remembered."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from models import AgentSession, SessionTurn
from runtime.protocol.dialects import Dialect
from runtime.protocol.ids import new_id
from runtime.protocol.records import RunRecord
from tests.support.client import wait_until
from tests.support.gunicorn_server import running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_cluster import running_cluster
from tests.support.session_client import SessionClient, says, says_and_waits, shown
from tests.support.session_site import (
    IS_SOAK,
    NEVER,
    PREFIX,
    Site,
    begun,
    has_said,
    on_sqlite,
    race,
    session_environment,
)

SESSIONS = 200 if IS_SOAK else 16


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def test_many_sessions_on_two_servers_have_every_turn_in_their_history(
    site: Site, clients: tuple[SessionClient, SessionClient], daemon: ScriptedDaemon, model: str
) -> None:
    """Each turn starts right after the one before, or while that still runs, on either server."""
    daemon.script(model, says("yes", pause=0.01))
    agent = clients[0].scripted_agent(model)
    sessions = [clients[0].session(agent) for _ in range(SESSIONS)]

    def speak(number: int) -> None:
        run_id = clients[number % 2].start(sessions[number], "q0")["run_id"]
        if number % 3:
            clients[0].finish(run_id)
        second = clients[1 - number % 2].start(sessions[number], "q1")["run_id"]
        third = clients[number % 2].start(sessions[number], "q2")["run_id"]
        for one in (run_id, second, third):
            assert clients[0].finish(one)["type"] == "run_succeeded"

    race(SESSIONS, speak)

    for session in sessions:
        assert [turn.query for turn in site.assert_sound(clients[1], session)] == ["q0", "q1", "q2"]


@on_sqlite
def test_turns_on_two_servers_with_a_redis_cluster(daemon: ScriptedDaemon, database_url: str, model: str) -> None:
    with running_cluster() as cluster, ExitStack() as stack:
        env = session_environment(cluster.url, daemon, database_url, redis_cluster="true")
        one, other = (stack.enter_context(running_server(env)) for _ in range(2))
        first = SessionClient(one.url)
        second = SessionClient(other.url, tenant=first.tenant)
        for number in range(4):
            speak_in_turn(first, second, daemon, f"{model}-{number}")
        assert "Traceback" not in one.log + other.log


def speak_in_turn(one: SessionClient, other: SessionClient, daemon: ScriptedDaemon, name: str) -> None:
    session = begun(
        one, daemon, name, says_and_waits("a1", until=name), says("a2"), says_and_waits("half", until=NEVER)
    )
    run_ids = [one.start(session, "q1")["run_id"], other.start(session, "q2")["run_id"]]
    daemon.wait_for_call(name, count=2)
    daemon.release(name)
    long = one.start(session, "q3")["run_id"]
    assert {one.finish(run_id)["type"] for run_id in run_ids} == {"run_succeeded"}
    wait_until(has_said(other, long))
    last = other.start(session, "q4", multitask_strategy="interrupt")["run_id"]

    assert one.finish(long)["type"] == "run_cancelled"
    wait_until(lambda: len(daemon.calls(name)) == 5)
    assert shown(daemon.calls(name)[-1]) == [
        *[said for number in range(3) for said in (("user", f"q{number}"), ("assistant", f"a{number}"))],
        ("user", "q3"),
        ("assistant", "half"),
        ("user", "q4"),
    ]
    one.runs().cancel(last)


@on_sqlite
def test_a_turn_that_nobody_asks_for_is_finalized_however_many_run_for_long(
    site: Site, clients: tuple[SessionClient, SessionClient]
) -> None:
    client = clients[0]
    agent = client.agent()
    long_ago = datetime.now(UTC) - timedelta(hours=1)

    def add(run_ids: list[str], moment: datetime) -> None:
        with site.database.transaction() as session:
            for run_id in run_ids:
                row = AgentSession(
                    id=new_id(),
                    tenant_id=client.tenant,
                    agent_id=agent["id"],
                    version_id=agent["active_config_snapshot_id"],
                    turns=1,
                    unfinished=1,
                )
                session.add(row)
                session.flush()
                times = {"created_at": moment, "updated_at": moment}
                ids = {"run_id": run_id, "task_id": new_id(), "session_id": row.id, "tenant_id": client.tenant}
                session.add(SessionTurn(position=1, query="?", **ids, **times))

    running, left = [new_id() for _ in range(120)], new_id()
    for run_id in running:
        record = RunRecord.begin(run_id, dialect=Dialect.CURRENT, worker="somebody", tenant_id=client.tenant)
        site.redis.set(f"{PREFIX}:runs:{run_id}:record", record.model_dump_json(), ex=600)
    add(running, long_ago)
    add([left], long_ago + timedelta(minutes=1))

    def status(run_id: str) -> str:
        with site.database.reading() as session:
            return str(session.query(SessionTurn.status).filter_by(run_id=run_id).scalar())

    wait_until(lambda: status(left) == "failed", timeout=120)
    assert {status(run_id) for run_id in running} == {"running"}
