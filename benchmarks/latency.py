"""How long a chunk takes from the plugin daemon to its reader, with many runs at a steady rate below the limit."""

from __future__ import annotations

from benchmarks.support import table
from benchmarks.support.load import Load, running_load
from benchmarks.support.servers import DAEMON_KEY, Subject, both_servers
from tests.support.client import plugin_layers, prompt
from tests.support.plugin_daemon import running_daemon

RUNS = 100
RATE = 20
CHUNKS = 100
SPACING_SECONDS = 0.0105
"""Between the posts of runs, so that their chunks are spread over the interval of the rate."""
MODEL = "latency"


def main() -> None:
    """Print the median, the 99th percentile and the worst of both, and their ratios."""
    count = table.rounds(__doc__, default=2)
    results: dict[str, list[list[float]]] = {}
    with running_daemon(api_key=DAEMON_KEY) as daemon, running_load() as load, both_servers(daemon) as subjects:
        daemon.script(MODEL, [{"stream": {"chunks": CHUNKS, "rate": RATE, "stamped": True}}])
        for _ in range(count):
            for subject in subjects:
                results.setdefault(subject.name, []).append(_measure(subject, load))
    columns = ["p50 ms", "p99 ms", "worst ms", "CPU of a core"]
    table.head(f"chunk to reader, {RUNS} runs of {RATE} chunks/s, medians of {count} rounds", columns)
    medians = {name: [table.median(column) for column in zip(*rows, strict=True)] for name, rows in results.items()}
    for name, (p50, p99, worst, cpu) in medians.items():
        table.row(name, [f"{p50 * 1000:.2f}", f"{p99 * 1000:.2f}", f"{worst * 1000:.1f}", f"{cpu:.0%}"])
    ours, yardstick = (medians[subject.name] for subject in subjects)
    table.row("ratio", [table.ratio(one, other) for one, other in zip(ours, yardstick, strict=True)])


def _measure(subject: Subject, load: Load) -> list[float]:
    """p50, p99 and worst latency in seconds while all runs stream, and the server's share of a core."""
    cpu = subject.cpu()
    layers = [prompt(), *plugin_layers(MODEL)]
    followed = load.follow(subject.url, layers, runs=RUNS, spacing=SPACING_SECONDS, stamped=True)
    share = (subject.cpu() - cpu) / followed.seconds
    if len(followed.latencies) != RUNS * CHUNKS:
        raise RuntimeError(f"{subject.name}: {len(followed.latencies)} chunks came instead of {RUNS * CHUNKS}")
    # All runs stream between the last one's start and the first one's end.
    first_at, last_at = followed.latencies[0][0], followed.latencies[-1][0]
    ramp = RUNS * SPACING_SECONDS + 0.2
    steady = sorted(took for at, took in followed.latencies if first_at + ramp < at < last_at - ramp)
    return [steady[len(steady) // 2], steady[len(steady) * 99 // 100], steady[-1], share]


if __name__ == "__main__":
    main()
