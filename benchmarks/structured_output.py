"""How long the check of a structured output takes, and how long it keeps other greenlets of its worker waiting."""

# ruff: noqa: E402
from gevent import monkey

monkey.patch_all()

import gc
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent

from runtime.output import OutputChecker, OutputPolicy, OutputSchema, Repair, close_shared_pool
from runtime.output.schema import examine

SIZES = {"1 KiB": 1 << 10, "100 KiB": 100 << 10, "1 MiB": 1 << 20}
SECONDS = 3.0
"""How long each case is repeated; at least three times."""

ITEM_SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 0},
        "name": {"type": "string", "pattern": "^Item"},
        "price": {"type": "number"},
        "tags": {"type": "array", "items": {"type": ["string", "null", "boolean"]}},
    },
    "required": ["id", "name"],
}
SCHEMA = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": {"$ref": "#/$defs/item"}}},
    "required": ["items"],
    "$defs": {"item": ITEM_SCHEMA},
}


def output(size: int) -> str:
    """Returns a list such as models write, of about ``size`` bytes."""
    items: list[dict[str, Any]] = []
    length = 0
    while length < size - 150:
        number = len(items)
        item = {"id": number, "name": f"Item, {number}", "price": 19.5, "tags": ["a", None, True], "more": {"x": ['"']}}
        items.append(item)
        length += len(json.dumps(item)) + 2
    return json.dumps({"items": items})


def cases(text: str) -> Iterator[tuple[str, Repair, str]]:
    yield "valid as it is", Repair.NONE, text
    yield "safe repair", Repair.SAFE, f"Here it is:\n```json\n{text[:-2]},]}}\n```"
    yield "lenient repair", Repair.LENIENT, text.replace('"price"', "price")


@contextmanager
def watched_hub() -> Iterator[list[float]]:
    """Collects the seconds between the turns of a greenlet that is always ready to run."""
    gaps: list[float] = []

    def tick() -> None:
        last = time.perf_counter()
        while True:
            gevent.sleep(0.001)
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()

    ticking = gevent.spawn(tick)
    gevent.sleep(0.01)
    gaps.clear()
    yield gaps
    gevent.sleep(0.005)
    ticking.kill()


def measure(work: Callable[[], object]) -> tuple[float, float, int]:
    """Returns the median time and the longest gap of the hub, in milliseconds, and how often the work was done."""
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    with watched_hub() as gaps:
        while len(times) < 3 or time.perf_counter() < end:
            begun = time.perf_counter()
            work()
            times.append(time.perf_counter() - begun)
            gevent.sleep(0.002)
    return statistics.median(times) * 1000, max(gaps) * 1000, len(times)


def main() -> None:
    # As in a worker.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    schema = OutputSchema.parse(SCHEMA)
    print(f"Structured output, Python {platform.python_version()}. Times in ms; the hub should never wait above 50.\n")
    print("| output | case | median | longest gap of the hub | times |")
    print("| --- | --- | --- | --- | --- |")
    for label, size in SIZES.items():
        text = output(size)
        for case, repair, raw in cases(text):
            checker = OutputChecker(schema, OutputPolicy(repair=repair))
            checker.check(raw)  # the process starts
            median, gap, count = measure(lambda checker=checker, raw=raw: checker.check(raw).value)  # type: ignore[misc]
            print(f"| {label} | {case} | {median:.2f} | {gap:.1f} | {count} |")
    small = json.dumps(SCHEMA)
    for label, work in {"seen before": lambda: OutputSchema.parse(SCHEMA), "new": lambda: examine(small)}.items():
        median, gap, count = measure(work)
        print(f"| schema of {len(small)} bytes | {label} | {median:.3f} | {gap:.1f} | {count} |")
    close_shared_pool()


if __name__ == "__main__":
    main()
