"""Runs of tenants: a run started with a key is visible to its tenant and the operator, and to nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
import requests

from dev.stop_signals import wait_until
from runtime.protocol.ids import new_id
from tests.conftest import StartServer, environment
from tests.support.agent_client import ADMIN_TOKEN, DEMO_MODEL, AgentClient, soul
from tests.support.client import demo_llm, prompt
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer
from tests.support.socket_client import UPGRADE, SocketClient

PREFIX = "run-tenants"
API_TOKEN = "token-of-dify"
SECRET_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
SLOW = {"answer": "one two three", "delay_ms": 60_000}
REVOKED_SECONDS = 30.0
DOORS = [
    ("GET", "", {}),
    ("GET", "/events", {}),
    ("GET", "/events/sse", {}),
    ("GET", "/events/ws", UPGRADE),
    ("POST", "/stream-tokens", {}),
    ("POST", "/cancel", {}),
]
SEEN = [200, 200, 200, 101, 201, 200]
READS = DOORS[:4]


@dataclass(frozen=True)
class Caller:
    """Calls ``/runs`` with a bearer token, or without one."""

    url: str
    token: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Returns the status, and the body where it is an error."""
        bearer = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        headers = {**bearer, **self.headers, **options.pop("headers", {})}
        # A new connection for each request, so that either worker may get it.
        with requests.Session() as session:
            session.trust_env = False
            url = f"{self.url}/runs{path}"
            with session.request(method, url, headers=headers, stream=True, timeout=30, **options) as response:
                return response.status_code, response.json() if response.status_code >= 400 else None

    def post(self, *layers: dict[str, Any], **headers: str) -> requests.Response:
        bearer = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        body = {"composition": {"layers": list(layers) or [prompt(), demo_llm(**SLOW)]}}
        return requests.post(f"{self.url}/runs", json=body, headers={**bearer, **self.headers, **headers}, timeout=30)

    def create(self, **headers: str) -> str:
        response = self.post(**headers)
        assert response.status_code == 202, response.text
        return str(response.json()["run_id"])

    def doors(self, run_id: str, query: str = "") -> list[tuple[int, Any]]:
        """Calls each route of the run and returns the answers; the last call cancels it."""
        return [self.ask(method, f"/{run_id}{door}{query}", headers=more) for method, door, more in DOORS]


@dataclass(frozen=True)
class Site:
    """Two servers on the same Redis and database: on one ``/runs`` is open, the other needs a token."""

    open: GunicornServer
    closed: GunicornServer

    def hidden_from(self, server: GunicornServer, stranger: str) -> list[Caller]:
        """The callers who may use ``/runs`` but not see this tenant's run."""
        callers = [Caller(server.url, stranger)]
        if server is self.open:
            callers += [Caller(server.url), Caller(server.url, "unknown")]
        else:
            callers += [Caller(server.url, API_TOKEN)]
        return callers


@pytest.fixture(scope="module")
def site(redis_server: RedisServer, daemon: ScriptedDaemon, database_url: str) -> Iterator[Site]:
    env = environment(
        redis_server.url,
        daemon.url,
        redis_prefix=PREFIX,
        admin_token=ADMIN_TOKEN,
        database_url=database_url,
        secret_keys=SECRET_KEY,
    )
    with ExitStack() as stack:
        opened = stack.enter_context(running_server(env, workers=2))
        # One worker, so that it is asked about runs that it executes itself, whose records it does not read.
        closed = stack.enter_context(running_server({**env, "DIFY_AGENT_API_TOKEN": API_TOKEN}))
        yield Site(opened, closed)


@pytest.fixture(params=["open", "closed"])
def server(site: Site, request: pytest.FixtureRequest) -> GunicornServer:
    chosen: GunicornServer = getattr(site, request.param)
    return chosen


@pytest.fixture
def tenant() -> str:
    return new_id()


def make_key(server: GunicornServer, tenant: str, **body: Any) -> dict[str, Any]:
    """Creates a key, of a workspace by default."""
    return AgentClient(server.url, tenant=tenant).json("POST", "/keys", 201, json={"kind": "workspace", **body})


@pytest.fixture
def key(server: GunicornServer, tenant: str) -> str:
    return str(make_key(server, tenant)["key"])


@pytest.fixture
def stranger(server: GunicornServer) -> str:
    """A key of another tenant."""
    return str(make_key(server, new_id())["key"])


def run_agent(client: AgentClient) -> str:
    made = client.agent(new_id(), agent_soul=soul(model={**DEMO_MODEL, "model_settings": SLOW}))
    return str(client.json("POST", f"/agents/{made['id']}/runs", 202, json={"query": "Hello?"})["run_id"])


STARTERS: dict[str, Callable[[str, str, str], str]] = {
    "a key": lambda url, tenant, key: Caller(url, key).create(),
    "the operator for the tenant": lambda url, tenant, key: Caller(url, ADMIN_TOKEN).create(**{"X-Tenant-Id": tenant}),
    "a key, of an agent": lambda url, tenant, key: run_agent(AgentClient(url, key=key)),
    "the operator for the tenant, of an agent": lambda url, tenant, key: run_agent(AgentClient(url, tenant=tenant)),
}


@pytest.mark.parametrize("starter", STARTERS)
def test_a_run_of_a_tenant_is_only_visible_to_it_and_the_operator(
    site: Site, server: GunicornServer, starter: str, tenant: str, key: str, stranger: str
) -> None:
    run_id = STARTERS[starter](server.url, tenant, key)
    missing = Caller(server.url, ADMIN_TOKEN).ask("GET", f"/{new_id()}")
    second = make_key(server, tenant)["key"]

    for seat in (site.open, site.closed):
        for hidden in site.hidden_from(seat, stranger):
            assert hidden.doors(run_id) == [missing] * len(DOORS)
    assert missing[0] == 404
    assert Caller(site.closed.url).ask("GET", f"/{run_id}")[0] == 401

    operator = Caller(server.url, ADMIN_TOKEN)
    for viewer in (
        Caller(server.url, key),
        Caller(server.url, second),
        Caller(site.open.url, key),
        operator,
        Caller(server.url, ADMIN_TOKEN, {"X-Tenant-Id": new_id()}),
    ):
        assert [viewer.ask(method, f"/{run_id}{door}", headers=more)[0] for method, door, more in READS] == SEEN[:4]
    assert record(server, run_id)["status"] == "running", "nobody who may not see it has cancelled it"
    assert [status for status, _ in operator.doors(run_id)] == SEEN


def record(server: GunicornServer, run_id: str) -> dict[str, Any]:
    """The status of a run, as the operator reads it."""
    answer = server.get(f"/runs/{run_id}", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_run_without_a_tenant_is_visible_to_all_callers_without_one(
    site: Site, server: GunicornServer, key: str, tenant: str
) -> None:
    makers = [Caller(server.url, ADMIN_TOKEN)]
    if server is site.open:
        makers += [Caller(server.url), Caller(server.url, "unknown"), Caller(server.url, None, {"X-Tenant-Id": tenant})]
    else:
        makers += [Caller(server.url, API_TOKEN), Caller(server.url, API_TOKEN, {"X-Tenant-Id": tenant})]
    for maker in makers:
        run_id = maker.create()

        assert [status for status, _ in Caller(site.open.url).doors(run_id)] == SEEN
        assert [status for status, _ in Caller(site.open.url, key).doors(run_id)] == SEEN
        assert [status for status, _ in Caller(site.closed.url, API_TOKEN).doors(run_id)] == SEEN
        assert [status for status, _ in Caller(server.url, ADMIN_TOKEN).doors(run_id)] == SEEN
        assert [status for status, _ in Caller(site.closed.url, key).doors(run_id)] == [404] * len(DOORS)


def test_a_run_that_has_ended_stays_hidden(site: Site, server: GunicornServer, key: str, stranger: str) -> None:
    run_id = Caller(server.url, key).create()
    assert Caller(server.url, key).ask("POST", f"/{run_id}/cancel")[0] == 200

    for seat in (site.open, site.closed):
        for hidden in site.hidden_from(seat, stranger):
            assert [status for status, _ in hidden.doors(run_id)] == [404] * len(DOORS)
    assert [status for status, _ in Caller(server.url, key).doors(run_id)] == SEEN


def test_a_status_says_nothing_of_the_tenant(server: GunicornServer, key: str) -> None:
    run_id = Caller(server.url, key).create()

    assert set(record(server, run_id)) == {"run_id", "status", "created_at", "updated_at", "error"}
    Caller(server.url, key).ask("POST", f"/{run_id}/cancel")


def test_a_run_stored_before_there_were_tenants_has_none(
    site: Site, server: GunicornServer, key: str, redis_server: RedisServer
) -> None:
    run_id = Caller(server.url, key).create()
    Caller(server.url, key).ask("POST", f"/{run_id}/cancel")
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as storage:
        name = f"{PREFIX}:runs:{run_id}:record"
        fields = json.loads(str(storage.get(name)))
        del fields["tenant_id"]
        storage.set(name, json.dumps(fields))

    assert [status for status, _ in Caller(site.open.url).doors(run_id)] == SEEN
    assert Caller(site.closed.url, key).ask("GET", f"/{run_id}")[0] == 404


def test_a_key_of_an_app_gives_no_access_to_runs(server: GunicornServer, tenant: str) -> None:
    agent = AgentClient(server.url, tenant=tenant).agent()
    app = Caller(server.url, make_key(server, tenant, kind="app", agent_id=agent["id"])["key"])
    run_id = Caller(server.url, ADMIN_TOKEN).create()

    answers = [*app.doors(run_id), *app.doors(new_id()), (app.post().status_code, app.post().json())]

    assert {(status, body["code"]) for status, body in answers} == {(403, "key_not_allowed")}
    Caller(server.url, ADMIN_TOKEN).ask("POST", f"/{run_id}/cancel")


@pytest.mark.parametrize("token", ["ws-", "app-", "ws-unknown", "app-unknown", "ws-" + "x" * 5000, "ws-\xff"])
def test_an_invalid_key_is_refused_even_where_no_token_is_needed(server: GunicornServer, token: str) -> None:
    caller = Caller(server.url, token)

    for status, body in [*caller.doors(new_id()), (caller.post().status_code, caller.post().json())]:
        assert (status, body["code"]) == (401, "unauthorized")


def test_a_key_in_another_scheme_does_not_count(site: Site, tenant: str) -> None:
    key = make_key(site.open, tenant)["key"]
    run_id = Caller(site.open.url, key).create()
    basic = Caller(site.open.url, None, {"Authorization": f"Basic {key}"})

    assert basic.ask("GET", f"/{run_id}")[0] == 404
    Caller(site.open.url, key).ask("POST", f"/{run_id}/cancel")


def test_a_revoked_key_opens_nothing_any_more(server: GunicornServer, tenant: str) -> None:
    made = make_key(server, tenant)
    run_id = Caller(server.url, made["key"]).create()

    AgentClient(server.url, tenant=tenant).call("DELETE", f"/keys/{made['id']}")

    caller = Caller(server.url, made["key"])
    # Many attempts in a row, so that every worker gets one.
    assert wait_until(lambda: all(caller.ask("GET", f"/{run_id}")[0] == 401 for _ in range(10)), REVOKED_SECONDS)
    assert caller.post().status_code == 401
    Caller(server.url, ADMIN_TOKEN).ask("POST", f"/{run_id}/cancel")


def test_a_key_acts_only_for_its_own_tenant(server: GunicornServer, key: str, tenant: str) -> None:
    refused = Caller(server.url, key).post(**{"X-Tenant-Id": new_id()})
    run_id = Caller(server.url, key).create(**{"X-Tenant-Id": tenant})

    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_not_allowed")
    assert Caller(server.url, key).ask("POST", f"/{run_id}/cancel")[0] == 200


@pytest.mark.parametrize("type_id", ["dify.execution_context", "dify.plugin"])
def test_a_key_calls_the_plugin_daemon_only_for_its_own_tenant(
    server: GunicornServer, key: str, tenant: str, type_id: str
) -> None:
    caller = Caller(server.url, key)
    more = {"invoke_from": "service-api"} if type_id == "dify.execution_context" else {"plugin_id": "p"}

    def layers(named: str) -> dict[str, Any]:
        identity = {"name": "identity", "type": type_id, "config": {"tenant_id": named, **more}}
        return {"composition": {"layers": [prompt(), identity, demo_llm()]}}

    status, body = caller.ask("POST", "", json=layers("somebody-else"))
    assert (status, body["code"]) == (403, "tenant_not_allowed")
    assert caller.ask("POST", "", json=layers(tenant))[0] == 202


@pytest.mark.parametrize("value", ["", "../x", "a b", "t" * 65])
def test_an_invalid_tenant_of_the_operator_is_refused(server: GunicornServer, value: str) -> None:
    refused = Caller(server.url, ADMIN_TOKEN).post(**{"X-Tenant-Id": value})

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_param")
    assert refused.json()["detail"][0]["loc"] == ["header", "X-Tenant-Id"]


def test_tenants_do_not_share_idempotency_keys(site: Site, server: GunicornServer, key: str) -> None:
    stranger, shared = make_key(server, new_id())["key"], {"Idempotency-Key": new_id()}
    nobody = Caller(server.url) if server is site.open else Caller(server.url, API_TOKEN)
    callers = [Caller(server.url, key), Caller(server.url, stranger), nobody]

    first = [caller.create(**shared) for caller in callers]
    again = [caller.create(**shared) for caller in callers]

    assert len(set(first)) == len(callers)
    assert again == first
    other = [prompt("Something else."), demo_llm(**SLOW)]
    for caller, run_id in zip(callers, first, strict=True):
        refused = caller.post(*other, **shared)
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_key_reused")
        assert caller.ask("POST", f"/{run_id}/cancel")[0] == 200


def test_a_stream_token_only_opens_the_run_it_was_made_for(server: GunicornServer, key: str) -> None:
    run_id, other = Caller(server.url, key).create(), Caller(server.url, key).create()
    bearer = {"Authorization": f"Bearer {key}"}
    token = server.post(f"/runs/{run_id}/stream-tokens", headers=bearer).json()["token"]
    reader = Caller(server.url)

    for method, door, more in READS:
        assert reader.ask(method, f"/{run_id}{door}?token={token}", headers=more)[0] in (200, 101)
        assert reader.ask(method, f"/{other}{door}?token={token}", headers=more)[0] == 401
    for one in (run_id, other):
        Caller(server.url, key).ask("POST", f"/{one}/cancel")


def test_a_tenant_cancels_its_run_over_its_socket(server: GunicornServer, key: str) -> None:
    run_id = Caller(server.url, key).create()
    socket = SocketClient(server.url, run_id, token=key)

    socket.send({"type": "cancel"})

    assert socket.rest()[-1]["type"] == "run_cancelled"
    socket.close()


def test_without_a_database_callers_without_a_key_are_served(start_server: StartServer) -> None:
    server = start_server(redis_prefix="no-tenants", admin_token=ADMIN_TOKEN)
    for caller in (Caller(server.url), Caller(server.url, "unknown"), Caller(server.url, ADMIN_TOKEN)):
        run_id = caller.create()
        answers = [caller.ask(method, f"/{run_id}{door}", headers=more)[0] for method, door, more in READS]
        assert answers == SEEN[: len(READS)]
        assert caller.ask("POST", f"/{run_id}/cancel")[0] == 200

    status, body = Caller(server.url, "ws-" + "x" * 48).ask("GET", f"/{new_id()}")

    assert (status, body["code"]) == (503, "migrations_pending")
