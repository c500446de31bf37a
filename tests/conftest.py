"""Fixtures: real servers, started once where tests can share them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.client import RunClient
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon, running_daemon
from tests.support.redis_server import RedisServer, running_redis

pytest_plugins = [
    "tests.support.no_skips",
    "tests.support.slowest",
    "tests.support.certificates",
    "tests.support.databases",
    "tests.support.agent_server",
    "tests.support.service_api",
    "tests.support.session_site",
]

DEMO_DEFAULT_LLM = '{"type": "greenrun.demo_llm", "config": {}}'
DAEMON_KEY = "daemon-key"

Setting = str | int | float


class StartServer(Protocol):
    """Starts a server for one test. Settings are given without their prefix: ``redis_prefix="x"``, or as a dict."""

    def __call__(
        self,
        shared: Mapping[str, Setting] | None = None,
        *,
        workers: int = 1,
        app: str = "app:app",
        cold: bool = False,
        **settings: Setting,
    ) -> GunicornServer: ...


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A temporary folder with a path short enough for a unix socket; in a parallel run ``tmp_path`` is too long."""
    with tempfile.TemporaryDirectory(prefix="test-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def daemon() -> Iterator[ScriptedDaemon]:
    with running_daemon(api_key=DAEMON_KEY) as daemon:
        yield daemon


def environment(redis_url: str, daemon_url: str, **settings: Setting) -> dict[str, str]:
    """The environment variables of a server in a test."""
    values: dict[str, Setting] = {
        "redis_url": redis_url,
        "redis_prefix": "greenrun-test",
        "plugin_daemon_url": daemon_url,
        "plugin_daemon_api_key": DAEMON_KEY,
        "default_llm": DEMO_DEFAULT_LLM,
        **settings,
    }
    return {f"DIFY_AGENT_{name.upper()}": str(value) for name, value in values.items()}


@pytest.fixture(scope="session")
def server(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[GunicornServer]:
    """A server with two workers and default settings, shared by all tests that change nothing about it."""
    with running_server(environment(redis_server.url, daemon.url), workers=2) as server:
        yield server


@pytest.fixture
def client(server: GunicornServer) -> RunClient:
    return RunClient(server.url)


@pytest.fixture
def start_server(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[StartServer]:
    with ExitStack() as stack:

        def start(
            shared: Mapping[str, Setting] | None = None,
            *,
            workers: int = 1,
            app: str = "app:app",
            cold: bool = False,
            **settings: Setting,
        ) -> GunicornServer:
            env = environment(redis_server.url, daemon.url, **(shared or {}), **settings)
            return stack.enter_context(running_server(env, workers=workers, app=app, cold=cold))

        yield start
