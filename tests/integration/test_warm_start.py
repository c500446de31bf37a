"""A server forked by the tests' warm parent is like one that has imported everything itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import environment
from tests.support.gunicorn_server import running_server
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def told(redis_server: RedisServer) -> list[dict[str, Any]]:
    """The state of a worker of a cold server, and of one of a warm server."""
    env = environment(redis_server.url, "http://127.0.0.1:9", redis_prefix="told")
    answers = []
    for cold in (True, False):
        with running_server(env, app="tests.support.told_app:app", cold=cold) as server:
            answers.append({"pid": server.pid, **server.get("/told").json()})
    return answers


def test_a_warm_worker_has_patched_the_same_in_the_standard_library(told: list[dict[str, Any]]) -> None:
    cold, warm = (answer["patched"] for answer in told)

    assert {"time.sleep", "socket.socket", "threading.Thread", "os.fork"} <= cold.keys()
    assert {place: warm.get(place) for place in cold} == cold


def test_the_modules_of_a_warm_worker_have_imported_the_same_from_the_standard_library(
    told: list[dict[str, Any]],
) -> None:
    cold, warm = (answer["taken"] for answer in told)

    assert {"app", "runtime.runtime", "services.database", "pydantic_ai", "sqlalchemy", "redis"} <= cold.keys()
    assert sum(map(len, cold.values())) > 100
    assert {module: warm.get(module) for module in cold} == cold


def test_a_warm_worker_starts_in_the_same_state(told: list[dict[str, Any]]) -> None:
    cold, warm = (answer["beginning"] for answer in told)

    assert warm == cold
    assert [answer["master"] for answer in told] == [answer["pid"] for answer in told]
    assert [answer["session"] for answer in told] == [answer["pid"] for answer in told]
