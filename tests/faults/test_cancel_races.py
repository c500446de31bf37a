"""Cancels that race everything else, hundreds of times: all readers get the same single terminal event, and no more."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import sleep

from tests.faults.conftest import assert_whole
from tests.support.client import RunClient, demo_llm, plugin_layers, prompt, wait_until
from tests.support.plugin_daemon import ScriptedDaemon

RACERS = 8


def race(count: int, racer: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(RACERS) as racers:
        list(racers.map(racer, range(count)))


def test_two_cancels_and_the_success_of_a_model_call_agree_with_all_readers(
    client: RunClient, daemon: ScriptedDaemon
) -> None:
    daemon.script("raced", [{"text": "one "}, {"pause": 0.02}, {"text": "two"}, {"finish": "stop"}])

    def racer(number: int) -> None:
        clients = [RunClient(client.url) for _ in range(2)]
        run_id = clients[0].create(prompt(), *plugin_layers("raced"))
        with ThreadPoolExecutor(3) as callers:
            reading = callers.submit(RunClient(client.url).follow, run_id)
            sleep(number % 15 * 0.004)
            answers = list(callers.map(lambda one: one.cancel(run_id), clients))
            frames = reading.result()
        status = clients[1].status(run_id)["status"]

        assert_whole(frames)
        assert frames[-1].event == f"run_{status}"
        assert {answer.status_code for answer in answers} == ({200} if status == "cancelled" else {409})
        assert clients[0].follow(run_id) == clients[1].follow(run_id) == frames

    race(150, racer)

    wait_until(lambda: all(call["ended"] is not None for call in daemon.calls("raced")))


def test_a_cancel_that_comes_with_the_answer_to_the_start_leaves_one_end(client: RunClient) -> None:
    run_ids: list[str] = []

    def racer(_: int) -> None:
        one = RunClient(client.url)
        run_id = one.create(prompt(), demo_llm(delay_ms=20))
        assert one.cancel(run_id).json()["status"] == "cancelled"
        run_ids.append(run_id)

    race(200, racer)

    assert len(run_ids) == 200
    for run_id in run_ids:
        frames = client.follow(run_id)
        assert_whole(frames)
        assert frames[-1].event == "run_cancelled"
        assert client.status(run_id)["status"] == "cancelled"
