"""A server to fuzz, and checks of its log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import environment
from tests.support.agent_client import soul
from tests.support.client import RunClient, demo_llm, prompt
from tests.support.databases import migrate
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.redis_server import RedisServer

PREFIX = "fuzz"
API_TOKEN = "api-token"
ADMIN_TOKEN = "admin-token"
ORIGIN = "https://app.example.com"
MAX_BYTES = 200_000
TENANT = "tenant-1"
FUZZED_AGENT = "fuzzed"
NOBODY = "http://127.0.0.1:9"


class Fuzzed:
    """A server that must survive the fuzzing, with its one worker. ``ended`` is a run that has succeeded."""

    def __init__(self, server: GunicornServer) -> None:
        self.server = server
        self.url = server.url
        self.client = RunClient(server.url, token=API_TOKEN)
        (self.worker,) = server.workers()
        self.ended = self.client.create(prompt(), demo_llm(answer="done"))
        assert self.client.finish(self.ended)["type"] == "run_succeeded"
        self._read = 0

    def create_running(self) -> str:
        """Creates a run that lasts about a second unless it is cancelled."""
        return self.client.create(prompt(), demo_llm(answer="one two three", delay_ms=300))

    def assert_whole(self) -> None:
        """Asserts that no traceback and no error was logged since the last call."""
        log = self.server.log
        fresh, self._read = log[self._read :], len(log)
        assert "Traceback" not in fresh, fresh
        assert " ERROR " not in fresh, fresh
        assert "[ERROR]" not in fresh, fresh

    def assert_serves(self) -> None:
        """Asserts that the same worker still runs, and that a run can be created and read."""
        assert self.server.workers() == [self.worker]
        assert self.client.finish(self.client.create(prompt(), demo_llm(answer="done")))["data"]["output"] == "done"
        self.assert_whole()


@pytest.fixture(scope="module")
def fuzzed(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    database_url = f"sqlite:///{tmp_path_factory.mktemp('fuzz')}/test.db"
    migrate(database_url)
    env = environment(
        redis_server.url,
        NOBODY,
        redis_prefix=PREFIX,
        api_token=API_TOKEN,
        admin_token=ADMIN_TOKEN,
        secret_keys="ring",
        database_url=database_url,
        cors_origins=ORIGIN,
        max_request_bytes=MAX_BYTES,
        body_timeout_seconds=2,
        run_timeout_seconds=3,
        shutdown_grace_seconds=1,
    )
    with running_server(env) as server:
        operator = {"Authorization": f"Bearer {ADMIN_TOKEN}", "X-Tenant-Id": TENANT}
        made = server.post("/agents", headers=operator, json={"name": FUZZED_AGENT, "agent_soul": soul()})
        assert made.status_code == 201, made.text
        fuzzed = Fuzzed(server)
        yield fuzzed
        fuzzed.assert_serves()
