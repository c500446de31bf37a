"""Request ids: the caller's id is returned, and an invalid one is replaced."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.conftest import StartServer
from tests.support.client import RunClient, demo_llm, prompt
from tests.support.gunicorn_server import GunicornServer

HEADER = "X-Request-Id"


@pytest.mark.parametrize("path", ["/health", "/runs/unknown", "/nothing", "/agents", "/v1/parameters"])
def test_every_answer_has_the_id_that_its_caller_gave(server: GunicornServer, path: str) -> None:
    answer = server.get(path, headers={HEADER: "Proxy-1.a_b"})

    assert answer.headers[HEADER] == "Proxy-1.a_b"


def test_a_stream_has_the_id_that_its_caller_gave(client: RunClient) -> None:
    run_id = client.create(prompt(), demo_llm(answer="done"))

    with client.session.get(f"{client.url}/runs/{run_id}/events/sse", headers={HEADER: "s1"}, stream=True) as stream:
        assert stream.headers[HEADER] == "s1"


def test_a_request_without_an_id_gets_one_of_its_own(server: GunicornServer) -> None:
    ids = [server.get("/health").headers[HEADER] for _ in range(2)]

    assert [UUID(one).version for one in ids] == [7, 7]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("given", ["", "two words", "a" * 129, "semi;colon", "ä".encode()])
def test_an_invalid_id_is_replaced(server: GunicornServer, given: str | bytes) -> None:
    answer = server.get("/health", headers={HEADER: given})

    assert UUID(answer.headers[HEADER]).version == 7


def test_the_longest_id_is_kept(server: GunicornServer) -> None:
    assert server.get("/health", headers={HEADER: "a" * 128}).headers[HEADER] == "a" * 128


def test_an_unexpected_error_is_found_in_the_log_by_the_id_of_its_request(start_server: StartServer) -> None:
    server = start_server(app="tests.support.failing_app:app")

    answer = server.get("/failing/at-once", headers={HEADER: "look-me-up"})

    assert (answer.status_code, answer.headers[HEADER]) == (500, "look-me-up")
    assert "request look-me-up: unexpected error" in server.log
    assert "this fails in the view" in server.log


def test_the_answers_of_an_application_around_it_are_left_alone(start_server: StartServer) -> None:
    server = start_server(app="examples.mounted_app:app")

    assert HEADER not in server.get("/hello").headers
    assert HEADER in server.get("/runs/unknown").headers
