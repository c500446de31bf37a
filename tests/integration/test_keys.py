"""``/keys``, and what keys give access to, on both databases and two workers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dev.stop_signals import wait_until
from models import Agent, ApiKey
from models.enums import AgentScope, AgentSource, AgentStatus
from runtime.protocol.ids import new_id
from services.audit import AuditTrail
from services.database import Database
from tests.conftest import environment
from tests.support.databases import POSTGRESQL, SQLITE, sqlite_file
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer
from tests.support.tenant_caller import ADMIN, audited, error
from tests.support.tenant_caller import Caller as TenantCaller

API_TOKEN = "token-of-dify"
# It takes five seconds at most; the rest is for a busy machine.
REVOKED_SECONDS = 30.0
DAY = timedelta(days=1)
MAX_BYTES = 20_000


@pytest.fixture(scope="module")
def keyed(redis_server: RedisServer, daemon: ScriptedDaemon, database_url: str) -> Iterator[GunicornServer]:
    env = environment(
        redis_server.url,
        daemon.url,
        redis_prefix="keys",
        admin_token=ADMIN,
        api_token=API_TOKEN,
        database_url=database_url,
        max_request_bytes=MAX_BYTES,
    )
    with running_server(env, workers=2) as server:
        yield server


class Caller(TenantCaller):
    collection = "/keys"

    def create(self, **body: Any) -> dict[str, Any]:
        response = self("POST", json={"kind": "workspace", **body})
        assert response.status_code == 201, response.text
        return dict(response.json())

    def listed(self, key_id: str) -> dict[str, Any]:
        return next(row for row in self.rows() if row["id"] == key_id)


@pytest.fixture
def tenant() -> str:
    return new_id()


@pytest.fixture
def operator(keyed: GunicornServer, tenant: str) -> Caller:
    return Caller(keyed, ADMIN, **{"X-Tenant-Id": tenant})


@pytest.fixture
def stranger(keyed: GunicornServer) -> Caller:
    """The operator, acting for another tenant."""
    return Caller(keyed, ADMIN, **{"X-Tenant-Id": new_id()})


@pytest.fixture
def holder(keyed: GunicornServer) -> Callable[[dict[str, Any]], Caller]:
    return lambda made: Caller(keyed, made["key"])


def stored_agent(database: Database, tenant: str, **values: Any) -> str:
    given = {"name": new_id(), "scope": AgentScope.ROSTER, "source": AgentSource.ROSTER, **values}
    row = Agent(tenant_id=tenant, **given)
    with database.transaction() as session:
        session.add(row)
    return row.id


def refused_soon(caller: Caller) -> bool:
    """Whether every worker refuses the key: many refusals in a row show it."""
    return wait_until(lambda: all(caller("GET").status_code == 401 for _ in range(10)), REVOKED_SECONDS)


def test_a_key_opens_its_tenant_and_is_shown_once(
    operator: Caller, holder: Callable[[dict[str, Any]], Caller], tenant: str, database: Database
) -> None:
    made = operator.create(name="Reporting", expires_at=(datetime.now(UTC) + DAY).isoformat())

    assert list(made) == sorted(
        ["id", "kind", "key", "prefix", "tenant_id", "agent_id", "name", "created_at", "expires_at"]
    )
    assert made["key"].startswith(made["prefix"])
    assert made["prefix"].startswith("ws-")
    assert len(made["key"]) >= len("ws-") + 43
    assert (made["tenant_id"], made["kind"], made["name"], made["agent_id"]) == (tenant, "workspace", "Reporting", None)
    listed = holder(made)("GET")
    assert listed.json()["total"] == 1
    assert made["key"] not in listed.text
    with database.reading() as session:
        row = session.get_one(ApiKey, made["id"])
        assert made["key"] not in str(vars(row))


def test_every_change_is_logged_without_the_key(keyed: GunicornServer, operator: Caller, tenant: str) -> None:
    old = operator.create()
    new = operator("POST", f"/keys/{old['id']}/rotate", json={"overlap_seconds": 60}).json()
    operator("DELETE", f"/keys/{new['id']}", headers={"X-User-Id": "ada"})
    operator("DELETE", f"/keys/{new['id']}")

    assert audited(keyed, tenant) == [
        f"key_created tenant={tenant} by=operator id={old['id']} kind=workspace agent=None",
        f"key_rotated tenant={tenant} by=operator id={old['id']} replaced_by={new['id']} overlap_seconds=60",
        f"key_revoked tenant={tenant} by=ada id={new['id']}",
    ]
    assert old["key"] not in keyed.log
    assert new["key"] not in keyed.log


def test_every_change_is_kept_in_the_audit_trail(operator: Caller, tenant: str, database: Database) -> None:
    key = operator.create()
    operator("POST", f"/keys/{key['id']}/rotate", json={"overlap_seconds": 60})
    operator("DELETE", f"/keys/{key['id']}", headers={"X-User-Id": "ada"})
    operator("DELETE", f"/keys/{key['id']}")
    operator("POST", f"/keys/{key['id']}/rotate")  # it is refused and changes nothing

    entries = AuditTrail(database).entries(tenant, limit=10)

    assert [(entry["action"], entry["actor"]) for entry in entries] == [
        ("key_revoked", "ada"),
        ("key_rotated", "operator"),
        ("key_created", "operator"),
    ]
    assert entries[0]["details"] == {"id": key["id"]}
    assert AuditTrail(database).entries(f"{tenant}-other", limit=10) == []


def test_the_keys_that_a_key_has_made_are_revoked_with_it_on_demand(
    operator: Caller, holder: Callable[[dict[str, Any]], Caller]
) -> None:
    first, bystander = operator.create(), operator.create()
    second = holder(first).create()
    third = holder(second).create()
    rotated = holder(third)("POST", f"/keys/{third['id']}/rotate", json={"overlap_seconds": 3600}).json()

    operator("DELETE", f"/keys/{first['id']}")
    assert refused_soon(holder(first))
    after_the_first = [holder(key)("GET").status_code for key in (second, third, rotated, bystander)]
    answer = operator("DELETE", f"/keys/{first['id']}?with_made=true")

    assert after_the_first == [200, 200, 200, 200]
    assert answer.status_code == 204
    assert all(refused_soon(holder(key)) for key in (second, third, rotated))
    assert holder(bystander)("GET").status_code == 200


def test_with_made_must_be_a_boolean(operator: Caller) -> None:
    key = operator.create()

    refused = operator("DELETE", f"/keys/{key['id']}?with_made=perhaps")

    assert refused.status_code == 400
    assert operator("GET").json()["data"][0]["status"] == "active"


def test_keys_are_listed_newest_first_page_by_page(operator: Caller) -> None:
    made = [operator.create(name=f"key {number}")["id"] for number in range(3)]

    first = operator("GET", "/keys?limit=2").json()
    second = operator("GET", "/keys?limit=2&page=2&other=ignored").json()

    assert [row["id"] for row in first["data"] + second["data"]] == made[::-1]
    assert (first["page"], first["limit"], first["total"], first["has_more"]) == (1, 2, 3, True)
    assert second["has_more"] is False
    assert operator("GET", "/keys?page=1000000").json()["data"] == []


@pytest.mark.parametrize("query", ["page=0", "page=-1", "page=x", "page=", "limit=0", "limit=101", "page=99999999999"])
def test_an_invalid_page_is_refused(operator: Caller, query: str) -> None:
    detail = error(operator("GET", f"/keys?{query}"), 400, "invalid_param")

    assert detail[0]["loc"] == ["query", query.partition("=")[0]]


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, ["body", "kind"]),
        ({"kind": "other"}, ["body", "kind"]),
        ({"kind": 1}, ["body", "kind"]),
        ({"kind": "app"}, ["body"]),
        ({"kind": "workspace", "agent_id": "x"}, ["body"]),
        ({"kind": "app", "agent_id": 7}, ["body", "agent_id"]),
        ({"kind": "workspace", "name": ""}, ["body", "name"]),
        ({"kind": "workspace", "name": "   "}, ["body", "name"]),
        ({"kind": "workspace", "name": "a\u0000b"}, ["body", "name"]),
        ({"kind": "workspace", "name": "a\nb"}, ["body", "name"]),
        ({"kind": "workspace", "name": "n" * 256}, ["body", "name"]),
        ({"kind": "workspace", "expires_at": "2020-01-01T00:00:00Z"}, ["body", "expires_at"]),
        ({"kind": "workspace", "expires_at": "2099-01-01T00:00:00"}, ["body", "expires_at"]),
        ({"kind": "workspace", "expires_at": "9999-12-31T23:59:59-14:00"}, ["body", "expires_at"]),
        ({"kind": "workspace", "expires_at": "soon"}, ["body", "expires_at"]),
        ({"kind": "workspace", "tenant_id": "another"}, ["body", "tenant_id"]),
    ],
)
def test_an_invalid_key_request_is_refused(operator: Caller, body: dict[str, Any], at: list[str]) -> None:
    detail = error(operator("POST", json=body), 400, "invalid_param")

    assert [problem["loc"] for problem in detail] == [at]
    assert operator("GET").json()["total"] == 0


def test_a_body_that_is_too_large_is_refused(operator: Caller) -> None:
    error(operator("POST", json={"kind": "workspace", "name": "n" * MAX_BYTES}), 413, "request_too_large")


@pytest.mark.parametrize("name", ["n" * 255, "\U0001f511", "日本語", "%_'\""])
def test_a_name_may_be_any_printable_text(operator: Caller, name: str) -> None:
    made = operator.create(name=name)

    assert operator.listed(made["id"])["name"] == name


def test_the_key_of_an_app_is_for_an_active_agent_of_the_roster(
    operator: Caller, stranger: Caller, tenant: str, database: Database
) -> None:
    agent_id = stored_agent(database, tenant)
    archived = stored_agent(database, tenant, status=AgentStatus.ARCHIVED)
    inline = stored_agent(database, tenant, scope=AgentScope.WORKFLOW_ONLY)

    made = operator.create(kind="app", agent_id=agent_id)

    assert (made["kind"], made["agent_id"]) == ("app", agent_id)
    assert made["key"].startswith("app-")
    for wrong in (archived, inline, new_id(), "x\u0000", "../x"):
        error(operator("POST", json={"kind": "app", "agent_id": wrong}), 404, "agent_not_found")
    error(stranger("POST", json={"kind": "app", "agent_id": agent_id}), 404, "agent_not_found")


def test_the_key_of_an_app_manages_no_keys(
    operator: Caller, holder: Callable[[dict[str, Any]], Caller], tenant: str, database: Database
) -> None:
    made = operator.create(kind="app", agent_id=stored_agent(database, tenant))
    app = holder(made)

    for answer in (app("GET"), app("POST", json={}), app("DELETE", f"/keys/{made['id']}")):
        error(answer, 403, "key_not_allowed")


@pytest.mark.parametrize("token", ["", "ws-unknown", "app-unknown", API_TOKEN, "ws-", "ws-\xff", f"{ADMIN}x"])
def test_without_a_valid_key_nobody_is_let_in(keyed: GunicornServer, token: str) -> None:
    caller = Caller(keyed, token)

    for answer in (caller("GET"), caller("POST", data="no json"), caller("DELETE", f"/keys/{new_id()}")):
        error(answer, 401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="greenrun"'


def test_only_the_bearer_scheme_is_accepted(keyed: GunicornServer, operator: Caller) -> None:
    made = operator.create()

    error(keyed.get("/keys", headers={"Authorization": f"Basic {made['key']}"}), 401, "unauthorized")


def test_keys_of_another_tenant_are_not_found(
    operator: Caller, stranger: Caller, holder: Callable[[dict[str, Any]], Caller]
) -> None:
    made, other = operator.create(), stranger.create()

    for caller in (stranger, holder(other)):
        error(caller("DELETE", f"/keys/{made['id']}"), 404, "key_not_found")
        error(caller("POST", f"/keys/{made['id']}/rotate"), 404, "key_not_found")
        assert made["id"] not in caller("GET").text
    assert operator.listed(made["id"])["status"] == "active"


@pytest.mark.parametrize("key_id", ["x", "%00", "01a1f94a-3a0e-7e3d-b37d-a61260b77010", "' OR 1=1"])
def test_an_unknown_key_is_not_found(operator: Caller, key_id: str) -> None:
    error(operator("DELETE", f"/keys/{key_id}"), 404, "key_not_found")
    error(operator("POST", f"/keys/{key_id}/rotate"), 404, "key_not_found")


def test_a_key_acts_only_for_its_own_tenant(
    operator: Caller, holder: Callable[[dict[str, Any]], Caller], tenant: str
) -> None:
    caller = holder(operator.create())

    error(caller("GET", headers={"X-Tenant-Id": new_id()}), 403, "tenant_not_allowed")
    assert caller("GET", headers={"X-Tenant-Id": tenant}).status_code == 200


@pytest.mark.parametrize("header", ["X-Tenant-Id", "X-User-Id"])
@pytest.mark.parametrize("value", ["", "../x", "a b", "t" * 65, "\xff"])
def test_an_invalid_tenant_or_user_of_the_operator_is_refused(operator: Caller, header: str, value: str) -> None:
    detail = error(operator("GET", headers={header: value.encode("latin-1")}), 400, "invalid_param")

    assert detail[0]["loc"] == ["header", header]


def test_a_key_shows_who_made_it(operator: Caller, holder: Callable[[dict[str, Any]], Caller]) -> None:
    by_operator = operator.create()
    by_user = operator("POST", json={"kind": "workspace"}, headers={"X-User-Id": "user-7"}).json()
    key = holder(by_operator)
    by_key = key("POST", json={"kind": "workspace"}, headers={"X-User-Id": "user-7"}).json()

    makers = [operator.listed(made["id"])["created_by"] for made in (by_operator, by_user, by_key)]

    assert makers == [None, "user-7", by_operator["id"]]


def test_a_rotated_key_and_the_new_one_are_valid_together(
    operator: Caller, holder: Callable[[dict[str, Any]], Caller]
) -> None:
    old = operator.create(name="Reporting")

    response = operator("POST", f"/keys/{old['id']}/rotate", json={"overlap_seconds": 3600})

    new = response.json()
    assert (response.status_code, new["name"], new["kind"]) == (201, "Reporting", "workspace")
    assert new["key"] != old["key"]
    for made in (old, new):
        assert holder(made)("GET").status_code == 200
    retiring = operator.listed(old["id"])
    end = datetime.fromisoformat(retiring["expires_at"])
    assert (retiring["status"], retiring["replaced_by"]) == ("retiring", new["id"])
    assert timedelta(minutes=50) < end - datetime.now(UTC) <= timedelta(hours=1)
    assert new["expires_at"] is None


def test_a_rotation_without_overlap_ends_the_old_key(
    operator: Caller, holder: Callable[[dict[str, Any]], Caller]
) -> None:
    old = operator.create()
    assert holder(old)("GET").status_code == 200

    new = operator("POST", f"/keys/{old['id']}/rotate", json={"overlap_seconds": 0}).json()

    assert refused_soon(holder(old))
    assert holder(new)("GET").status_code == 200
    assert operator.listed(old["id"])["status"] == "expired"


def test_an_overlap_does_not_prolong_a_key(operator: Caller) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    old = operator.create(expires_at=expires_at.isoformat())

    new = operator("POST", f"/keys/{old['id']}/rotate").json()

    assert new["expires_at"] == old["expires_at"] == operator.listed(old["id"])["expires_at"]


@pytest.mark.parametrize("overlap", [-1, 604_801, "60", 1.5, True, None])
def test_an_invalid_overlap_is_refused(operator: Caller, overlap: object) -> None:
    made = operator.create()

    detail = error(
        operator("POST", f"/keys/{made['id']}/rotate", json={"overlap_seconds": overlap}), 400, "invalid_param"
    )

    assert detail[0]["loc"] == ["body", "overlap_seconds"]
    assert operator.listed(made["id"])["status"] == "active"


def test_of_many_concurrent_rotations_one_makes_a_key(operator: Caller) -> None:
    made = operator.create()

    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(lambda _: operator("POST", f"/keys/{made['id']}/rotate"), range(6)))

    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"key_not_active"}
    assert operator("GET").json()["total"] == 2


def test_a_revoked_key_is_refused_by_every_worker(operator: Caller, holder: Callable[[dict[str, Any]], Caller]) -> None:
    made = operator.create()
    caller = holder(made)
    assert all(caller("GET").status_code == 200 for _ in range(10)), "every worker knows it by now"

    answers = [operator("DELETE", f"/keys/{made['id']}") for _ in range(2)]

    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2
    assert refused_soon(caller)
    assert operator.listed(made["id"])["status"] == "revoked"
    error(operator("POST", f"/keys/{made['id']}/rotate"), 409, "key_not_active")


def test_a_key_may_revoke_itself(operator: Caller, holder: Callable[[dict[str, Any]], Caller]) -> None:
    made = operator.create()

    assert holder(made)("DELETE", f"/keys/{made['id']}").status_code == 204

    assert refused_soon(holder(made))


def test_a_key_ends_when_it_expires(operator: Caller, holder: Callable[[dict[str, Any]], Caller]) -> None:
    made = operator.create(expires_at=(datetime.now(UTC) + timedelta(seconds=2)).isoformat())

    assert refused_soon(holder(made))

    assert operator.listed(made["id"])["status"] == "expired"


def test_the_last_use_of_a_key_is_shown(operator: Caller, holder: Callable[[dict[str, Any]], Caller]) -> None:
    made = operator.create()
    assert operator.listed(made["id"])["last_used_at"] is None

    for _ in range(5):
        holder(made)("GET")

    used = operator.listed(made["id"])["last_used_at"]
    assert datetime.fromisoformat(used) >= datetime.fromisoformat(made["created_at"])


def test_many_keys_are_made_at_once(operator: Caller) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: operator.create(), range(24)))

    assert len({key["key"] for key in made}) == 24
    assert operator("GET").json()["total"] == 24


def test_it_is_ready_with_a_database(keyed: GunicornServer) -> None:
    assert keyed.get("/ready").json() == {"status": "ready", "reasons": []}


def test_a_locked_database_answers_503_and_changes_nothing(
    operator: Caller, keyed: GunicornServer, database_kind: str, database_url: str, database: Database
) -> None:
    if database_kind == SQLITE:
        other = sqlite3.connect(sqlite_file(database_url), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answer = operator("POST", json={"kind": "workspace"})
        other.execute("ROLLBACK")
        other.close()
    else:
        with database.transaction() as session:
            session.connection().exec_driver_sql("LOCK TABLE api_keys IN EXCLUSIVE MODE")
            # The server must give up before the timeout of the ``database`` fixture ends this transaction.
            answer = operator("POST", json={"kind": "workspace"})

    error(answer, 503, "database_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert operator("GET").json()["total"] == 0
    assert keyed.get("/health").status_code == 200


def test_keys_work_again_after_the_database_was_away(
    operator: Caller, database_kind: str, request: pytest.FixtureRequest
) -> None:
    if database_kind != POSTGRESQL:
        return
    made = operator.create()

    server: PostgresServer = request.getfixturevalue("postgres_server")
    server.drop_connections()

    assert operator.listed(made["id"])["status"] == "active"
