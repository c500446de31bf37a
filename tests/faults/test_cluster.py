"""Runs on a real Redis Cluster: across its nodes, while slots move, and when a master dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import requests
from redis.crc import key_slot

from runtime.events.keys import Keys
from tests.conftest import environment
from tests.faults.conftest import assert_whole
from tests.support.client import Frame, RunClient, demo_llm, plugin_layers, prompt, wait_until
from tests.support.feed_client import FeedClient
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_cluster import RedisCluster, running_cluster

PREFIX = "clustered"
OPERATOR = "operator-token-of-the-tests"
KEYS = Keys(PREFIX, buckets=64)
RUNS = 24
"""Enough runs for some to be on every node."""


@dataclass
class Site:
    """A cluster, and two servers that use it: ``one`` with two workers, ``other`` with one."""

    cluster: RedisCluster
    one: GunicornServer
    other: GunicornServer

    def clients(self) -> tuple[RunClient, RunClient]:
        return RunClient(self.one.url), RunClient(self.other.url)

    def node_of(self, run_id: str) -> str:
        return self.cluster.master_of(KEYS.events(run_id)).id

    def wait_for_reapers(self) -> None:
        """Waits until a reaper has gone through the leases of each node, and so has ended every lost run."""
        lost = [f"lost-{uuid4().hex}" for _ in range(RUNS)]
        leases = {run_id: KEYS.leases(KEYS.bucket(run_id)) for run_id in lost}
        for run_id, key in leases.items():
            self.cluster.master_of(key).ask("ZADD", key, 1, run_id)
        wait_until(
            lambda: all(
                self.cluster.master_of(key).redis.zscore(key, run_id) is None for run_id, key in leases.items()
            ),
            timeout=60,
        )


@pytest.fixture(scope="module")
def site(daemon: ScriptedDaemon) -> Iterator[Site]:
    with running_cluster() as cluster, ExitStack() as stack:
        env = environment(
            cluster.url, daemon.url, redis_prefix=PREFIX, redis_cluster="true", admin_token=OPERATOR, lease_seconds=4
        )
        one = stack.enter_context(running_server(env, workers=2))
        other = stack.enter_context(running_server(env))
        yield Site(cluster, one, other)
        assert "Traceback" not in one.log + other.log


def assert_numbered(frames: list[Frame]) -> None:
    """Asserts that these are all events of a run, without a gap."""
    assert_whole(frames)
    assert [frame.id for frame in frames[:-1]] == [f"1-{number}" for number in range(1, len(frames))]


def test_runs_on_all_nodes_are_read_alike_on_every_worker_and_from_any_cursor(site: Site) -> None:
    one, other = site.clients()
    run_ids = [(one, other)[number % 2].create(prompt(), demo_llm(answer="word " * 20)) for number in range(RUNS)]
    assert {site.node_of(run_id) for run_id in run_ids} == {node.id for node in site.cluster.masters}

    with ThreadPoolExecutor(2 * RUNS) as readers:
        reading = [readers.submit(client.follow, run_id) for run_id in run_ids for client in (one, other)]
        read = [future.result() for future in reading]

    assert read[0::2] == read[1::2]
    for run_id, frames in zip(run_ids, read[0::2], strict=True):
        assert_numbered(frames)
        assert frames[-1].event == "run_succeeded"
        assert other.status(run_id)["status"] == "succeeded"
        middle = frames[len(frames) // 2]
        assert other.follow(run_id, last_event_id=middle.id) == frames[frames.index(middle) + 1 :]


def test_a_cancel_on_another_server_stops_the_model_call(site: Site, daemon: ScriptedDaemon) -> None:
    daemon.script("clustered-hang", [{"text": "begun"}, {"hang": True}])
    one, other = site.clients()
    run_ids = [one.create(prompt(), *plugin_layers("clustered-hang")) for _ in range(6)]
    daemon.wait_for_call("clustered-hang", count=len(run_ids))

    for run_id in run_ids:
        assert other.cancel(run_id).json()["status"] == "cancelled"

    wait_until(lambda: all(call["closed_by_client"] for call in daemon.calls("clustered-hang")))
    for run_id in run_ids:
        frames = one.follow(run_id)
        assert_whole(frames)
        assert frames[-1].event == "run_cancelled"
        assert frames == other.follow(run_id)


def test_concurrent_requests_under_one_key_are_one_run(site: Site) -> None:
    keys = [uuid4().hex for _ in range(8)]

    def create(number: int) -> str:
        body = {"composition": {"layers": [prompt(), demo_llm()]}, "idempotency_key": keys[number % 8]}
        response = site.clients()[number % 2].post(body)
        assert response.status_code == 202, response.text
        return str(response.json()["run_id"])

    with ThreadPoolExecutor(16) as callers:
        run_ids = list(callers.map(create, range(32)))

    assert len(set(run_ids)) == 8
    assert all(len(set(run_ids[number::8])) == 1 for number in range(8))


def test_the_key_of_an_ended_run_goes_to_one_of_the_requests_that_want_it(site: Site, daemon: ScriptedDaemon) -> None:
    first = {"composition": {"layers": [prompt(), demo_llm()]}, "idempotency_key": uuid4().hex}
    ended = site.clients()[0].post(first).json()["run_id"]
    site.clients()[0].finish(ended)
    daemon.script("wanted", [{"wait": "wanted"}, {"text": "done"}, {"finish": "stop"}])

    def go_on(number: int) -> requests.Response:
        composition = {"layers": [prompt(f"Go on with {number}."), *plugin_layers("wanted")]}
        return site.clients()[number % 2].post({**first, "composition": composition, "purpose": "workflow_node"})

    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(go_on, range(8)))

    assert sorted(answer.status_code for answer in answers) == [202, *[409] * 7]
    daemon.release("wanted")
    (winner,) = [answer.json()["run_id"] for answer in answers if answer.status_code == 202]
    assert site.clients()[1].finish(winner)["data"]["output"] == "done"


def test_the_feed_lists_the_runs_of_all_nodes_once_each_and_follows_them(site: Site, daemon: ScriptedDaemon) -> None:
    daemon.script("clustered-feed", [{"text": "begun"}, {"wait": "clustered-feed"}, {"finish": "stop"}])
    one, other = site.clients()
    before = [one.create(prompt(), *plugin_layers("clustered-feed")) for _ in range(RUNS)]
    feed = FeedClient(site.other.url, token=OPERATOR)
    try:
        listed = feed.follow_runs()
        later = [one.create(prompt(), *plugin_layers("clustered-feed")) for _ in range(RUNS)]
        feed.subscribe(before[0])
        daemon.release("clustered-feed")
        feed.receive_until(
            lambda _: (
                set(before + later) <= {run_id for run_id, status in told(feed) if status == "succeeded"}
                and any(one["type"] == "unsubscribed" for one in feed.messages)
            )
        )
    finally:
        feed.close()

    assert {run["run_id"] for run in listed} >= set(before)
    assert not {run["run_id"] for run in listed} & set(later)
    assert sorted(one for one in told(feed) if one[0] in before + later) == sorted(
        [(run_id, "running") for run_id in later] + [(run_id, "succeeded") for run_id in before + later]
    )
    assert [event["id"] for event in feed.events_of(before[0])] == [frame.id for frame in one.follow(before[0])]

    again = FeedClient(site.other.url, token=OPERATOR)
    try:
        again.send({"type": "subscribe_runs", "after": list_cursor(feed)})
        assert again.wait_for("subscribed_runs")["resumed"] is True
        run_id = other.create(prompt(), demo_llm())
        again.wait_for_run(run_id, "succeeded")
    finally:
        again.close()


def told(feed: FeedClient) -> list[tuple[str, str]]:
    """The starts and ends of runs that the list has reported."""
    return [(one["run"]["run_id"], one["run"]["status"]) for one in feed.messages if one["type"] == "run"]


def list_cursor(feed: FeedClient) -> str:
    return str([one for one in feed.messages if one["type"] == "run"][-1]["id"])


def test_a_killed_worker_is_reaped_on_all_nodes(site: Site) -> None:
    one, other = site.clients()
    run_ids = [other.create(prompt(), demo_llm(delay_ms=60_000)) for _ in range(RUNS)]
    kept = one.create(prompt(), demo_llm(answer="word " * 60, delay_ms=100))
    site.wait_for_reapers()

    (worker,) = site.other.workers()
    os.kill(worker, signal.SIGKILL)

    for run_id in run_ids:
        frames = one.follow(run_id)
        assert_whole(frames)
        assert frames[-1].data["data"]["reason"] == "worker_lost"
    assert one.finish(kept)["type"] == "run_succeeded"
    site.other.wait_until_ready()


def test_slots_that_move_while_runs_are_written_lose_and_double_nothing(site: Site, daemon: ScriptedDaemon) -> None:
    script: list[dict[str, Any]] = [{"stream": {"chunks": 100_000, "rate": 50, "text": "word "}}]
    daemon.script("resharded", script)
    one, other = site.clients()
    run_ids = [one.create(prompt(), *plugin_layers("resharded")) for _ in range(6)]
    slots = {key_slot(KEYS.events(run_id).encode()) for run_id in run_ids}
    answers: set[int] = set()

    def wait_for_more(run_ids: list[str]) -> None:
        counts = {run_id: last_id(other, run_id) for run_id in run_ids}
        wait_until(lambda: all(last_id(other, run_id) > count for run_id, count in counts.items()))

    with ThreadPoolExecutor(12) as readers:
        reading = [readers.submit(client.follow, run_id) for run_id in run_ids for client in (one, other)]
        wait_for_more(run_ids)
        for slot in slots:
            key = next(KEYS.events(run_id) for run_id in run_ids if key_slot(KEYS.events(run_id).encode()) == slot)
            source = site.cluster.master_of(key)
            target = next(node for node in site.cluster.masters if node is not source)
            site.cluster.begin_to_move(slot, source, target)
            while site.cluster.move_keys(slot, source, target, at_most=1):
                assert {one.status(run_id)["status"] for run_id in run_ids} == {"running"}
                answers.add(post_anything(one))
            wait_for_more(run_ids)
            site.cluster.finish_moving(slot, source, target)
            wait_for_more(run_ids)
            site.cluster.begin_to_move(slot, target, source)
            while site.cluster.move_keys(slot, target, source):
                pass
            site.cluster.finish_moving(slot, target, source)
            wait_for_more(run_ids)
        for run_id in run_ids:
            assert other.cancel(run_id).status_code == 200
        read = [future.result() for future in reading]

    assert read[0::2] == read[1::2]
    for run_id, frames in zip(run_ids, read[0::2], strict=True):
        assert_numbered(frames)
        assert frames[-1].event == "run_cancelled"
        assert frames == one.follow(run_id)
    assert answers <= {202, 503}


def last_id(client: RunClient, run_id: str) -> int:
    """The number of the last stored event."""
    after, number = "0-0", 0
    while events := client.page(run_id, after=after, limit=500)["events"]:
        after = events[-1]["id"]
        number = int(after.rpartition("-")[2])
    return number


def test_callers_have_one_limit_on_all_servers_wherever_their_buckets_are(site: Site) -> None:
    env = environment(
        site.cluster.url, "http://127.0.0.1:9", redis_prefix="limited", redis_cluster="true", rate_limit="0.001/2"
    )
    callers = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(RUNS)]
    with running_server(env) as one, running_server(env) as other:
        found = [
            [server.get("/runs/none", headers=caller).status_code for server in (one, other, one, other)]
            for caller in callers
        ]
        assert "Traceback" not in one.log + other.log

    assert found == [[404, 404, 429, 429]] * RUNS
    kept = {node.id: node.redis.keys("limited:rates:*") for node in site.cluster.masters}
    assert all(kept.values())
    assert sum(map(len, kept.values())) == RUNS


def test_a_master_that_dies_is_replaced_while_runs_go_on(site: Site, daemon: ScriptedDaemon) -> None:
    words = 200
    script: list[dict[str, Any]] = [{"stream": {"chunks": words, "rate": 20, "text": "word "}}, {"finish": "stop"}]
    daemon.script("failover", script)
    one, other = site.clients()
    run_ids = [(one, other)[number % 2].create(prompt(), *plugin_layers("failover")) for number in range(12)]
    assert site.cluster.masters[0].id in {site.node_of(run_id) for run_id in run_ids}
    answers: set[int] = set()
    with ThreadPoolExecutor(24) as readers:
        reading = [readers.submit(client.follow, run_id) for run_id in run_ids for client in (one, other)]
        wait_until(lambda: all(len(one.page(run_id)["events"]) > 5 for run_id in run_ids))

        site.cluster.masters[0].kill()

        def is_replaced() -> bool:
            answers.update(post_anything(client) for client in (one, other))
            return site.cluster.replica.redis.info("replication")["role"] == "master"

        wait_until(is_replaced, timeout=60)
        read = [future.result() for future in reading]

    assert answers <= {202, 503}
    for frames in read:
        assert_numbered(frames)
        assert frames[-1].data["data"]["output"] == "word " * words
    assert read[0::2] == read[1::2]
    for client in (one, other):
        wait_until(lambda client=client: all(post_anything(client) == 202 for _ in range(RUNS)))


def post_anything(client: RunClient) -> int:
    return client.post({"composition": {"layers": [prompt(), demo_llm()]}}).status_code
