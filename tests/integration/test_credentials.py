"""``/credentials``: storing, listing and deleting credentials, on both databases and two workers."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
import requests
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr

from blueprints.callers import Callers
from blueprints.credentials import credentials_blueprint
from blueprints.parsing import BodyLimits
from blueprints.registration import Registration, RequestRules, register
from errors import AgentCredentialNotFound, CredentialsUnavailable, CredentialUnreadable
from models import Agent, AgentConfigSnapshot, AgentTag, Credential, WorkflowAgentNodeBinding
from models.enums import AgentScope, AgentSource, AgentStatus, BindingType, RevisionOperation
from runtime.protocol.ids import new_id
from services.agents.writer import write_version
from services.api_keys import ApiKeyService
from services.chat.apps import AppService
from services.credentials import CredentialService
from services.database import Database
from services.rate_limiter import RateLimiter
from services.souls import parse_soul
from services.stream_tokens import StreamTokens
from tests.conftest import environment
from tests.support.databases import SQLITE, sqlite_file
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer
from tests.support.tenant_caller import ADMIN, audited, error
from tests.support.tenant_caller import Caller as TenantCaller

RING = Fernet.generate_key().decode()
MAX_BYTES = 200_000
KEY = "sk-test-0123456789abcdef"
BODY = {"provider": "openai", "values": {"api_key": KEY}}


@pytest.fixture(scope="module")
def keeping(redis_server: RedisServer, daemon: ScriptedDaemon, database_url: str) -> Iterator[GunicornServer]:
    env = environment(
        redis_server.url,
        daemon.url,
        redis_prefix="credentials",
        admin_token=ADMIN,
        secret_keys=RING,
        database_url=database_url,
        database_timeout_seconds=10,
        max_request_bytes=MAX_BYTES,
    )
    with running_server(env, workers=2) as server:
        yield server


class Caller(TenantCaller):
    collection = "/credentials"

    def put(self, name: str = "my-openai", body: object = BODY, **options: Any) -> requests.Response:
        return self("PUT", f"/credentials/{name}", json=body, **options)

    def names(self) -> list[str]:
        return [row["name"] for row in self.rows()]


@pytest.fixture
def tenant() -> str:
    return new_id()


@pytest.fixture
def operator(keeping: GunicornServer, tenant: str) -> Caller:
    return Caller(keeping, ADMIN, **{"X-Tenant-Id": tenant})


@pytest.fixture
def stranger(keeping: GunicornServer) -> Caller:
    """The operator, acting for another tenant."""
    return Caller(keeping, ADMIN, **{"X-Tenant-Id": new_id()})


def holder_of_a_key(operator: Caller, keeping: GunicornServer, **body: Any) -> Caller:
    made = operator("POST", "/keys", json={"kind": "workspace", **body})
    assert made.status_code == 201, made.text
    return Caller(keeping, made.json()["key"])


def soul_with(name: str, **place: Any) -> dict[str, Any]:
    """A Soul whose model needs this credential, unless ``place`` replaces the model."""
    model = {"plugin_id": "langgenius/openai", "model_provider": "openai", "model": "gpt"}
    ref = {"type": "provider", "id": name}
    return parse_soul({"model": {**model, "credential_ref": ref}, **place}).as_json()


def stored_agent(database: Database, tenant: str, *souls: dict[str, Any], **values: Any) -> tuple[str, list[str]]:
    """Stores an agent with these versions, of which the last is active, and returns its id and theirs."""
    given = {"name": new_id(), "scope": AgentScope.ROSTER, "source": AgentSource.ROSTER, **values}
    agent = Agent(tenant_id=tenant, **given)
    with database.transaction() as session:
        session.add(agent)
        operation = RevisionOperation.SAVE_NEW_VERSION
        versions: list[AgentConfigSnapshot] = [
            write_version(session, agent, soul, operation=operation, actor=None) for soul in souls
        ]
        return agent.id, [version.id for version in versions]


def resolved(database: Database, tenant: str, *names: str, ring: str = RING) -> dict[str, dict[str, Any]]:
    with database.reading() as session:
        return CredentialService(database, [SecretStr(ring)]).resolve(session, tenant, names)


def row_of(database: Database, tenant: str, name: str) -> Credential:
    with database.reading() as session:
        rows = session.query(Credential).filter_by(tenant_id=tenant, name=name)
        return rows.one()


def test_a_stored_credential_is_shown_without_its_values(operator: Caller, database: Database, tenant: str) -> None:
    stored = operator.put()
    listed = operator("GET")

    assert stored.status_code == 201
    told = stored.json()
    assert set(told) == {"name", "provider", "last4", "fingerprint", "created_at", "updated_at"}
    assert (told["name"], told["provider"], told["last4"]) == ("my-openai", "openai", "cdef")
    assert told["fingerprint"] == hashlib.sha256(KEY.encode()).hexdigest()[:8]
    assert datetime.fromisoformat(told["created_at"]) == datetime.fromisoformat(told["updated_at"])
    assert listed.json() == {"data": [told], "page": 1, "limit": 20, "total": 1, "has_more": False}
    assert KEY not in stored.text + listed.text
    assert KEY not in str(vars(row_of(database, tenant, "my-openai")))
    assert resolved(database, tenant, "my-openai") == {"my-openai": {"api_key": KEY}}


def test_new_values_replace_the_old_ones(operator: Caller, database: Database, tenant: str) -> None:
    first = operator.put().json()

    again = operator.put(body={"provider": "azure", "values": {"token": "other-token-9876", "deep": {"a": [1]}}})

    assert again.status_code == 200
    assert again.json()["last4"] == "9876"
    assert again.json()["created_at"] == first["created_at"] < again.json()["updated_at"]
    assert operator("GET").json()["data"] == [again.json()]
    assert resolved(database, tenant, "my-openai")["my-openai"] == {"token": "other-token-9876", "deep": {"a": [1]}}
    assert row_of(database, tenant, "my-openai").version == 2


def test_every_change_is_logged_without_the_values(keeping: GunicornServer, operator: Caller, tenant: str) -> None:
    user = {"X-User-Id": "ada"}
    marks = [operator.put(headers=user).json()["fingerprint"]]
    marks.append(operator.put(body={"provider": "openai", "values": {"api_key": "other-" + KEY}}).json()["fingerprint"])
    operator("DELETE", "/credentials/my-openai", headers=user)
    operator("DELETE", "/credentials/my-openai", headers=user)

    what = f"tenant={tenant} by={{}} name=my-openai"
    assert audited(keeping, tenant) == [
        f"credential_stored {what} fingerprint={marks[0]}".format("ada"),
        f"credential_replaced {what} fingerprint={marks[1]}".format("operator"),
        f"credential_deleted {what} forced=False".format("ada"),
    ]
    assert KEY not in keeping.log


def test_credentials_are_listed_page_by_page_the_last_changed_first(operator: Caller) -> None:
    for name in ("a", "b", "c", "a"):
        operator.put(name)

    first = operator("GET", "/credentials?limit=2").json()
    second = operator("GET", "/credentials?limit=2&page=2").json()

    assert [row["name"] for row in first["data"] + second["data"]] == ["a", "c", "b"]
    assert (first["total"], first["has_more"], second["has_more"]) == (3, True, False)
    for query in ("page=0", "limit=101", "limit=x"):
        error(operator("GET", f"/credentials?{query}"), 400, "invalid_param")


def test_a_deleted_credential_is_gone(operator: Caller, database: Database, tenant: str) -> None:
    operator.put()

    answer = operator("DELETE", "/credentials/my-openai")

    assert (answer.status_code, answer.content) == (204, b"")
    assert operator.names() == []
    error(operator("DELETE", "/credentials/my-openai"), 404, "credential_not_found")
    with pytest.raises(AgentCredentialNotFound, match="'my-openai'"):
        resolved(database, tenant, "my-openai")
    assert operator.put().status_code == 201, "the name is free again"


@pytest.mark.parametrize("name", ["a", "A.b_c:d@e-f", "9" * 255, "01a1f960-2c22-78f6-a9dc-c49a984ed9e3"])
def test_a_valid_name_is_accepted(operator: Caller, name: str) -> None:
    assert operator.put(name).status_code == 201
    assert operator.names() == [name]
    assert operator("DELETE", f"/credentials/{name}?force=false").status_code == 204


@pytest.mark.parametrize("name", ["a" * 256, "a b", "-a", ".env", "%00", "a%0Ab", "ü", "a%", KEY, "'", "%22"])
def test_an_invalid_name_is_refused(operator: Caller, name: str) -> None:
    detail = error(operator.put(name), 400, "invalid_param")

    assert detail[0]["loc"] == ["path", "name"]
    error(operator("DELETE", f"/credentials/{name}"), 404, "credential_not_found")
    assert operator.names() == []


@pytest.mark.parametrize("path", ["..", "a/b", "a%2Fb", ""])
def test_a_name_that_looks_like_a_path_is_refused(operator: Caller, path: str) -> None:
    answer = operator("PUT", f"/credentials/{path}", json=BODY)

    assert answer.status_code in (400, 404, 405)
    assert operator.names() == []


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, [["body", "provider"], ["body", "values"]]),
        ({"provider": "p", "values": None}, [["body", "values"]]),
        ({"provider": "p", "values": KEY}, [["body", "values"]]),
        ({"provider": "p", "values": [KEY]}, [["body", "values"]]),
        ({"provider": "p", "values": {}}, [["body", "values"]]),
        ({"provider": "p", "values": {"": KEY}}, [["body", "values", "", "[key]"]]),
        ({"provider": "p", "values": {"api_key": "", "other": None}}, [["body", "values"]]),
        ({"provider": "p", "values": {"k" * 256: KEY}}, None),
        ({"provider": "p", "values": {f"k{number}": KEY for number in range(101)}}, [["body", "values"]]),
        ({"provider": "p", "values": {"api_key": KEY * 4000}}, [["body", "values"]]),
        ({"provider": "p", "values": {"a": [0] * 21_000, "b": KEY}}, [["body", "values"]]),
        ({"provider": "p", "values": {"a": json.loads("[" * 100 + "]" * 100)}}, [["body", "values"]]),
        ({"provider": 7, "values": {"x": KEY}}, [["body", "provider"]]),
        ({"provider": "", "values": {"x": KEY}}, [["body", "provider"]]),
        ({"provider": " ", "values": {"x": KEY}}, [["body", "provider"]]),
        ({"provider": "a\u0000", "values": {"x": KEY}}, [["body", "provider"]]),
        ({"provider": "p" * 256, "values": {"x": KEY}}, [["body", "provider"]]),
        ({"provider": KEY, "values": {"x": KEY}}, [["body", "provider"]]),
        ({"values": {"x": KEY}}, [["body", "provider"]]),
        ({"provider": "p", "values": {"x": KEY}, "value": KEY}, [["body", "value"]]),
    ],
)
def test_what_cannot_be_stored_is_refused_and_not_repeated(
    operator: Caller, body: dict[str, Any], at: list[list[str]] | None
) -> None:
    answer = operator.put(body=body)

    detail = error(answer, 400, "invalid_param")
    assert at is None or [problem["loc"] for problem in detail] == at
    assert KEY not in answer.text
    assert operator.names() == []


@pytest.mark.parametrize(
    "text", ["", "null", "[]", f'"{KEY}"', f'{{"provider": "{KEY}"', f'{{"values": {{"a": NaN, "b": "{KEY}"}}}}']
)
def test_a_body_that_is_no_object_is_refused_and_not_repeated(operator: Caller, text: str) -> None:
    answer = operator("PUT", "/credentials/a", data=text, headers={"Content-Type": "application/json"})

    error(answer, 400, "invalid_param")
    assert KEY not in answer.text


def test_a_body_that_is_too_large_is_refused(operator: Caller) -> None:
    body = {"provider": "p", "values": {"x": "x" * MAX_BYTES}}

    error(operator.put(body=body), 413, "request_too_large")


def test_a_value_may_have_characters_that_a_database_cannot_store(
    operator: Caller, database: Database, tenant: str
) -> None:
    values = {"token": "0123456789\u0000ab\u2028\U0001f511"}

    assert operator.put(body={"provider": "日本", "values": values}).json()["last4"] is None
    assert resolved(database, tenant, "my-openai") == {"my-openai": values}


def test_without_a_valid_key_nobody_is_let_in(keeping: GunicornServer) -> None:
    caller = Caller(keeping, "ws-unknown")

    for answer in (caller("GET"), caller.put(), caller("DELETE", "/credentials/a")):
        error(answer, 401, "unauthorized")


def test_a_key_of_a_workspace_stores_for_its_tenant(
    operator: Caller, keeping: GunicornServer, database: Database, tenant: str
) -> None:
    workspace = holder_of_a_key(operator, keeping)

    assert workspace.put().status_code == 201

    assert operator.names() == ["my-openai"]
    by_key = row_of(database, tenant, "my-openai")
    operator.put(headers={"X-User-Id": "user-7"})
    row = row_of(database, tenant, "my-openai")
    assert by_key.created_by == by_key.updated_by == row.created_by
    assert row.created_by is not None
    assert row.updated_by == "user-7"
    error(workspace("GET", headers={"X-Tenant-Id": new_id()}), 403, "tenant_not_allowed")


def test_a_key_of_an_app_gives_no_access_to_credentials(
    operator: Caller, keeping: GunicornServer, database: Database, tenant: str
) -> None:
    agent_id, _ = stored_agent(database, tenant, soul_with("my-openai"))
    app = holder_of_a_key(operator, keeping, kind="app", agent_id=agent_id)

    for answer in (app("GET"), app.put(), app("DELETE", "/credentials/my-openai")):
        error(answer, 403, "key_not_allowed")


def test_credentials_of_another_tenant_are_not_found(operator: Caller, stranger: Caller, database: Database) -> None:
    operator.put()

    assert stranger.names() == []
    error(stranger("DELETE", "/credentials/my-openai?force=true"), 404, "credential_not_found")
    assert stranger.put(body={"provider": "theirs", "values": {"a": "b"}}).status_code == 201
    assert operator("GET").json()["data"][0]["provider"] == "openai"
    with pytest.raises(AgentCredentialNotFound):
        resolved(database, new_id(), "my-openai")


def test_of_many_concurrent_puts_one_creates_the_credential(operator: Caller, database: Database, tenant: str) -> None:
    bodies = [{"provider": "p", "values": {"api_key": f"value-number-{number:02}"}} for number in range(16)]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda body: operator.put(body=body), bodies))

    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [201]
    last = operator("GET").json()["data"]
    kept = resolved(database, tenant, "my-openai")["my-openai"]
    assert len(last) == 1
    assert kept["api_key"].endswith(last[0]["last4"])
    assert row_of(database, tenant, "my-openai").version == 16


def test_of_many_concurrent_deletes_one_succeeds(operator: Caller) -> None:
    operator.put()

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: operator("DELETE", "/credentials/my-openai"), range(6)))

    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 5


def test_storing_and_deleting_at_once_fails_for_nobody(operator: Caller) -> None:
    def change(number: int) -> int:
        answer = operator.put() if number % 2 else operator("DELETE", "/credentials/my-openai")
        return answer.status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(change, range(40))) <= {200, 201, 204, 404}


def tool_with(name: str, **values: Any) -> dict[str, Any]:
    ref = {"type": "tool", "id": name}
    return {"provider_id": "a/b/c", "tool_name": "find", "credential_ref": ref, **values}


@pytest.mark.parametrize(
    "place",
    [
        {},
        {"model": None, "tools": {"dify_tools": [tool_with("my_openai")]}},
        {"model": None, "tools": {"dify_tools": [tool_with("x"), tool_with("my_openai", tool_name="y")]}},
    ],
)
@pytest.mark.parametrize("scope", list(AgentScope))
def test_a_credential_that_an_active_agent_needs_is_only_deleted_by_force(
    operator: Caller, stranger: Caller, database: Database, tenant: str, place: dict[str, Any], scope: AgentScope
) -> None:
    operator.put("my_openai")
    agent_id, _ = stored_agent(database, tenant, soul_with("my_openai", **place), scope=scope)
    stranger.put("my_openai")

    answer = operator("DELETE", "/credentials/my_openai")

    error(answer, 409, "credential_in_use")
    assert agent_id in answer.json()["message"]
    assert operator.names() == ["my_openai"]
    assert stranger("DELETE", "/credentials/my_openai").status_code == 204, "only agents of the tenant count"
    assert operator("DELETE", "/credentials/my_openai?force=true").status_code == 204


def test_a_version_that_has_a_tag_or_a_node_needs_its_credential(
    operator: Caller, database: Database, tenant: str
) -> None:
    without = parse_soul({}).as_json()
    tagged_agent, tagged = stored_agent(database, tenant, soul_with("tagged"), without)
    bound_agent, bound = stored_agent(database, tenant, soul_with("bound"), without)
    binding = {"app_id": "a", "workflow_id": "w", "workflow_version": "draft", "node_id": "n", "node_job_config": {}}
    for name in ("tagged", "bound"):
        operator.put(name)
        assert operator("DELETE", f"/credentials/{name}").status_code == 204
        operator.put(name)

    with database.transaction() as session:
        session.add(AgentTag(tenant_id=tenant, agent_id=tagged_agent, tag="stable", snapshot_id=tagged[0]))
        session.add(
            WorkflowAgentNodeBinding(
                tenant_id=tenant,
                binding_type=BindingType.ROSTER_AGENT,
                agent_id=bound_agent,
                current_snapshot_id=bound[0],
                **binding,
            )
        )

    for name in ("tagged", "bound"):
        error(operator("DELETE", f"/credentials/{name}"), 409, "credential_in_use")


def test_a_credential_that_no_agent_needs_is_deleted(operator: Caller, database: Database, tenant: str) -> None:
    operator.put("my_openai")
    stored_agent(database, tenant, soul_with("my_openai"), status=AgentStatus.ARCHIVED)
    stored_agent(database, tenant, soul_with("my_openai"), soul_with("other"))
    stored_agent(database, tenant, soul_with("my-openai"))
    stored_agent(database, tenant, soul_with("my_openai2"))
    stored_agent(database, tenant, soul_with("x", prompt={"system_prompt": '"my_openai"'}))
    idle = [tool_with("my_openai", enabled=False), tool_with("my_openai", credential_type="unauthorized")]
    stored_agent(database, tenant, soul_with("x", tools={"dify_tools": idle}))

    assert operator("DELETE", "/credentials/my_openai").status_code == 204


def test_of_many_agents_that_need_it_a_few_are_named(operator: Caller, database: Database, tenant: str) -> None:
    operator.put()
    agents = {stored_agent(database, tenant, soul_with("my-openai"))[0] for _ in range(8)}

    message = operator("DELETE", "/credentials/my-openai").json()["message"]

    assert sum(agent in message for agent in agents) == 5
    assert message.endswith(" and others")


@pytest.mark.parametrize("force", ["1", "True", "yes", "", "true&force=x"])
def test_force_is_true_or_false(operator: Caller, force: str) -> None:
    operator.put()

    answer = operator("DELETE", f"/credentials/my-openai?force={force}")

    assert answer.status_code == (204 if force.startswith("true") else 400)


def test_credentials_are_resolved_once_each_and_a_missing_one_is_an_error(
    operator: Caller, database: Database, tenant: str
) -> None:
    operator.put("a")
    operator.put("b", {"provider": "p", "values": {"token": "b-values"}})

    found = resolved(database, tenant, "b", "a", "b")

    assert found == {"b": {"token": "b-values"}, "a": {"api_key": KEY}}
    assert resolved(database, tenant) == {}
    for missing in ("c", "", "A", "a\u0000", "a" * 300):
        with pytest.raises(AgentCredentialNotFound):
            resolved(database, tenant, "a", missing)


def test_a_credential_that_no_key_can_decrypt_is_not_resolved(
    operator: Caller, database: Database, tenant: str
) -> None:
    operator.put()

    with pytest.raises(CredentialUnreadable, match="'my-openai'") as caught:
        resolved(database, tenant, "my-openai", ring=Fernet.generate_key().decode())

    assert KEY not in str(caught.value)


def test_a_row_that_was_moved_to_another_tenant_cannot_be_decrypted(
    operator: Caller, database: Database, tenant: str
) -> None:
    operator.put()
    thief = new_id()

    with database.transaction() as session:
        session.query(Credential).filter_by(tenant_id=tenant).update({"tenant_id": thief})

    with pytest.raises(CredentialUnreadable):
        resolved(database, thief, "my-openai")


@pytest.fixture
def ringless(database: Database, tenant: str) -> FlaskClient:
    """The operator's client of a server without a key ring."""
    flask_app = Flask("ringless")
    keys, apps = ApiKeyService(database), AppService(database)
    callers = Callers(keys, apps, StreamTokens([]), run_tokens=[], admin_tokens=[SecretStr(ADMIN)])
    limits = BodyLimits(bytes=MAX_BYTES, values=1000, seconds=30, input_bytes=1000)
    registration = Registration(
        blueprint=credentials_blueprint(CredentialService(database, [])), caller=callers.of_workspace
    )
    register(
        flask_app,
        registration,
        RequestRules(body_limits=limits, hosts=[], origins=[], limiter=RateLimiter(rate=0, burst=1)),
    )
    client = flask_app.test_client()
    client.environ_base |= {"HTTP_AUTHORIZATION": f"Bearer {ADMIN}", "HTTP_X_TENANT_ID": tenant}
    return client


def test_without_a_key_ring_credentials_can_only_be_listed_and_deleted(
    ringless: FlaskClient, operator: Caller, database: Database, tenant: str
) -> None:
    operator.put()

    refused = ringless.put("/credentials/other", json=BODY)

    assert (refused.status_code, refused.get_json()["code"]) == (503, "credentials_unavailable")
    assert "DIFY_AGENT_SECRET_KEYS" in refused.get_json()["message"]
    with database.reading() as session, pytest.raises(CredentialsUnavailable):
        CredentialService(database, []).resolve(session, tenant, ["my-openai"])
    assert [row["name"] for row in ringless.get("/credentials").get_json()["data"]] == ["my-openai"]
    assert ringless.delete("/credentials/my-openai").status_code == 204


def test_a_locked_database_answers_503_and_changes_nothing(
    operator: Caller, database_kind: str, database_url: str, database: Database
) -> None:
    if database_kind == SQLITE:
        other = sqlite3.connect(sqlite_file(database_url), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answer = operator.put()
        other.execute("ROLLBACK")
        other.close()
    else:
        with database.transaction() as session:
            session.connection().exec_driver_sql("LOCK TABLE credentials IN EXCLUSIVE MODE")
            answer = operator.put()

    error(answer, 503, "database_unavailable")
    assert operator.names() == []
