"""Greenrun mounted into another Flask application, under the real gunicorn."""

from __future__ import annotations

import pytest

from tests.conftest import StartServer
from tests.fuzz.frames import Frame
from tests.support.client import RunClient, demo_llm, prompt
from tests.support.gunicorn_server import GunicornServer
from tests.support.socket_client import BareSocket, events_path

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


def test_the_applications_own_sockets_and_ours_keep_their_own_options(start_server: StartServer) -> None:
    client = RunClient(start_server(app="tests.support.sockets_app:app").url)
    run_id = client.create(prompt(), demo_llm(answer="word " * 30, delay_ms=100))

    ours = BareSocket(client.url, events_path(run_id))
    theirs = BareSocket(client.url, "/echo")
    theirs.receive_until(b"\x89\x00")  # the server's ping
    theirs.sock.sendall(bytes(Frame(payload=b"0123456789")))
    theirs.receive_until(b"\x81\x0a0123456789")
    theirs.sock.sendall(bytes(Frame(payload=b"0123456789a")))
    theirs.receive_until((1009).to_bytes(2, "big"))
    ours.sock.sendall(bytes(Frame(payload=b"0123456789a")))
    ours.receive_until(b"invalid_json")
    ours.receive_until(b"run_succeeded")  # the client answers no pings

    assert b"\x89\x00" not in ours.received
    ours.sock.close()
    theirs.sock.close()
