"""How fast the stored events of a long run reach a reader that starts at the beginning."""

from __future__ import annotations

from typing import Any

from benchmarks.support import table
from benchmarks.support.load import Load, running_load
from benchmarks.support.servers import DAEMON_KEY, Subject, both_servers
from benchmarks.support.transport import Transport
from tests.support.client import demo_llm, prompt
from tests.support.plugin_daemon import running_daemon

WORDS = 10_000


def main() -> None:
    """Prints events per second and CPU of both servers, and their ratios."""
    options = table.options(__doc__, rounds=15)
    results: dict[tuple[str, Transport], list[list[float]]] = {}
    with running_daemon(api_key=DAEMON_KEY) as daemon, running_load() as load, both_servers(daemon) as subjects:
        run_ids = {subject.name: subject.create(_layers()) for subject in subjects}
        for subject in subjects:
            subject.wait_until_ended([run_ids[subject.name]])
        for _ in range(options.rounds):
            for transport in options.transports:
                for subject in subjects:
                    result = _measure(subject, load, run_ids[subject.name], transport)
                    results.setdefault((subject.name, transport), []).append(result)
    columns = ["events/s", "CPU-s per 10k", table.CLIENT_CPU]
    table.head(f"replay of {WORDS:,} events, medians of {options.rounds} readers, one after the other", columns)
    for transport in options.transports:
        rows = [_medians(results[subject.name, transport]) for subject in subjects]
        for subject, (rate, cpu, client) in zip(subjects, rows, strict=True):
            table.row(f"{transport}, {subject.name}", [f"{rate:,.0f}", f"{cpu * 10_000:.4f}", f"{client:.0%}"])
        table.row("ratio", [table.ratio(one, other) for one, other in zip(*(row[:2] for row in rows), strict=True)])


def _layers() -> list[dict[str, Any]]:
    """Returns layers with the demo model, each word of which is one event in every mode of delta merging."""
    return [prompt(), demo_llm(answer="word " * WORDS)]


def _measure(subject: Subject, load: Load, run_id: str, transport: Transport) -> list[float]:
    """Returns events per second, CPU seconds per event, and the load process's share of a core."""
    cpu = subject.cpu()
    replayed = load.replay(subject.url, run_id, transport)
    cpu = subject.cpu() - cpu
    if replayed.events < WORDS:
        raise RuntimeError(f"{subject.name}: only {replayed.events} events came")
    return [replayed.events / replayed.seconds, cpu / replayed.events, replayed.client_share]


def _medians(results: list[list[float]]) -> list[float]:
    return [table.median(column) for column in zip(*results, strict=True)]


if __name__ == "__main__":
    main()
