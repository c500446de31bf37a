"""Thousands of idle streams: the memory of each, and the connections to Redis of all."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import astuple, dataclass

from benchmarks.support import table
from benchmarks.support.load import running_load
from benchmarks.support.measure import raise_descriptor_limit
from benchmarks.support.servers import DAEMON_KEY, Subject, both_servers, wait_for_models
from benchmarks.support.transport import Transport
from tests.support.client import plugin_layers, prompt
from tests.support.plugin_daemon import ScriptedDaemon, running_daemon

STREAMS = (2000, 5000)
RUNS = 100
"""The streams follow these runs in turn; their models are silent."""
SETTLE_SECONDS = 2.0
OTHER_DESCRIPTORS = 500


@dataclass(frozen=True, slots=True)
class Result:
    """``memory`` (bytes) and ``cpu`` (seconds to join) are per stream; ``connections`` are those to Redis."""

    memory: float
    connections: float
    cpu: float
    client_share: float


def main() -> None:
    """Prints both servers and their ratios for each transport and number of streams."""
    options = table.options(__doc__, rounds=1)
    limit = raise_descriptor_limit()
    table.head(
        f"idle streams, spread over {RUNS} silent runs, medians of {options.rounds} rounds",
        ["KiB a stream", "Redis conns", "CPU-ms a join", table.CLIENT_CPU],
    )
    numbers = [number for number in STREAMS if _descriptors(number) <= limit]
    for number in STREAMS:
        if number not in numbers:
            table.row(f"{number:,} streams", [f"left out: {_descriptors(number):,} descriptors, {limit:,} allowed"])
    with running_daemon(api_key=DAEMON_KEY) as daemon:
        for transport in options.transports:
            results: dict[tuple[str, int], list[Result]] = {}
            for _ in range(options.rounds):
                # New processes each time: memory that one has freed and uses again does not show as new.
                with both_servers(daemon) as subjects:
                    for subject in subjects:
                        for number, result in _measure(subject, daemon, transport, numbers).items():
                            results.setdefault((subject.name, number), []).append(result)
            for number in numbers:
                ours, yardstick = (_median(results[subject.name, number]) for subject in subjects)
                for subject, result in zip(subjects, (ours, yardstick), strict=True):
                    table.row(f"{number:,} streams, {transport}, {subject.name}", _cells(result))
                table.row("ratio", _ratios(ours, yardstick))


def _descriptors(streams: int) -> int:
    """Returns the descriptors that the yardstick needs, which has a connection to Redis for each stream."""
    return 2 * streams + OTHER_DESCRIPTORS


def _measure(subject: Subject, daemon: ScriptedDaemon, transport: Transport, numbers: list[int]) -> dict[int, Result]:
    """Returns a result for each number of streams; streams that have joined stay while more join."""
    model = f"idle-{time.monotonic_ns()}"
    daemon.script(model, [{"wait": model}, {"stream": {"chunks": 1}}])
    results: dict[int, Result] = {}
    with ExitStack() as stack:
        loads = [stack.enter_context(running_load()) for _ in numbers]
        layers = [prompt(), *plugin_layers(model)]
        run_ids = loads[0].follow(subject.url, layers, runs=RUNS, transport=None).run_ids
        wait_for_models(daemon, RUNS)
        time.sleep(SETTLE_SECONDS)
        memory, joined = subject.memory(), 0
        for load, number in zip(loads, numbers, strict=True):
            cpu, client_cpu, began = subject.cpu(), load.cpu(), time.monotonic()
            load.join(subject.url, run_ids, number - joined, transport)
            client_share = (load.cpu() - client_cpu) / (time.monotonic() - began)
            time.sleep(SETTLE_SECONDS)
            results[number] = Result(
                memory=(subject.memory() - memory) / number,
                connections=subject.redis_work().clients,
                cpu=(subject.cpu() - cpu) / (number - joined),
                client_share=client_share,
            )
            joined = number
        daemon.release(model)
        # Each must see the end of its run: a stream that was lost would have cost nothing.
        for load in loads:
            load.leave()
    return results


def _median(results: list[Result]) -> Result:
    return Result(*(table.median(column) for column in zip(*map(astuple, results), strict=True)))


def _cells(result: Result) -> list[str]:
    return [
        f"{result.memory / 1024:.1f}",
        f"{result.connections:,.0f}",
        f"{result.cpu * 1000:.2f}",
        f"{result.client_share:.0%}",
    ]


def _ratios(ours: Result, yardstick: Result) -> list[str]:
    """Returns the ratios of all columns but the client's."""
    return [table.ratio(one, other) for one, other in zip(astuple(ours)[:-1], astuple(yardstick)[:-1], strict=True)]


if __name__ == "__main__":
    main()
