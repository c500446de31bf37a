"""The libraries of Dify's clients, each in a process of its own, and a server a dialect."""

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
    """A client of a server that speaks one dialect to all, begun when it is first asked for."""
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
