"""One run with many viewers: when the last one sees its end, and what a waiting viewer costs."""

from __future__ import annotations

import time
from dataclasses import astuple, dataclass

from benchmarks.support import table
from benchmarks.support.load import Load, running_load
from benchmarks.support.measure import raise_descriptor_limit
from benchmarks.support.servers import DAEMON_KEY, Subject, both_servers
from benchmarks.support.transport import Transport
from tests.support.client import plugin_layers, prompt
from tests.support.plugin_daemon import ScriptedDaemon, running_daemon

VIEWERS = (2000, 500)
"""The larger number first: memory that a process has freed and uses again does not show as new."""
CHUNKS = 50
RATE = 50
SETTLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Result:
    """Times in seconds. ``memory`` is bytes per viewer, ``connections`` are those to Redis while all viewers wait."""

    seconds: float
    memory: float
    connections: float
    deliveries_per_cpu_second: float
    client_share: float


def main() -> None:
    """Prints the time to the last viewer's end, memory and connections of both servers, and their ratios."""
    options = table.options(__doc__, rounds=1)
    raise_descriptor_limit()
    columns = ["last after s", "KiB a viewer", "Redis conns", "events/CPU-s", table.CLIENT_CPU]
    title = f"1 run of {CHUNKS} chunks at {RATE}/s to many viewers, medians of {options.rounds} rounds"
    table.head(title, columns)
    with running_daemon(api_key=DAEMON_KEY) as daemon, running_load() as load:
        for transport in options.transports:
            results: dict[tuple[str, int], list[Result]] = {}
            for _ in range(options.rounds):
                with both_servers(daemon) as subjects:
                    for viewers in VIEWERS:
                        for subject in subjects:
                            result = _measure(subject, daemon, load, viewers, transport)
                            results.setdefault((subject.name, viewers), []).append(result)
            for viewers in VIEWERS:
                ours, yardstick = (_median(results[subject.name, viewers]) for subject in subjects)
                for subject, result in zip(subjects, (ours, yardstick), strict=True):
                    table.row(f"{viewers:,} viewers, {transport}, {subject.name}", _cells(result, viewers))
                table.row("ratio", _ratios(ours, yardstick, viewers))


def _measure(subject: Subject, daemon: ScriptedDaemon, load: Load, viewers: int, transport: Transport) -> Result:
    model = f"fan-out-{time.monotonic_ns()}"
    daemon.script(model, [{"wait": model}, {"stream": {"chunks": CHUNKS, "rate": RATE}}])
    run_id = subject.create([prompt(), *plugin_layers(model)])
    daemon.wait_for_call(model)
    memory = subject.memory()
    load.join(subject.url, [run_id], viewers, transport)
    time.sleep(SETTLE_SECONDS)
    memory = subject.memory() - memory
    connections = subject.redis_work().clients
    cpu, client_cpu, began = subject.cpu(), load.cpu(), time.monotonic()
    daemon.release(model)
    left = load.leave()
    cpu = subject.cpu() - cpu
    client_share = (left.client_cpu - client_cpu) / (left.closed_at - began)
    return Result(left.last_at - began, memory / viewers, connections, left.events / cpu, client_share)


def _median(results: list[Result]) -> Result:
    return Result(*(table.median(column) for column in zip(*map(astuple, results), strict=True)))


def _cells(result: Result, viewers: int) -> list[str]:
    return [
        f"{result.seconds:.2f}",
        f"{result.memory / 1024:.1f}" if viewers == max(VIEWERS) else "",
        f"{result.connections:,.0f}",
        f"{result.deliveries_per_cpu_second:,.0f}",
        f"{result.client_share:.0%}",
    ]


def _ratios(ours: Result, yardstick: Result, viewers: int) -> list[str]:
    return [
        table.ratio(ours.seconds, yardstick.seconds),
        table.ratio(ours.memory, yardstick.memory) if viewers == max(VIEWERS) else "",
        table.ratio(ours.connections, yardstick.connections),
        table.ratio(ours.deliveries_per_cpu_second, yardstick.deliveries_per_cpu_second),
    ]


if __name__ == "__main__":
    main()
