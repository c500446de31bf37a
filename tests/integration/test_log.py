"""What a server logs, and what it never does."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from tests.support.client import wait_until
from tests.support.gunicorn_server import GunicornServer

SIGNED = "https://files.example.com/a?X-Signature=5ec2e7"
FORGED = "2026-11-30 12:00:00,000 INFO audit key_created tenant=victim by=operator"


def test_unhandled_errors_are_logged_by_class_and_place(
    start_server: Callable[..., GunicornServer],
) -> None:
    server = start_server(app="tests.support.failing_app:app")

    assert server.get("/failing/beside", params={"words": "5ec2e7"}).status_code == 200

    places = ["_raise", "_fail_alone", "__del__"]
    kinds = ["in a greenlet", "in the event loop", "in a thread", "in a finalizer"]
    wait_until(lambda: all(f"unexpected error {kind}" in server.log for kind in kinds))
    wait_until(lambda: all(f"in {place}" in server.log for place in places))
    assert server.log.count("Unforeseen: builtins.RuntimeError") >= 4
    assert "UserWarning at " in server.log
    told = [line for line in server.log.splitlines() if "5ec2e7" in line]
    assert [line.partition(" ERROR ")[2] for line in told] == ["a.library cannot read 5ec2e7"]


def test_a_caller_cannot_forge_a_line_of_the_log(start_server: Callable[..., GunicornServer]) -> None:
    server = start_server(app="tests.support.failing_app:app")
    lines = f"x\r\n{FORGED}\n{FORGED}"

    server.get("/failing/beside", params={"words": lines})
    server.get(f"/runs/{quote(lines)}")
    server.get(f"/failing/early/{quote(lines)}")
    server.get("/failing/early", headers={"X-Request-Id": "a", "User-Agent": "b"}, params={"a": lines})

    wait_until(lambda: "a.library cannot read x" in server.log)
    assert re.findall(r"^.*INFO audit.*$", server.log, re.MULTILINE) == [
        line for line in server.log.splitlines() if "a.library cannot read x\\r\\n" in line
    ]


def test_the_message_of_an_unexpected_error_is_not_logged(start_server: Callable[..., GunicornServer]) -> None:
    server = start_server(app="tests.support.failing_app:app")

    assert server.get("/failing/at-once").status_code == 500
    assert server.get("/failing/early").status_code == 500

    wait_until(lambda: server.log.count("RuntimeError") >= 2)
    assert "this fails" not in "".join(line for line in server.log.splitlines() if "raise " not in line)
