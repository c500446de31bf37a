"""A Redis that is restarted, silent, frozen, gone or without its data, while runs stream on two workers.

Nothing may be lost that Redis can still store, and no request may be answered with 500.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support.client import plugin_layers, prompt, wait_until
from tests.support.redis_rig import PREFIX, Rig, asking
from tests.support.streaming_runs import assert_unbroken

PAUSE_SECONDS = 10
GONE_SECONDS = float(os.environ.get("GREENRUN_TEST_REDIS_GONE_SECONDS", "15"))
"""The duration of faults; in the long form of the tests a long outage of Redis takes 60."""
MOST_GROWTH_BYTES = 40 << 20
"""The most that a worker may grow while Redis is away; its models would send several times as much in that time."""


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_restart_of_redis_with_its_data_loses_and_doubles_nothing(rig: Rig) -> None:
    with rig.streaming() as runs:
        for _ in range(2):
            rig.redis_server.restart()
            time.sleep(0.5)

        runs.assert_all_succeed()


def test_a_redis_that_was_killed_and_comes_back_loses_and_doubles_nothing(rig: Rig) -> None:
    with rig.streaming() as runs:
        rig.redis_server.kill()
        rig.redis_server.restart()

        runs.assert_all_succeed()


@pytest.mark.parametrize("what", ["ALL", "WRITE"])
def test_a_redis_that_pauses_for_longer_than_a_lease_loses_nothing(rig: Rig, what: str) -> None:
    earlier = rig.ended_run()
    with rig.streaming() as runs:
        rig.redis.execute_command("CLIENT", "PAUSE", PAUSE_SECONDS * 1000, what)
        with asking(rig, earlier) as answers:
            time.sleep(PAUSE_SECONDS)

        assert 503 in answers.statuses("create")
        runs.assert_all_succeed()


def test_a_redis_that_is_gone_for_long_loses_nothing_and_workers_do_not_grow(rig: Rig) -> None:
    earlier = rig.ended_run()
    rig.daemon.script("torrent", [{"stream": {"chunks": 1_000_000, "text": "w" * 1000}}])
    with rig.streaming() as runs:
        torrents = [rig.client.create(prompt(), *plugin_layers("torrent")) for _ in range(4)]
        rig.daemon.wait_for_call("torrent", count=4)
        rig.redis_server.kill()
        before = [resident_bytes(worker) for worker in rig.server.workers()]
        with asking(rig, earlier) as answers:
            time.sleep(GONE_SECONDS / 2)
            readers_before = list(runs.readings)
            runs.begin_reading()
            time.sleep(GONE_SECONDS / 2)
        after = [resident_bytes(worker) for worker in rig.server.workers()]
        rig.redis_server.restart()

        assert answers.statuses("status") == answers.statuses("create") == answers.statuses("ready") == {503}
        assert max(now - then for now, then in zip(after, before, strict=True)) < MOST_GROWTH_BYTES
        for run_id in torrents:
            rig.wait_until_cancelled(run_id)
        runs.assert_all_succeed()
        assert {reading.connections for reading in readers_before} == {1}


def test_a_redis_that_is_frozen_for_a_while_loses_nothing_and_a_lost_answer_leaves_no_run(rig: Rig) -> None:
    earlier = rig.ended_run()
    with rig.streaming() as runs:
        rig.redis_server.pause()
        try:
            with asking(rig, earlier):
                refused = rig.client.post({"composition": {"layers": [prompt()]}})
                ready = rig.server.get("/ready")
                health = rig.server.get("/health")
        finally:
            rig.redis_server.resume()

        assert (ready.status_code, ready.json()["reasons"]) == (503, ["redis_unreachable"])
        assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
        assert int(refused.headers["Retry-After"]) >= 1
        assert health.status_code == 200
        runs.assert_all_succeed()


def test_a_redis_that_loads_its_data_slowly(rig: Rig) -> None:
    earlier = rig.ended_run()
    with rig.redis.pipeline(transaction=False) as pipeline:
        for number in range(10_000):
            pipeline.set(f"filler:{number}", "x", ex=600)
        pipeline.execute()
    with rig.streaming() as runs:
        rig.redis_server.restart("--key-load-delay", "200")
        loading = rig.redis.info("persistence")["loading"]
        with asking(rig, earlier) as answers:
            wait_until(lambda: not rig.redis.info("persistence")["loading"], timeout=60)

        assert loading
        assert 503 in answers.statuses("ready")
        runs.assert_all_succeed()


def test_runs_end_when_redis_has_lost_its_data_and_new_ones_begin_at_once(rig: Rig) -> None:
    with rig.streaming() as runs:
        calls = len(runs.ids)
        rig.redis_server.restart(keep_data=False)

        wait_until(rig.is_ready)
        assert rig.client.finish(rig.client.create(prompt()))["type"] == "run_succeeded"
        for number in range(calls):
            assert rig.daemon.wait_until_ended(runs.name, count=number + 1)["closed_by_client"]
        runs.wait_for_readers()
        for reading in runs.readings:
            assert_unbroken(reading.frames)
        assert rig.redis.keys(f"{PREFIX}:runs:{runs.ids[0]}*") == []
