"""One run and many viewers: when the last one sees its end, and what a viewer costs that waits."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.support import table
from benchmarks.support.load import Load, running_load
from benchmarks.support.servers import DAEMON_KEY, Subject, both_servers
from tests.support.client import plugin_layers, prompt
from tests.support.plugin_daemon import ScriptedDaemon, running_daemon

VIEWERS = (2000, 500)
"""The larger number first: memory that a process has given back to itself once does not show as new again."""
CHUNKS = 50
RATE = 50
SETTLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Result:
    """Times in seconds. ``memory`` is bytes a viewer, ``connections`` are to Redis while all viewers wait."""

    seconds: float
    memory: float
    connections: int
    deliveries_per_cpu_second: float


def main() -> None:
    """Print the time to the last viewer's end, memory and connections of both, and their ratios."""
    count = table.rounds(__doc__, default=1)
    columns = ["last after s", "KiB a viewer", "Redis conns", "events/CPU-s"]
    with running_daemon(api_key=DAEMON_KEY) as daemon, running_load() as load:
        title = f"1 run of {CHUNKS} chunks at {RATE}/s to many viewers, medians of {count} rounds"
        table.head(title, columns)
        results: dict[tuple[str, int], list[Result]] = {}
        for _ in range(count):
            with both_servers(daemon) as subjects:
                for viewers in VIEWERS:
                    for subject in subjects:
                        results.setdefault((subject.name, viewers), []).append(_measure(subject, daemon, load, viewers))
        for viewers in VIEWERS:
            ours, yardstick = (_median(results[subject.name, viewers]) for subject in subjects)
            for subject, result in zip(subjects, (ours, yardstick), strict=True):
                table.row(f"{viewers} viewers, {subject.name}", _cells(result, viewers))
            table.row("ratio", _ratios(ours, yardstick, viewers))


def _measure(subject: Subject, daemon: ScriptedDaemon, load: Load, viewers: int) -> Result:
    model = f"fan-out-{time.monotonic_ns()}"
    daemon.script(model, [{"wait": model}, {"stream": {"chunks": CHUNKS, "rate": RATE}}])
    run_id = subject.create([prompt(), *plugin_layers(model)])
    daemon.wait_for_call(model)
    memory = subject.memory()
    load.join(subject.url, run_id, viewers)
    time.sleep(SETTLE_SECONDS)
    memory = subject.memory() - memory
    connections = subject.redis_work().clients
    cpu, began = subject.cpu(), time.monotonic()
    daemon.release(model)
    last_at, events = load.leave()
    cpu = subject.cpu() - cpu
    return Result(last_at - began, memory / viewers, connections, events / cpu)


def _median(results: list[Result]) -> Result:
    return Result(
        seconds=table.median([result.seconds for result in results]),
        memory=table.median([result.memory for result in results]),
        connections=max(result.connections for result in results),
        deliveries_per_cpu_second=table.median([result.deliveries_per_cpu_second for result in results]),
    )


def _cells(result: Result, viewers: int) -> list[str]:
    memory = f"{result.memory / 1024:.1f}" if viewers == max(VIEWERS) else ""
    return [f"{result.seconds:.2f}", memory, str(result.connections), f"{result.deliveries_per_cpu_second:,.0f}"]


def _ratios(ours: Result, yardstick: Result, viewers: int) -> list[str]:
    return [
        table.ratio(ours.seconds, yardstick.seconds),
        table.ratio(ours.memory, yardstick.memory) if viewers == max(VIEWERS) else "",
        table.ratio(ours.connections, yardstick.connections),
        table.ratio(ours.deliveries_per_cpu_second, yardstick.deliveries_per_cpu_second),
    ]


if __name__ == "__main__":
    main()
