"""Greenrun mounted into somebody else's Flask application, under the real gunicorn."""

from __future__ import annotations

import pytest

from tests.conftest import StartServer
from tests.support.client import RunClient, demo_llm, prompt
from tests.support.gunicorn_server import GunicornServer

GRACE_SECONDS = 2


@pytest.fixture
def mounted(start_server: StartServer) -> GunicornServer:
    return start_server(app="examples.mounted_app:app", shutdown_grace_seconds=GRACE_SECONDS)


def test_the_applications_own_route_works(mounted: GunicornServer) -> None:
    answer = mounted.get("/hello")

    assert (answer.status_code, answer.text) == (200, "Hello from my own application.")


def test_runs_work_beside_it(mounted: GunicornServer) -> None:
    client = RunClient(mounted.url)

    end = client.finish(client.create(prompt(), demo_llm(answer="It works.")))

    assert (end["type"], end["data"]["output"]) == ("run_succeeded", "It works.")


def test_the_applications_own_error_page_is_untouched(mounted: GunicornServer) -> None:
    answer = mounted.get("/nothing")

    assert (answer.status_code, answer.text) == (404, "<h1>Nothing here</h1>")


def test_errors_below_runs_keep_their_shape(mounted: GunicornServer) -> None:
    answer = mounted.get("/runs/01890a5d-ac96-774b-bcce-b302099a8057")

    assert answer.status_code == 404
    assert answer.json()["code"] == "run_not_found"


def test_a_run_that_can_end_within_the_grace_succeeds_after_a_sigterm(
    mounted: GunicornServer, start_server: StartServer
) -> None:
    run_id = RunClient(mounted.url).create(prompt(), demo_llm(answer="one two three", delay_ms=200))

    assert mounted.stop() == 0

    other = RunClient(start_server().url)
    assert other.status(run_id)["status"] == "succeeded"
    assert other.follow(run_id)[-1].data["data"]["output"] == "one two three"


def test_a_run_that_outlives_the_grace_ends_as_failed_after_a_sigterm(
    mounted: GunicornServer, start_server: StartServer
) -> None:
    run_id = RunClient(mounted.url).create(prompt(), demo_llm(answer="one two three", delay_ms=60_000))

    assert mounted.stop() == 0

    other = RunClient(start_server().url)
    assert other.status(run_id)["status"] == "failed"
    assert other.follow(run_id)[-1].data["data"]["reason"] == "shutdown"
