"""Workers that are killed, stopped or held up, and an outage of Redis: which runs end, and which go on."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from dev.processes import kill_session
from tests.faults.conftest import Pair, assert_whole
from tests.support.client import Frame, RunClient, demo_llm, plugin_layers, prompt, wait_until
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.process_tree import LEASES, descendants

BOUND_SECONDS = 15.0
"""What readers are promised: the longest that they wait for the end of a run after a kill."""

HELD_SECONDS = 7
"""Longer than the tests' short lease, and shorter than the time after which a worker counts as lost."""

LATE_SECONDS = 1.5
"""Longer than a reaper's pause, and much shorter than the tests' short lease."""


def words(seconds: int) -> list[dict[str, object]]:
    """The layers of a run that streams a word every tenth of a second."""
    return [prompt(), demo_llm(answer="word " * (seconds * 10), delay_ms=100)]


def read_on(client: RunClient, run_id: str) -> list[Frame]:
    """Reads all events of a run, over as many connections as it takes."""
    frames: list[Frame] = []

    def has_ended() -> bool:
        try:
            after = frames[-1].id if frames else None
            for frame in client.stream(run_id, last_event_id=after, timeout=60):
                frames.append(frame)
        except requests.RequestException:
            pass
        return bool(frames) and frames[-1].event in {"run_failed", "run_succeeded", "run_cancelled"}

    wait_until(has_ended, timeout=120)
    return frames


def test_a_killed_worker_is_reaped_and_readers_everywhere_get_the_same_end(default_pair: Pair) -> None:
    owner, other = default_pair.clients()
    run_ids = [owner.create(*words(600)) for _ in range(3)]
    with ThreadPoolExecutor(8) as readers:
        reading = [readers.submit(read_on, client, run_id) for run_id in run_ids for client in (owner, other)]
        wait_until(lambda: all(len(other.page(run_id)["events"]) > 5 for run_id in run_ids))

        killed_at = time.monotonic()
        os.kill(default_pair.worker, signal.SIGKILL)
        for run_id in run_ids:
            other.follow(run_id)
        took = time.monotonic() - killed_at
        read = [future.result() for future in reading]

    assert took < BOUND_SECONDS
    assert read[0::2] == read[1::2]
    for run_id, frames in zip(run_ids, read[0::2], strict=True):
        assert_whole(frames)
        assert frames[-1].data["data"] == {
            "error": "the worker that executed the run was lost",
            "reason": "worker_lost",
        }
        assert other.status(run_id)["status"] == "failed"
        assert default_pair.lease_of(run_id) is None


def test_the_runs_of_a_server_that_was_killed_whole_are_reaped_once_each_by_another(default_pair: Pair) -> None:
    owner, other = default_pair.clients()
    run_ids = [owner.create(prompt(), demo_llm(delay_ms=60_000)) for _ in range(120)]
    default_pair.wait_for_reaper()
    processes = descendants(default_pair.owner.pid, command=LEASES)
    assert len(processes) == 1

    killed_at = time.monotonic()
    kill_session(default_pair.owner._process)
    for run_id in run_ids:
        frames = other.follow(run_id)
        assert_whole(frames)
        assert frames[-1].data["data"]["reason"] == "worker_lost"
    took = time.monotonic() - killed_at

    assert took < BOUND_SECONDS
    log = default_pair.other.log
    assert [log.count(f"run {run_id}: ended, its worker") for run_id in run_ids] == [1] * len(run_ids)


def test_the_only_worker_that_was_killed_is_reaped_by_the_one_that_takes_its_place(pair: Pair) -> None:
    owner, _ = pair.clients()
    pair.other.send_signal(signal.SIGSTOP)
    stopped = pair.other.workers()
    for process in stopped:
        os.kill(process, signal.SIGSTOP)
    try:
        run_id = owner.create(*words(600))
        wait_until(lambda: len(owner.page(run_id)["events"]) > 5)

        os.kill(pair.worker, signal.SIGKILL)
        frames = read_on(owner, run_id)
    finally:
        for process in (*stopped, pair.other.pid):
            os.kill(process, signal.SIGCONT)

    assert_whole(frames)
    assert frames[-1].data["data"]["reason"] == "worker_lost"


def test_a_worker_held_up_in_c_code_for_longer_than_a_lease_keeps_its_runs(pair: Pair) -> None:
    owner, other = pair.clients()
    run_id = owner.create(*words(5))
    pair.wait_for_reaper()
    with ThreadPoolExecutor(1) as caller:
        holding = caller.submit(pair.owner.post, f"/holding/{HELD_SECONDS}", timeout=60)
        wait_until(lambda: is_held_up(pair))
        while not holding.done():
            assert other.status(run_id)["status"] != "failed"
            time.sleep(0.2)
    pair.wait_for_reaper()

    assert holding.result().text == "done"
    frames = owner.follow(run_id)
    assert_whole(frames)
    assert frames[-1].event == "run_succeeded"
    assert frames == other.follow(run_id)


def is_held_up(pair: Pair) -> bool:
    try:
        return pair.owner.get("/health", timeout=0.5).status_code != 200
    except requests.Timeout:
        return True


def test_a_stopped_worker_that_comes_back_after_its_lease_stops_its_runs_and_writes_nothing(
    pair: Pair, daemon: ScriptedDaemon
) -> None:
    daemon.script("zombie", [{"stream": {"chunks": 100_000, "rate": 20, "text": "word "}}, {"finish": "stop"}])
    owner, other = pair.clients()
    run_id = owner.create(prompt(), *plugin_layers("zombie"))
    worker = pair.worker
    with ThreadPoolExecutor(2) as readers:
        reading = [readers.submit(read_on, client, run_id) for client in (owner, other)]
        wait_until(lambda: len(other.page(run_id)["events"]) > 5)

        os.kill(worker, signal.SIGSTOP)
        try:
            wait_until(lambda: other.status(run_id)["status"] == "failed", timeout=60)
        finally:
            os.kill(worker, signal.SIGCONT)
        read = [future.result() for future in reading]

    assert daemon.wait_until_ended("zombie")["closed_by_client"]
    assert_whole(read[0])
    assert read[0][-1].data["data"]["reason"] == "worker_lost"
    assert read[0] == read[1] == owner.follow(run_id) == other.follow(run_id)
    assert pair.worker == worker
    again = owner.create(prompt())
    assert other.finish(again)["type"] == "run_succeeded"


@pytest.mark.parametrize("is_restarted", [False, True])
def test_an_outage_of_redis_that_is_longer_than_a_lease_ends_nobodys_runs(
    pair: Pair, daemon: ScriptedDaemon, is_restarted: bool
) -> None:
    gate = f"outage-{is_restarted}"
    daemon.script("outage", [{"text": "begun"}, {"wait": gate}, {"text": " done"}, {"finish": "stop"}])
    owner, other = pair.clients()
    run_ids = [client.create(prompt(), *plugin_layers("outage")) for client in (owner, other)]
    daemon.wait_for_call("outage", count=2)
    pair.wait_for_reaper()

    late = pair.lease_process
    pair.redis_server.pause()
    time.sleep(HELD_SECONDS)  # the length of the fault
    os.kill(late, signal.SIGSTOP)
    if is_restarted:  # what was sent to it meanwhile is lost, including renewals
        pair.redis_server.kill()
        pair.redis_server.restart()
    else:
        pair.redis_server.resume()
    time.sleep(LATE_SECONDS)  # the reapers check leases before one owner has renewed its own
    os.kill(late, signal.SIGCONT)
    pair.wait_for_reaper()
    daemon.release(gate)

    for run_id in run_ids:
        assert other.finish(run_id)["data"]["output"] == "begun done"
        assert_whole(owner.follow(run_id))


def test_the_process_that_renews_leases_outlives_signals_and_is_replaced_when_it_is_killed(pair: Pair) -> None:
    owner, _ = pair.clients()
    run_id = owner.create(prompt(), demo_llm(delay_ms=60_000))
    wait_until(lambda: descendants(pair.worker, command=LEASES))
    first = pair.lease_process

    os.kill(first, signal.SIGTERM)
    os.kill(first, signal.SIGINT)
    wait_until_renewed(pair, run_id)
    assert pair.lease_process == first
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: descendants(pair.worker, command=LEASES) - {first})
    wait_until_renewed(pair, run_id)

    pair.wait_for_reaper()
    assert owner.status(run_id)["status"] == "running"
    owner.cancel(run_id)


def wait_until_renewed(pair: Pair, run_id: str) -> None:
    before = pair.lease_of(run_id)
    assert before is not None
    wait_until(lambda: (pair.lease_of(run_id) or 0) > before)


def test_a_run_whose_lease_is_gone_stops_and_is_ended(pair: Pair, daemon: ScriptedDaemon) -> None:
    daemon.script("unleased", [{"text": "begun"}, {"hang": True}])
    owner, other = pair.clients()
    run_id = owner.create(prompt(), *plugin_layers("unleased"))
    daemon.wait_for_call("unleased")

    pair.redis.zrem("faults:leases", run_id)

    assert other.finish(run_id)["data"]["reason"] == "storage"
    assert daemon.wait_until_ended("unleased")["closed_by_client"]
    assert pair.lease_of(run_id) is None


def test_nothing_of_the_address_of_redis_is_in_the_title_of_a_process(pair: Pair) -> None:
    address = pair.redis_server.url.removeprefix("redis://").removesuffix("/0")

    assert descendants(pair.owner.pid, command=LEASES)
    assert descendants(pair.owner.pid, command=address) == set()
