"""Servers for tests to break, and checks that must hold however they break."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from uuid import uuid4

import pytest
from redis import Redis

from tests.conftest import Setting, environment
from tests.support.client import TERMINAL_TYPES, Frame, RunClient, prompt, wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.process_tree import LEASES, descendants
from tests.support.redis_rig import PASSWORD, Rig, running_rig
from tests.support.redis_server import RedisServer, running_redis

PREFIX = "faults"


@dataclass
class Pair:
    """Two servers with one Redis and prefix: ``owner``, with one worker, executes the runs that are lost; ``other``
    survives.
    """

    owner: GunicornServer
    other: GunicornServer
    redis_server: RedisServer
    redis: Redis

    @property
    def worker(self) -> int:
        """The process id of the only worker of ``owner``."""
        (worker,) = self.owner.workers()
        return worker

    @property
    def lease_process(self) -> int:
        """The id of the process that renews the owner's leases."""
        (process,) = descendants(self.worker, command=LEASES)
        return process

    def clients(self) -> tuple[RunClient, RunClient]:
        return RunClient(self.owner.url), RunClient(self.other.url)

    def lease_of(self, run_id: str) -> float | None:
        """The time at which a run's lease expires, in milliseconds of Redis' clock; None when it has none."""
        expires_at: float | None = self.redis.zscore(f"{PREFIX}:leases", run_id)
        return expires_at

    def wait_for_reaper(self) -> None:
        """Waits until a reaper has gone through all leases, and so has ended every run whose lease had expired."""
        lost = f"lost-{uuid4().hex}"
        self.redis.zadd(f"{PREFIX}:leases", {lost: 1})
        wait_until(lambda: self.lease_of(lost) is None, timeout=60)


@contextmanager
def running_pair(daemon: ScriptedDaemon, **settings: Setting) -> Iterator[Pair]:
    with running_redis(persistent=True) as redis_server, ExitStack() as stack:
        env = environment(redis_server.url, daemon.url, redis_prefix=PREFIX, **settings)
        owner = stack.enter_context(running_server(env, app="tests.support.holding_app:app"))
        other = stack.enter_context(running_server(env, workers=2))
        yield Pair(owner, other, redis_server, redis_server.client())


@pytest.fixture(scope="module")
def pair(daemon: ScriptedDaemon) -> Iterator[Pair]:
    """Servers with short leases, for tests that break nothing permanently."""
    with running_pair(daemon, lease_seconds=4) as pair:
        yield pair


@pytest.fixture
def default_pair(daemon: ScriptedDaemon) -> Iterator[Pair]:
    """Servers with default settings, for tests that kill them."""
    with running_pair(daemon) as pair:
        yield pair


@pytest.fixture(scope="module")
def shared_rig(daemon: ScriptedDaemon) -> Iterator[Rig]:
    """A server with two workers, and its own Redis, which tests break."""
    with ExitStack() as stack:
        yield running_rig(daemon, stack)


@pytest.fixture
def rig(shared_rig: Rig) -> Iterator[Rig]:
    """A rig that is ready before each test and is checked for damage after it."""
    wait_until(shared_rig.is_ready, timeout=60)
    workers, seen = shared_rig.server.workers(), len(shared_rig.server.log)

    yield shared_rig

    wait_until(shared_rig.is_ready, timeout=60)
    assert shared_rig.client.finish(shared_rig.client.create(prompt()))["type"] == "run_succeeded"
    log = shared_rig.server.log[seen:]
    assert shared_rig.server.workers() == workers
    assert "Traceback" not in log
    assert PASSWORD not in log
    wait_until(lambda: shared_rig.running() == [], timeout=60)
    assert shared_rig.kept_for_ever() == []


def assert_whole(frames: list[Frame]) -> None:
    """Asserts what every reader must get of a run that has ended: events in order, with exactly one terminal event."""
    assert frames[0].event == "run_started"
    assert [frame.event for frame in frames if frame.event in TERMINAL_TYPES] == [frames[-1].event]
    positions = [tuple(map(int, frame.id.split("-"))) for frame in frames]
    assert positions == sorted(set(positions))
