"""Fixtures: the libraries of Dify's clients, each in a separate process, and one server per dialect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from runtime.protocol.dialects import Dialect
from tests.clients.pydantic_ai.environments import Libraries
from tests.conftest import Setting, environment
from tests.support.client import RunClient
from tests.support.gunicorn_server import running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer

ClientOf = Callable[[Dialect], RunClient]


@pytest.fixture(scope="session")
def libraries() -> Iterator[Libraries]:
    with Libraries() as libraries:
        yield libraries


@pytest.fixture(scope="session")
def client_of(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[ClientOf]:
    """A function that returns a client of a server with a fixed dialect; the server starts when first needed."""
    with ExitStack() as stack:

        @cache
        def client(dialect: Dialect) -> RunClient:
            settings: dict[str, Setting] = {
                "wire_dialect": dialect,
                "redis_prefix": f"clients-{dialect}",
                "allow_private_urls": True,
            }
            variables = environment(redis_server.url, daemon.url, **settings)
            return RunClient(stack.enter_context(running_server(variables, workers=1)).url)

        yield client
