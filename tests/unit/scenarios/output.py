"""How outputs are checked beside greenlets and coroutines. Run in a patched child: see output/test_checker_gevent."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

import gevent
import pytest

import runtime.output.pool
from errors import OutputCheckUnavailable
from runtime.execution.bridge import LoopBridge
from runtime.output import (
    OutputChecker,
    OutputPolicy,
    OutputRejected,
    OutputSchema,
    Repair,
    close_shared_pool,
)
from runtime.output.elsewhere import shared_pool
from tests.support.patched import eventually

# The promise is 50 ms; a test on a busy machine allows for more.
LONGEST_GAP = 0.25

NUMBERS = OutputSchema.parse({"type": "object", "properties": {"n": {"type": "array", "items": {"type": "integer"}}}})
CATASTROPHE = OutputSchema.parse({"type": "object", "properties": {"a": {"pattern": "^(?!z)(a+)+$"}}})
ENDLESS = '{"a": "' + "a" * 60 + '!"}'
# Work for most of a second: on a busy machine that is still far from the longest that a check may take.
LARGE = json.dumps({"n": list(range(40_000))})
BROKEN_LARGE = LARGE.replace('"n"', "n")


def _lenient(schema: OutputSchema = NUMBERS) -> OutputChecker:
    return OutputChecker(schema, OutputPolicy(repair=Repair.LENIENT))


@contextmanager
def _no_long_gap() -> Iterator[None]:
    """Fail when other greenlets had to wait for long during the block: for most of it, on a busy machine."""
    gaps = [0.0]

    def tick() -> None:
        last = time.perf_counter()
        while True:
            gevent.sleep(0.001)
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()

    ticking = gevent.spawn(tick)
    gevent.sleep(0.01)
    begun = time.perf_counter()
    yield
    took = time.perf_counter() - begun
    gevent.sleep(0.01)
    ticking.kill()
    assert max(gaps) < max(LONGEST_GAP, took / 2)


def greenlets_go_on_while_a_large_text_is_checked_or_repaired() -> None:
    with _no_long_gap():
        direct = _lenient().check(LARGE)
        repaired = _lenient().check(BROKEN_LARGE)

    assert direct.repairs == []
    assert [repair.kind for repair in repaired.repairs] == ["json_repair"]
    assert direct.value == repaired.value
    close_shared_pool()


def greenlets_go_on_while_a_large_schema_is_examined() -> None:
    part = {"type": "string", "pattern": "^[a-z]+$", "description": "x" * 20}

    with _no_long_gap():
        schema = OutputSchema.parse({"type": "object", "properties": {f"p{n}": part for n in range(2000)}})

    assert _lenient(schema).check({"p1": "x"}).value == {"p1": "x"}
    close_shared_pool()


def coroutines_of_both_loops_can_check(kind: str = "hub") -> None:
    bridge = LoopBridge(cast(Literal["hub", "selector"], kind))
    bridge.start()

    async def check() -> list[list[str]]:
        texts = ['{"n": [1]}', '{"n": [1,]}', "{n: [1]}", "{n: [1, 2]}"]
        checks = [_lenient().check_async(text) for text in texts]
        return [[repair.kind for repair in checked.repairs] for checked in await asyncio.gather(*checks)]

    with _no_long_gap():
        assert bridge.run(check()) == [[], ["trailing_commas"], ["json_repair"], ["json_repair"]]

    bridge.close()
    close_shared_pool()


def a_greenlet_that_is_killed_frees_its_process() -> None:
    checking = gevent.spawn(_lenient(CATASTROPHE).check, ENDLESS)
    eventually(lambda: shared_pool().is_busy)
    (pid,) = shared_pool().pids

    checking.kill()

    assert shared_pool().pids == []
    assert not shared_pool().is_busy
    assert [repair.kind for repair in _lenient().check(BROKEN_LARGE).repairs] == ["json_repair"]
    assert pid not in shared_pool().pids
    close_shared_pool()


def a_check_that_takes_too_long_is_given_up() -> None:
    runtime.output.pool.JOB_SECONDS = 0.5

    with _no_long_gap(), pytest.raises(OutputRejected, match="could not be checked within"):
        _lenient(CATASTROPHE).check(ENDLESS)

    close_shared_pool()


def closing_the_pool_ends_a_check_with_a_clear_error() -> None:
    checking = gevent.spawn(_lenient(CATASTROPHE).check, ENDLESS)
    eventually(lambda: shared_pool().is_busy)

    close_shared_pool()

    checking.join(10)
    assert isinstance(checking.exception, OutputCheckUnavailable)
