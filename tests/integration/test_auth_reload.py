"""SIGHUP makes the server read its tokens again, from a file or from .env, without failing a request."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import StartServer, environment
from tests.support.client import demo_llm, prompt, wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.redis_server import RedisServer

RUN = {"composition": {"layers": [prompt(), demo_llm(answer="done", delay_ms=0)]}}
UNKNOWN_RUN = "/runs/01a1f873-526f-7037-9569-4a9d93eb6d2a"
PATIENCE = 120.0


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    file.write_text("first-token\n")
    return file


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, token_file: Path) -> Iterator[GunicornServer]:
    env = environment(redis_server.url, "http://127.0.0.1:9", redis_prefix="rotated", api_token_file=str(token_file))
    with running_server(env, workers=2) as server:
        yield server


def status(server: GunicornServer, token: str) -> int:
    return server.get(UNKNOWN_RUN, headers={"Authorization": f"Bearer {token}", "Connection": "close"}).status_code


def write(file: Path, text: str) -> None:
    """Writes atomically, as an operator should: a reader sees either the old file or the new one."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def reload(server: GunicornServer) -> None:
    """Sends SIGHUP and waits until the old workers are gone."""
    old = set(server.workers())
    server.send_signal(signal.SIGHUP)
    wait_until(lambda: len(server.workers()) == len(old) and not old & set(server.workers()), timeout=PATIENCE)


class Load:
    """Threads that send one request after the other, and a record of what went wrong."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {token}"}
        self.failures: list[str] = []
        self.counts = [0] * 6
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(len(self.counts))]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self) -> None:
        """Waits until every thread has sent some more requests."""
        before = list(self.counts)
        wait_until(lambda: all(now >= old + 5 for now, old in zip(self.counts, before, strict=True)), timeout=PATIENCE)

    def _work(self, number: int) -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.headers.update(self.headers)
            if number % 2:
                session.headers["Connection"] = "close"
            while not self._stopping.wait(0.02):
                self._make_one(session, is_post=self.counts[number] % 2 == 0)
                self.counts[number] += 1

    def _make_one(self, session: requests.Session, *, is_post: bool) -> None:
        try:
            if is_post:
                response = session.post(f"{self.url}/runs", json=RUN, timeout=PATIENCE)
            else:
                response = session.get(f"{self.url}{UNKNOWN_RUN}", timeout=PATIENCE)
        except requests.RequestException as error:
            self.failures.append(repr(error))
            return
        if response.status_code != (202 if is_post else 404):
            self.failures.append(f"{response.status_code}: {response.text}")


def test_a_token_is_rotated_in_its_file_without_one_failed_request(server: GunicornServer, token_file: Path) -> None:
    write(token_file, "steady-token\nold-token\n")
    reload(server)
    assert (status(server, "old-token"), status(server, "new-token")) == (404, 401)

    with Load(server.url, "steady-token") as load:
        write(token_file, "new-token, steady-token\n")
        reload(server)
        load.wait_for_more()

    assert load.failures == []
    assert (status(server, "old-token"), status(server, "new-token")) == (401, 404)


def test_a_token_is_rotated_in_env_of_the_working_folder(server: GunicornServer, token_file: Path) -> None:
    env_file = Path(os.readlink(f"/proc/{server.pid}/cwd")) / ".env"
    write(env_file, "DIFY_AGENT_API_TOKEN=env-token\n")
    write(token_file, "file-token\n")
    reload(server)
    assert [status(server, token) for token in ("env-token", "file-token")] == [404, 404]

    write(env_file, "DIFY_AGENT_API_TOKEN=next-env-token\n")
    reload(server)

    assert [status(server, token) for token in ("env-token", "next-env-token", "file-token")] == [401, 404, 404]
    env_file.unlink()


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("API_TOKEN_FILE", None, "names no token"),
        ("DEFAULT_LLM", '{"type": "plain.prompt"}', "the application cannot be made"),
    ],
)
def test_a_reload_that_cannot_work_leaves_the_workers_as_they_are(
    redis_server: RedisServer, tmp_path: Path, name: str, value: str | None, complaint: str
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("kept-token")
    env = environment(redis_server.url, "http://127.0.0.1:9", redis_prefix="kept", api_token_file=str(tokens))
    del env["DIFY_AGENT_DEFAULT_LLM"]
    with running_server(env) as server:
        workers = server.workers()
        if value is None:
            write(tokens, "\n")
        else:
            write(Path(os.readlink(f"/proc/{server.pid}/cwd")) / ".env", f"DIFY_AGENT_{name}='{value}'\n")

        server.send_signal(signal.SIGHUP)
        wait_until(lambda: "Not reloaded" in server.log, timeout=PATIENCE)

        assert complaint in server.log
        assert server.workers() == workers
        assert (status(server, "kept-token"), status(server, "other-token")) == (404, 401)
        assert "kept-token" not in server.log


@pytest.mark.parametrize("name", ["api_token_file", "admin_token_file"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "names no file"), (b" \n,\n", "names no token"), (b"\xff\xfe", "no text in UTF-8")],
)
def test_a_token_file_that_is_wrong_stops_the_start(
    start_server: StartServer, tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(RuntimeError, match=rf"(?s){name}.*{complaint}"):
        start_server({name: str(file)}, cold=True)
