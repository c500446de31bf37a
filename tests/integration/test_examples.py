"""The examples, run as a reader of the documentation runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import StartServer
from tests.support.cutting_proxy import cutting_proxy
from tests.support.gunicorn_server import GunicornServer

CHECKOUT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0
ANSWER = (
    "This is Greenrun's demo model: it runs offline and always answers alike. "
    "You asked: “Why is the sky blue?”. Name a real model in a layer called llm to get a real answer.\n"
)
PROMPT = "Why is the sky blue?"
UNHURRIED_MODEL = '{"type": "greenrun.demo_llm", "config": {"delay_ms": 20}}'
FAILING_MODEL = '{"type": "greenrun.demo_llm", "config": {"fail": "out of order", "fail_after": 2}}'
CUT_AFTER_BYTES = 2500
"""More than the run's longest event, so that each connection delivers at least one; far less than the whole run."""


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, str(CHECKOUT / "examples" / name), *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", timeout=PATIENCE_SECONDS, check=False
    )


def test_poll_prints_the_output_of_its_run(server: GunicornServer) -> None:
    done = run_example("poll.py", "--url", server.url, PROMPT)

    assert (done.returncode, done.stdout, done.stderr) == (0, ANSWER, "")


def test_poll_says_why_a_run_failed(start_server: StartServer) -> None:
    server = start_server(default_llm=FAILING_MODEL)

    done = run_example("poll.py", "--url", server.url, PROMPT)

    assert (done.returncode, done.stdout) == (1, "")
    assert "out of order" in done.stderr


def test_poll_finds_the_end_behind_more_events_than_one_page_holds(start_server: StartServer) -> None:
    words = " ".join(f"word{number}" for number in range(70))
    long_answer = f'{{"type": "greenrun.demo_llm", "config": {{"answer": "{" ".join([words] * 10)}"}}}}'
    server = start_server(default_llm=long_answer)

    done = run_example("poll.py", "--url", server.url, PROMPT)

    assert done.stdout == " ".join([words] * 10) + "\n"


def test_stream_prints_the_text_of_its_run(server: GunicornServer) -> None:
    done = run_example("stream.py", "--url", server.url, PROMPT)

    assert (done.returncode, done.stdout, done.stderr) == (0, ANSWER, "")


def test_stream_misses_nothing_and_doubles_nothing_over_broken_connections(start_server: StartServer) -> None:
    server = start_server(default_llm=UNHURRIED_MODEL)

    with cutting_proxy(server.url, cut_after=CUT_AFTER_BYTES) as proxy:
        done = run_example("stream.py", "--url", proxy.url, PROMPT)

    assert (done.returncode, done.stdout) == (0, ANSWER)
    assert proxy.cuts >= 2
    assert "the connection broke" in done.stderr


def test_stream_says_why_a_run_failed(start_server: StartServer) -> None:
    server = start_server(default_llm=FAILING_MODEL)

    done = run_example("stream.py", "--url", server.url, PROMPT)

    assert done.returncode == 1
    assert "out of order" in done.stderr


def test_websocket_prints_the_text_of_its_run(server: GunicornServer) -> None:
    done = run_example("websocket.py", "--url", server.url, PROMPT)

    assert (done.returncode, done.stdout, done.stderr) == (0, ANSWER, "")


def test_websocket_misses_nothing_and_doubles_nothing_over_broken_connections(start_server: StartServer) -> None:
    server = start_server(default_llm=UNHURRIED_MODEL)

    with cutting_proxy(server.url, cut_after=CUT_AFTER_BYTES) as proxy:
        done = run_example("websocket.py", "--url", proxy.url, PROMPT)

    assert (done.returncode, done.stdout) == (0, ANSWER)
    assert proxy.cuts >= 2
    assert "the connection broke" in done.stderr


def test_websocket_says_why_a_run_failed(start_server: StartServer) -> None:
    server = start_server(default_llm=FAILING_MODEL)

    done = run_example("websocket.py", "--url", server.url, PROMPT)

    assert done.returncode == 1
    assert "out of order" in done.stderr


def test_all_print_why_the_server_refused_a_request(server: GunicornServer) -> None:
    for name in ("poll.py", "stream.py", "websocket.py"):
        done = run_example(name, "--url", server.url, " ")

        assert done.returncode == 1
        assert "run.user_prompts must not be empty" in done.stderr


def test_all_take_a_token(start_server: StartServer) -> None:
    server = start_server(api_token="made-up-token")

    for name in ("poll.py", "stream.py", "websocket.py"):
        without = run_example(name, "--url", server.url, PROMPT)
        with_token = run_example(name, "--url", server.url, "--token", "made-up-token", PROMPT)

        assert without.returncode == 1
        assert "unauthorized" in without.stderr
        assert (with_token.returncode, with_token.stdout) == (0, ANSWER)
