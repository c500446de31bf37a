"""``dev/start`` as a person at a terminal sees it, with a real Redis and a real gunicorn."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from dev.stop_signals import wait_until
from tests.support.ports import free_port, listen_on
from tests.support.process_tree import descendants, still_running

CHECKOUT = Path(__file__).parents[2]
# Starting and stopping take seconds; a busy machine may need this long.
PATIENCE = 90.0
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "docs", "tests", "benchmarks")
RUN = {"composition": {"layers": [{"name": "prompt", "type": "plain.prompt", "config": {"user": "Hello."}}]}}
# An answer so slow that its run is still active when the test checks.
SLOW_LLM = '{"type": "greenrun.demo_llm", "config": {"delay_ms": 60000}}'


class Launcher:
    """A dev/start in the background."""

    def __init__(self, checkout: Path, *arguments: str, **settings: str) -> None:
        self.checkout = checkout
        self._output = checkout / f"output-{os.urandom(4).hex()}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DIFY_AGENT_")}
        environment |= {f"DIFY_AGENT_{name.upper()}": value for name, value in settings.items()}
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dev.launcher", *arguments],
                cwd=checkout,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for(self, text: str) -> None:
        seen = wait_until(lambda: text in self.output or self._process.poll() is not None, PATIENCE)
        assert seen, f"no {text!r} in:\n{self.output}"
        assert text in self.output, self.output

    def ctrl_c(self) -> None:
        """Sends SIGINT to the whole foreground process group, as a terminal does."""
        os.killpg(self.pid, signal.SIGINT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self) -> int:
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs:\n{self.output}") from None

    def close(self) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE)


class Started:
    """Runs ``dev/start`` in a copy of the checkout, apart from the developer's own state and .env."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.launchers: list[Launcher] = []

    def __call__(self, *arguments: str, **settings: str) -> Launcher:
        launcher = Launcher(self.checkout, "--port", str(self.port), *arguments, **settings)
        self.launchers.append(launcher)
        return launcher

    def serving(self, **settings: str) -> Launcher:
        launcher = self(**settings)
        launcher.wait_for("Ctrl-C stops it.")
        return launcher

    def post_run(self) -> str:
        response = requests.post(f"{self.url}/runs", json=RUN, timeout=30)
        assert response.status_code == 202, response.text
        return str(response.json()["run_id"])

    def status(self, run_id: str, *, key: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        response = requests.get(f"{self.url}/runs/{run_id}", headers=headers, timeout=30)
        assert response.status_code == 200, response.text
        return response.json()["status"]


@pytest.fixture
def start(short_path: Path) -> Iterator[Started]:
    checkout = short_path / "checkout"
    shutil.copytree(CHECKOUT, checkout, ignore=NOT_COPIED)
    started = Started(checkout)
    yield started
    for launcher in started.launchers:
        launcher.close()


def test_ctrl_c_stops_everything_and_the_next_start_still_knows_the_runs(start: Started) -> None:
    first = start.serving()
    run_id = start.post_run()
    assert wait_until(lambda: start.status(run_id) == "succeeded", PATIENCE)
    processes = descendants(first.pid)

    first.ctrl_c()

    assert first.wait() == 0
    assert len(processes) >= 4, "the keeper, Redis, gunicorn and a worker"
    assert still_running(processes) == set()
    start.serving()
    assert start.status(run_id) == "succeeded"


def test_it_prints_what_to_try(start: Started) -> None:
    launcher = start.serving()

    token = (start.checkout / ".greenrun" / "admin-token").read_text().strip()
    assert token in launcher.output
    assert f"curl -N {start.url}/runs/<run_id>/events/sse" in launcher.output
    key = (start.checkout / ".greenrun" / "workspace-key").read_text().strip()
    assert key in launcher.output
    keys = requests.get(f"{start.url}/keys", headers={"Authorization": f"Bearer {key}"}, timeout=30)
    assert [row["name"] for row in keys.json()["data"]] == ["dev/start"]
    agents = requests.get(f"{start.url}/agents", headers={"Authorization": f"Bearer {key}"}, timeout=30).json()["data"]
    assert [agent["name"] for agent in agents] == ["Demo agent"]
    assert f"{start.url}/agents/{agents[0]['id']}/runs" in launcher.output
    assert f"curl -H 'Authorization: Bearer {key}' -N {start.url}/runs/<run_id>/events/sse" in launcher.output
    query = {"query": "Hello?"}
    run = requests.post(
        f"{start.url}/agents/{agents[0]['id']}/runs",
        json=query,
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
    )
    assert wait_until(lambda: start.status(run.json()["run_id"], key=key) == "succeeded", PATIENCE)
    launcher.ctrl_c()
    launcher.wait()

    again = start.serving()

    assert f"/agents/{agents[0]['id']}/runs" in again.output


def test_a_second_ctrl_c_does_not_wait_for_active_runs(start: Started) -> None:
    launcher = start.serving(default_llm=SLOW_LLM, shutdown_grace_seconds="3600")
    start.post_run()
    processes = descendants(launcher.pid)

    launcher.ctrl_c()
    launcher.wait_for("Ctrl-C again hurries")
    launcher.ctrl_c()

    assert launcher.wait() == 0
    assert still_running(processes) == set()


def test_a_second_start_in_the_same_checkout_is_refused(start: Started) -> None:
    first = start.serving()

    second = start()

    assert second.wait() == 1
    assert f"already runs in this checkout (process {first.pid})" in second.output
    assert requests.get(f"{start.url}/ready", timeout=30).status_code == 200


def test_a_killed_start_leaves_nothing_behind_and_loses_nothing(start: Started) -> None:
    first = start.serving()
    run_id = start.post_run()
    assert wait_until(lambda: start.status(run_id) == "succeeded", PATIENCE)
    processes = descendants(first.pid)

    first.kill()

    assert wait_until(lambda: not still_running(processes), PATIENCE)
    start.serving()
    assert start.status(run_id) == "succeeded"


def test_a_start_right_after_a_killed_one_waits_for_what_is_left_of_it(start: Started) -> None:
    first = start.serving(default_llm=SLOW_LLM, shutdown_grace_seconds="5")
    run_id = start.post_run()
    first.kill()

    start.serving()

    assert start.status(run_id) == "failed", "the draining server had its Redis for long enough to end the run"


def test_a_server_that_other_machines_can_reach_asks_for_a_token_and_says_so(start: Started) -> None:
    launcher = start("--host", "0.0.0.0")  # noqa: S104 - that is what is tried
    launcher.wait_for("Ctrl-C stops it.")

    token = (start.checkout / ".greenrun" / "api-token").read_text().strip()
    assert f"API token: {token}" in launcher.output
    assert f"curl -H 'Authorization: Bearer {token}'" in launcher.output
    answers = [
        requests.post(f"{start.url}/runs", json=RUN, headers=headers, timeout=30).status_code
        for headers in ({}, {"Authorization": f"Bearer {token}"})
    ]
    assert answers == [401, 202]


def test_a_port_in_use_is_named(start: Started) -> None:
    with listen_on(start.port):
        launcher = start()

        assert launcher.wait() == 1

    assert f"127.0.0.1:{start.port} is in use" in launcher.output


def test_a_server_that_cannot_start_shows_why_and_leaves_nothing(start: Started) -> None:
    (start.checkout / "dev" / "app.py").write_text("raise RuntimeError('broken on purpose')\n")

    launcher = start()

    assert launcher.wait() == 1
    assert "broken on purpose" in launcher.output
    assert not (start.checkout / ".greenrun" / "redis.sock").exists(), "Redis removes its socket when it ends"


def test_the_demo_shows_a_run_streaming_and_stops_everything(start: Started) -> None:
    with listen_on(start.port):
        demo = start("--demo")
        demo.wait_for("POST http://")
        processes = descendants(demo.pid)

        assert demo.wait() == 0

    assert "run_succeeded" in demo.output
    assert processes
    assert still_running(processes) == set()
    assert not (start.checkout / ".greenrun").exists(), "its state is a fresh, temporary one"


def test_a_demo_that_fails_says_so(start: Started) -> None:
    (start.checkout / "dev" / "app.py").write_text(
        "from flask import Flask\napp = Flask('x')\napp.get('/ready')(str)\n"
    )

    demo = start("--demo")

    assert demo.wait() == 1
    assert "POST /runs answered 404" in demo.output
