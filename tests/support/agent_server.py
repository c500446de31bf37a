"""Fixtures for tests of agents: a server and its clients, on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import environment
from tests.support.agent_client import ADMIN_TOKEN, AgentClient
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer

SECRET_KEYS = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


@pytest.fixture(scope="module")
def agent_server(redis_server: RedisServer, daemon: ScriptedDaemon, database_url: str) -> Iterator[GunicornServer]:
    """A server with two workers, shared by all tests of a file."""
    env = environment(
        redis_server.url,
        daemon.url,
        redis_prefix="agents",
        admin_token=ADMIN_TOKEN,
        database_url=database_url,
        secret_keys=SECRET_KEYS,
    )
    with running_server(env, workers=2) as server:
        yield server


@pytest.fixture
def roster(agent_server: GunicornServer) -> AgentClient:
    """A client for a new tenant."""
    return AgentClient(agent_server.url)


@pytest.fixture
def stranger(agent_server: GunicornServer) -> AgentClient:
    """A client for another tenant."""
    return AgentClient(agent_server.url)
