"""How long a chunk takes from the plugin daemon to its reader, with many runs at a steady rate below the limit."""

from __future__ import annotations

from benchmarks.support import table
from benchmarks.support.load import Load, running_load
from benchmarks.support.servers import DAEMON_KEY, Subject, both_servers
from benchmarks.support.transport import Transport
from tests.support.client import plugin_layers, prompt
from tests.support.plugin_daemon import running_daemon

RUNS = 100
RATE = 20
CHUNKS = 100
SPACING_SECONDS = 0.0105
"""The time between posts of runs, so that their chunks are spread over the interval of the rate."""
MODEL = "latency"


def main() -> None:
    """Prints the median, the 99th percentile and the maximum of both servers, and their ratios."""
    options = table.options(__doc__, rounds=2)
    results: dict[tuple[str, Transport], list[list[float]]] = {}
    with running_daemon(api_key=DAEMON_KEY) as daemon, running_load() as load, both_servers(daemon) as subjects:
        daemon.script(MODEL, [{"stream": {"chunks": CHUNKS, "rate": RATE, "stamped": True}}])
        for _ in range(options.rounds):
            for transport in options.transports:
                for subject in subjects:
                    results.setdefault((subject.name, transport), []).append(_measure(subject, load, transport))
    columns = ["p50 ms", "p99 ms", "worst ms", "CPU of a core", table.CLIENT_CPU]
    table.head(f"chunk to reader, {RUNS} runs of {RATE} chunks/s, medians of {options.rounds} rounds", columns)
    for transport in options.transports:
        rows = [_medians(results[subject.name, transport]) for subject in subjects]
        for subject, (p50, p99, worst, cpu, client) in zip(subjects, rows, strict=True):
            times = [f"{p50 * 1000:.2f}", f"{p99 * 1000:.2f}", f"{worst * 1000:.1f}"]
            table.row(f"{transport}, {subject.name}", [*times, f"{cpu:.0%}", f"{client:.0%}"])
        table.row("ratio", [table.ratio(one, other) for one, other in zip(*(row[:4] for row in rows), strict=True)])


def _measure(subject: Subject, load: Load, transport: Transport) -> list[float]:
    """Returns p50, p99 and maximum latency while all runs stream, and the shares of a core of server and load.

    Latencies are in seconds.
    """
    cpu = subject.cpu()
    layers = [prompt(), *plugin_layers(MODEL)]
    followed = load.follow(subject.url, layers, runs=RUNS, spacing=SPACING_SECONDS, transport=transport, stamped=True)
    share = (subject.cpu() - cpu) / followed.seconds
    if len(followed.latencies) != RUNS * CHUNKS:
        raise RuntimeError(f"{subject.name}: {len(followed.latencies)} chunks came instead of {RUNS * CHUNKS}")
    # All runs stream between the last one's start and the first one's end.
    first_at, last_at = followed.latencies[0][0], followed.latencies[-1][0]
    ramp = RUNS * SPACING_SECONDS + 0.2
    steady = sorted(took for at, took in followed.latencies if first_at + ramp < at < last_at - ramp)
    return [steady[len(steady) // 2], steady[len(steady) * 99 // 100], steady[-1], share, followed.client_share]


def _medians(results: list[list[float]]) -> list[float]:
    return [table.median(column) for column in zip(*results, strict=True)]


if __name__ == "__main__":
    main()
