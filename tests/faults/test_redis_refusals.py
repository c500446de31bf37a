"""A Redis that is full, read-only, slow, closed to us or without our scripts, while runs stream on two workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import requests

from tests.conftest import environment
from tests.support.client import RunClient, prompt, wait_until
from tests.support.gunicorn_server import GunicornServer
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_rig import PASSWORD, PREFIX, Rig, asking
from tests.support.redis_server import running_redis

FAULT_SECONDS = 4
"""The duration of a fault."""


def test_a_slow_redis_only_makes_everything_slow(rig: Rig) -> None:
    earlier = rig.ended_run()
    with rig.streaming() as runs:
        over = threading.Event()

        def hold_up() -> None:
            while not over.is_set():
                rig.redis.execute_command("DEBUG", "SLEEP", 0.3)

        holding = threading.Thread(target=hold_up)
        holding.start()
        try:
            with asking(rig, earlier) as answers:
                time.sleep(FAULT_SECONDS)
        finally:
            over.set()
            holding.join()

        assert answers.statuses("create") == {202}
        assert answers.statuses("status") == answers.statuses("ready") == {200}
        runs.assert_all_succeed()


def test_a_full_redis_gets_everything_when_it_has_room_again_also_now_and_then(rig: Rig) -> None:
    earlier = rig.ended_run()
    with rig.streaming() as runs:
        try:
            for _ in range(50):
                rig.redis.config_set("maxmemory", 1)
                time.sleep(0.02)
                rig.redis.config_set("maxmemory", 0)
                time.sleep(0.02)
            rig.redis.config_set("maxmemory", 1)
            with asking(rig, earlier) as answers:
                time.sleep(FAULT_SECONDS)
        finally:
            rig.redis.config_set("maxmemory", 0)

        assert 503 in answers.statuses("create")
        assert answers.statuses("status") == {200}
        runs.assert_all_succeed()


def test_a_redis_that_takes_no_writes_because_it_is_a_replica(rig: Rig) -> None:
    earlier = rig.ended_run()
    with rig.streaming() as runs:
        before = rig.connections()
        rig.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            with asking(rig, earlier) as answers:
                time.sleep(FAULT_SECONDS)
        finally:
            rig.redis.execute_command("REPLICAOF", "NO", "ONE")

        assert answers.statuses("create") == {503}
        assert not before & rig.connections(), "a new connection may lead to the Redis that is the master by now"
        runs.assert_all_succeed()


def test_a_redis_that_takes_no_writes_because_it_cannot_save(rig: Rig) -> None:
    earlier = rig.ended_run()
    with rig.streaming() as runs:
        rig.redis.config_set("dbfilename", "no.rdb")
        rig.redis_server.folder.joinpath("no.rdb").mkdir()
        rig.redis.config_set("save", "3600 1")
        try:
            rig.redis.bgsave()
            wait_until(lambda: rig.redis.info("persistence")["rdb_last_bgsave_status"] == "err")
            with asking(rig, earlier) as answers:
                time.sleep(FAULT_SECONDS)
        finally:
            rig.redis.config_set("save", "")
            rig.redis_server.folder.joinpath("no.rdb").rmdir()

        assert 503 in answers.statuses("create")
        runs.assert_all_succeed()


def test_scripts_may_be_flushed_at_any_time(rig: Rig) -> None:
    with rig.streaming(words=200) as runs:
        over = threading.Event()

        def flush() -> None:
            while not over.wait(0.01):
                rig.redis.script_flush()

        flusher = threading.Thread(target=flush)
        flusher.start()
        try:
            for _ in range(30):
                assert rig.client.finish(rig.client.create(prompt()))["type"] == "run_succeeded"
            runs.assert_all_succeed()
        finally:
            over.set()
            flusher.join()


def test_a_redis_without_a_place_for_another_connection(rig: Rig) -> None:
    earlier = rig.ended_run()
    with rig.streaming() as runs:
        with ExitStack() as stack:
            rig.redis.config_set("maxclients", 1)
            stack.callback(lambda: rig.redis.config_set("maxclients", 10_000))
            for client in rig.redis.client_list():
                if client["name"].startswith("greenrun"):
                    rig.redis.client_kill_filter(_id=client["id"])
            with asking(rig, earlier) as answers:
                time.sleep(FAULT_SECONDS)

        assert answers.statuses("ready") == answers.statuses("create") == {503}
        runs.assert_all_succeed()


def test_a_run_whose_stream_alone_is_lost_ends_as_failed_for_storage(rig: Rig) -> None:
    with rig.streaming(count=1) as runs:
        (run_id,) = runs.ids

        rig.redis.delete(f"{PREFIX}:runs:{run_id}:events")

        rig.client.wait_for_status(run_id, "failed")
        (terminal,) = rig.client.follow(run_id)
        assert terminal.data["data"]["reason"] == "storage"
        assert rig.daemon.wait_until_ended(runs.name)["closed_by_client"]
        runs.wait_for_readers()
        for reading in runs.readings:
            assert reading.frames[-1] == terminal


@pytest.mark.parametrize("why", ["it is not there", "it has no place for another connection", "the password is wrong"])
def test_a_server_that_starts_while_redis_is_shut_to_it_says_so_and_works_once_it_is_not(
    daemon: ScriptedDaemon, why: str
) -> None:
    with ExitStack() as stack:
        redis_server = stack.enter_context(running_redis(persistent=True, password=PASSWORD))
        redis = redis_server.client()
        match why:
            case "it is not there":
                redis_server.stop()
            case "it has no place for another connection":
                redis.config_set("maxclients", 1)
            case "the password is wrong":
                redis.config_set("requirepass", "another")
        env = environment(redis_server.url, daemon.url, redis_prefix=PREFIX)
        server = stack.enter_context(starting_server(env))
        wait_until(lambda: is_listening(server), timeout=60)

        ready, created = server.get("/ready"), RunClient(server.url).post({"composition": {"layers": [prompt()]}})

        assert (ready.status_code, ready.json()["reasons"]) == (503, ["redis_unreachable"])
        assert (created.status_code, created.json()["code"]) == (503, "storage_unavailable")
        match why:
            case "it is not there":
                redis_server.restart()
            case "it has no place for another connection":
                redis.config_set("maxclients", 100)
            case "the password is wrong":
                assert "invalid username-password pair" in server.log
                redis.config_set("requirepass", PASSWORD)
        server.wait_until_ready()
        client = RunClient(server.url)
        assert client.finish(client.create(prompt()))["type"] == "run_succeeded"
        assert "Traceback" not in server.log
        assert PASSWORD not in server.log


@contextmanager
def starting_server(env: dict[str, str]) -> Iterator[GunicornServer]:
    """Starts a server without waiting until it is ready."""
    with TemporaryDirectory(prefix="gunicorn-") as folder:
        server = GunicornServer(Path(folder), env, workers=1, port=0, conf="gunicorn.conf.py", app="app:app")
        try:
            yield server
        finally:
            server.close()


def is_listening(server: GunicornServer) -> bool:
    try:
        return server.get("/health").status_code == 200
    except requests.RequestException:
        return False
