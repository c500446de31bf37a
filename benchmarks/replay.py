"""How fast the stored events of a long run reach a reader that starts at the beginning."""

from __future__ import annotations

from typing import Any

from benchmarks.support import table
from benchmarks.support.load import Load, running_load
from benchmarks.support.servers import DAEMON_KEY, Subject, both_servers
from tests.support.client import demo_llm, prompt
from tests.support.plugin_daemon import running_daemon

WORDS = 10_000


def main() -> None:
    """Print events a second and CPU of both, and their ratios."""
    count = table.rounds(__doc__, default=5)
    results: dict[str, list[list[float]]] = {}
    with running_daemon(api_key=DAEMON_KEY) as daemon, running_load() as load, both_servers(daemon) as subjects:
        run_ids = {subject.name: subject.create(_layers()) for subject in subjects}
        for subject in subjects:
            subject.wait_until_ended([run_ids[subject.name]])
        for _ in range(count):
            for subject in subjects:
                results.setdefault(subject.name, []).append(_measure(subject, load, run_ids[subject.name]))
    table.head(f"replay of {WORDS:,} events, medians of {count} rounds", ["events/s", "CPU-s per 10k"])
    medians = {name: [table.median(column) for column in zip(*rows, strict=True)] for name, rows in results.items()}
    for name, (rate, cpu) in medians.items():
        table.row(name, [f"{rate:,.0f}", f"{cpu * 10_000:.3f}"])
    ours, yardstick = (medians[subject.name] for subject in subjects)
    table.row("ratio", [table.ratio(one, other) for one, other in zip(ours, yardstick, strict=True)])


def _layers() -> list[dict[str, Any]]:
    """The demo model's words are events of their own in every mode of delta merging."""
    return [prompt(), demo_llm(answer="word " * WORDS)]


def _measure(subject: Subject, load: Load, run_id: str) -> list[float]:
    """Events a second, and CPU-s an event."""
    cpu = subject.cpu()
    seconds, events = load.replay(subject.url, run_id)
    if events < WORDS:
        raise RuntimeError(f"{subject.name}: only {events} events came")
    return [events / seconds, (subject.cpu() - cpu) / events]


if __name__ == "__main__":
    main()
