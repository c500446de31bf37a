"""A thousand live runs with one reader each: how far behind its run a reader ends, and what that costs."""

from __future__ import annotations

import time
from dataclasses import astuple, dataclass

from benchmarks.support import table
from benchmarks.support.load import Load, running_load
from benchmarks.support.measure import raise_descriptor_limit
from benchmarks.support.servers import DAEMON_KEY, Subject, both_servers, wait_for_models
from benchmarks.support.transport import Transport
from tests.support.client import plugin_layers, prompt
from tests.support.plugin_daemon import ScriptedDaemon, running_daemon

RUNS = 1000
CHUNKS = 20
RATE = 5
SETTLE_SECONDS = 2.0
COLUMNS = [
    "lag p50 ms",
    "lag p99 ms",
    "worst ms",
    "all ended s",
    "CPU-ms, begin",
    "CPU-ms, end",
    "KiB",
    "Redis conns",
    table.CLIENT_CPU,
]


@dataclass(frozen=True, slots=True)
class Result:
    """Times in seconds.

    A lag is the time from a run's end in Redis to its reader's end. ``ended`` is the time from the model's first chunks
    to the last reader's end. CPU and ``memory``, in bytes, are per run and its reader: first to be accepted, to start
    and to be joined, and then to stream and end. Memory and ``connections`` to Redis are counted while all wait for
    their models.
    """

    lag: float
    lag_99: float
    lag_worst: float
    ended: float
    cpu_to_begin: float
    cpu_to_end: float
    memory: float
    connections: float
    client_share: float


def main() -> None:
    """Prints both servers and their ratios for each transport."""
    options = table.options(__doc__, rounds=1)
    raise_descriptor_limit()
    table.head(
        f"{RUNS:,} runs of {CHUNKS} chunks at {RATE}/s that begin to stream at once, a reader each, "
        f"medians of {options.rounds} rounds",
        COLUMNS,
    )
    with running_daemon(api_key=DAEMON_KEY) as daemon:
        for transport in options.transports:
            results: dict[str, list[Result]] = {}
            for _ in range(options.rounds):
                # New processes each time: memory that one has freed and uses again does not show as new.
                with running_load() as load, both_servers(daemon) as subjects:
                    for subject in subjects:
                        results.setdefault(subject.name, []).append(_measure(subject, daemon, load, transport))
            ours, yardstick = (_median(results[subject.name]) for subject in subjects)
            for subject, result in zip(subjects, (ours, yardstick), strict=True):
                table.row(f"{transport}, {subject.name}", _cells(result))
            table.row("ratio", _ratios(ours, yardstick))


def _measure(subject: Subject, daemon: ScriptedDaemon, load: Load, transport: Transport) -> Result:
    model = f"one-to-one-{time.monotonic_ns()}"
    daemon.script(model, [{"wait": model}, {"stream": {"chunks": CHUNKS, "rate": RATE}}])
    memory, cpu = subject.memory(), subject.cpu()
    run_ids = load.follow(subject.url, [prompt(), *plugin_layers(model)], runs=RUNS, transport=None).run_ids
    load.join(subject.url, run_ids, RUNS, transport)
    wait_for_models(daemon, RUNS)
    time.sleep(SETTLE_SECONDS)
    begun_cpu, memory = subject.cpu(), subject.memory() - memory
    connections = subject.redis_work().clients
    client_cpu, released_at = load.cpu(), time.monotonic()
    daemon.release(model)
    left = load.leave()
    subject.wait_until_ended(run_ids)
    return Result(
        lag=left.lags[RUNS // 2],
        lag_99=left.lags[RUNS * 99 // 100],
        lag_worst=left.lags[-1],
        ended=left.last_at - released_at,
        cpu_to_begin=(begun_cpu - cpu) / RUNS,
        cpu_to_end=(subject.cpu() - begun_cpu) / RUNS,
        memory=memory / RUNS,
        connections=connections,
        client_share=(left.client_cpu - client_cpu) / (left.closed_at - released_at),
    )


def _median(results: list[Result]) -> Result:
    return Result(*(table.median(column) for column in zip(*map(astuple, results), strict=True)))


def _cells(result: Result) -> list[str]:
    return [
        f"{result.lag * 1000:.0f}",
        f"{result.lag_99 * 1000:.0f}",
        f"{result.lag_worst * 1000:.0f}",
        f"{result.ended:.2f}",
        f"{result.cpu_to_begin * 1000:.2f}",
        f"{result.cpu_to_end * 1000:.2f}",
        f"{result.memory / 1024:.1f}",
        f"{result.connections:,.0f}",
        f"{result.client_share:.0%}",
    ]


def _ratios(ours: Result, yardstick: Result) -> list[str]:
    """Returns the ratios of all columns but the client's."""
    return [table.ratio(one, other) for one, other in zip(astuple(ours)[:-1], astuple(yardstick)[:-1], strict=True)]


if __name__ == "__main__":
    main()
