"""The feed of a tenant, which has the tenant's runs and nothing about any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from dev.stop_signals import wait_until
from runtime.protocol.ids import new_id
from tests.conftest import environment
from tests.support.agent_client import ADMIN_TOKEN, AgentClient
from tests.support.client import DEADLINE_SECONDS, RunClient, demo_llm, prompt
from tests.support.databases import migrate
from tests.support.feed_client import FeedClient, Message
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_cluster import running_cluster
from tests.support.redis_server import RedisServer
from tests.support.socket_client import UPGRADE

SETTINGS = {"admin_token": ADMIN_TOKEN, "secret_keys": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}
REVOKED_SECONDS = 30.0

OpenFeed = Callable[..., FeedClient]


@pytest.fixture(scope="module")
def serving(redis_server: RedisServer, daemon: ScriptedDaemon, database_url: str) -> Iterator[GunicornServer]:
    """A server with two workers, on which ``/runs`` is open."""
    env = environment(redis_server.url, daemon.url, redis_prefix="feed-tenants", database_url=database_url, **SETTINGS)
    with running_server(env, workers=2) as server:
        yield server


@pytest.fixture
def open_feed(serving: GunicornServer) -> Iterator[OpenFeed]:
    with ExitStack() as stack:

        def open_one(token: str | None = None, query: str = "") -> FeedClient:
            feed = FeedClient(serving.url, token=token, query=query)
            stack.callback(feed.close)
            return feed

        yield open_one


class Tenant:
    """A tenant with a key."""

    def __init__(self, server: GunicornServer) -> None:
        self.id = new_id()
        self.operator = AgentClient(server.url, tenant=self.id)
        self.made = self.operator.json("POST", "/keys", 201, json={"kind": "workspace"})
        self.key = str(self.made["key"])
        self.runs = RunClient(server.url, token=self.key)

    def slow_run(self) -> str:
        return slow_run(self.runs)


def slow_run(client: RunClient) -> str:
    return client.create(prompt(), demo_llm(answer="one two three", delay_ms=60_000))


@pytest.fixture
def tenant(serving: GunicornServer) -> Tenant:
    return Tenant(serving)


@pytest.fixture
def other(serving: GunicornServer) -> Tenant:
    return Tenant(serving)


@pytest.fixture
def nobody(serving: GunicornServer) -> RunClient:
    """A client whose runs have no tenant."""
    return RunClient(serving.url)


def make_token(url: str, token: str, **headers: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}", **headers}
    return requests.post(f"{url}/events/stream-tokens", headers=headers, timeout=DEADLINE_SECONDS)


def handshake(url: str, token: str, **headers: str) -> tuple[int, str | None]:
    """Tries to open the feed and returns the status and the error code."""
    headers = {**UPGRADE, "Authorization": f"Bearer {token}", **headers}
    with requests.get(f"{url}/events/ws", headers=headers, stream=True, timeout=DEADLINE_SECONDS) as response:
        return response.status_code, None if response.status_code == 101 else response.json()["code"]


def live(feed: FeedClient) -> list[tuple[str, str]]:
    """The starts and ends that the list has reported."""
    return [(one["run"]["run_id"], one["run"]["status"]) for one in feed.messages if one["type"] == "run"]


def by_key(open_feed: OpenFeed, tenant: Tenant) -> FeedClient:
    return open_feed(tenant.key)


def by_stream_token(open_feed: OpenFeed, tenant: Tenant) -> FeedClient:
    made = make_token(tenant.runs.url, tenant.key)
    assert made.status_code == 201, made.text
    return open_feed(query=f"?token={made.json()['token']}")


WAYS = pytest.mark.parametrize("way", [by_key, by_stream_token])


@WAYS
def test_the_list_of_a_tenant_has_only_its_own_runs(
    open_feed: OpenFeed, tenant: Tenant, other: Tenant, nobody: RunClient, way: Callable[..., FeedClient]
) -> None:
    clients = (tenant.runs, other.runs, nobody)
    before = [slow_run(client) for client in clients]
    feed = way(open_feed, tenant)
    listed = feed.follow_runs()

    later = [slow_run(client) for client in clients]
    for mine, foreign, free in (before, later):
        other.runs.cancel(foreign)
        nobody.cancel(free)
        tenant.runs.cancel(mine)
    feed.wait_for_run(later[0], "cancelled")

    assert [(run["run_id"], run["tenant_id"], run["status"]) for run in listed] == [(before[0], tenant.id, "running")]
    assert live(feed) == [(later[0], "running"), (before[0], "cancelled"), (later[0], "cancelled")]
    assert {one["run"]["tenant_id"] for one in feed.messages if one["type"] == "run"} == {tenant.id}
    assert [one for one in feed.messages if one["type"] == "runs"] == [feed.messages[1]]


@WAYS
def test_a_run_of_another_tenant_looks_like_an_unknown_one(
    open_feed: OpenFeed, tenant: Tenant, other: Tenant, nobody: RunClient, way: Callable[..., FeedClient]
) -> None:
    mine, foreign, free = (slow_run(client) for client in (tenant.runs, other.runs, nobody))
    feed = way(open_feed, tenant)

    answers: list[Message] = []
    for run_id in (new_id(), foreign, free):
        feed.subscribe(run_id)
        answers.append({**feed.receive(), "run_id": run_id == feed.messages[-1]["run_id"]})
    feed.subscribe(mine)
    feed.wait_for("run_started", run_id=mine)
    tenant.runs.cancel(mine)

    assert answers == [{"type": "error", "code": "run_not_found", "message": "run not found", "run_id": True}] * 3
    assert feed.wait_for("unsubscribed", run_id=mine)["reason"] == "run_ended"
    for client, run_id in ((other.runs, foreign), (nobody, free)):
        client.cancel(run_id)


def test_runs_of_agents_are_listed_for_their_tenant(open_feed: OpenFeed, tenant: Tenant, other: Tenant) -> None:
    mine, foreign = open_feed(tenant.key), open_feed(other.key)
    mine.follow_runs()
    foreign.follow_runs()

    made = tenant.operator.agent()
    run_id = tenant.operator.json("POST", f"/agents/{made['id']}/runs", 202, json={"query": "Hello?"})["run_id"]
    mine.wait_for_run(run_id, "succeeded")
    last = other.runs.create(prompt(), demo_llm())
    foreign.wait_for_run(last, "succeeded")

    assert live(mine) == [(run_id, "running"), (run_id, "succeeded")]
    assert live(foreign) == [(last, "running"), (last, "succeeded")]


def test_a_resumed_list_has_only_the_tenants_runs(open_feed: OpenFeed, tenant: Tenant, other: Tenant) -> None:
    feed = open_feed(tenant.key)
    feed.follow_runs()
    first = tenant.runs.create(prompt(), demo_llm())
    cursor = feed.wait_for_run(first, "succeeded")["id"]
    feed.close()
    other.runs.finish(other.runs.create(prompt(), demo_llm()))
    second = tenant.runs.create(prompt(), demo_llm())

    again = open_feed(tenant.key)
    again.send({"type": "subscribe_runs", "after": cursor})
    again.wait_for_run(second, "succeeded")

    assert again.messages[0] == {"type": "subscribed_runs", "resumed": True}
    assert live(again) == [(second, "running"), (second, "succeeded")]


@pytest.mark.parametrize("headers", [{}, {"X-Tenant-Id": "somebody"}])
def test_the_operator_sees_all_runs(
    serving: GunicornServer,
    open_feed: OpenFeed,
    tenant: Tenant,
    other: Tenant,
    nobody: RunClient,
    headers: dict[str, str],
) -> None:
    before = [slow_run(client) for client in (tenant.runs, other.runs, nobody)]
    made = make_token(serving.url, ADMIN_TOKEN, **headers)
    feed = open_feed(query=f"?token={made.json()['token']}")
    listed = {run["run_id"]: run.get("tenant_id") for run in feed.follow_runs()}

    for run_id in before:
        RunClient(serving.url, token=ADMIN_TOKEN).cancel(run_id)
        feed.wait_for_run(run_id, "cancelled")
        feed.subscribe(run_id)
        feed.wait_for("run_cancelled", run_id=run_id)

    assert [listed[run_id] for run_id in before] == [tenant.id, other.id, None]
    ends = [one["run"] for one in feed.messages if one["type"] == "run"]
    assert [end.get("tenant_id") for end in ends if end["run_id"] in before] == [tenant.id, other.id, None]
    assert "tenant_id" not in next(end for end in ends if end["run_id"] == before[2])


def test_which_keys_open_the_feed(serving: GunicornServer, tenant: Tenant) -> None:
    agent = tenant.operator.agent()
    app = tenant.operator.json("POST", "/keys", 201, json={"kind": "app", "agent_id": agent["id"]})["key"]

    answers = [
        handshake(serving.url, token, **headers)
        for token, headers in (
            (tenant.key, {}),
            (tenant.key, {"X-Tenant-Id": tenant.id}),
            (tenant.key, {"X-Tenant-Id": new_id()}),
            (app, {}),
            ("ws-unknown", {}),
            ("app-unknown", {}),
        )
    ]
    refused = make_token(serving.url, app)

    assert answers == [
        (101, None),
        (101, None),
        (403, "tenant_not_allowed"),
        (403, "key_not_allowed"),
        (401, "unauthorized"),
        (401, "unauthorized"),
    ]
    assert (refused.status_code, refused.json()["code"]) == (403, "key_not_allowed")


def test_a_revoked_key_opens_no_feed_any_more(serving: GunicornServer, tenant: Tenant) -> None:
    assert handshake(serving.url, tenant.key)[0] == 101

    tenant.operator.call("DELETE", f"/keys/{tenant.made['id']}")

    # Many attempts in a row, so that every worker gets one.
    assert wait_until(lambda: all(handshake(serving.url, tenant.key)[0] == 401 for _ in range(10)), REVOKED_SECONDS)
    assert make_token(serving.url, tenant.key).status_code == 401


def test_a_stream_token_of_a_feed_opens_no_run(serving: GunicornServer, tenant: Tenant) -> None:
    run_id = tenant.slow_run()
    token = make_token(serving.url, tenant.key).json()["token"]

    assert serving.get(f"/runs/{run_id}", params={"token": token}).json()["code"] == "invalid_token"
    for subject in ("feed", f"feed:{tenant.id}"):
        assert serving.get(f"/runs/{subject}", params={"token": token}).status_code in (401, 404)
    tenant.runs.cancel(run_id)


def test_the_feeds_of_a_cluster_are_kept_apart_as_well(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    database_url = f"sqlite:///{tmp_path}/test.db"
    migrate(database_url)
    with running_cluster() as cluster, ExitStack() as stack:
        more: dict[str, Any] = {"redis_cluster": "true", "database_url": database_url, **SETTINGS}
        server = stack.enter_context(running_server(environment(cluster.url, daemon.url, **more), workers=2))
        tenant, other = Tenant(server), Tenant(server)
        before = [one.slow_run() for one in (tenant, other) for _ in range(4)]
        feed = FeedClient(server.url, token=tenant.key)
        stack.callback(feed.close)
        listed = feed.follow_runs()

        foreign = [other.slow_run() for _ in range(4)]
        for run_id in before[4:] + foreign:
            assert other.runs.cancel(run_id).status_code == 200
            assert tenant.runs.cancel(run_id).status_code == 404
        last = tenant.runs.create(prompt(), demo_llm())
        feed.wait_for_run(last, "succeeded")
        feed.subscribe(foreign[0])

        assert feed.wait_for("error")["code"] == "run_not_found"
        assert {run["run_id"] for run in listed} == set(before[:4])
        assert live(feed) == [(last, "running"), (last, "succeeded")]
        for run_id in before[:4]:
            tenant.runs.cancel(run_id)
