"""How many chunks of models reach their readers per second, and at what cost: many runs, each with one reader."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.support import table
from benchmarks.support.load import Load, running_load
from benchmarks.support.servers import DAEMON_KEY, Subject, both_servers
from tests.support.client import plugin_layers, prompt
from tests.support.plugin_daemon import running_daemon

CHUNKS = 200
RUNS = (50, 100, 200)
TEXT = "word "
MODEL = "chunks"


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one load. CPU, commands, reads and events are per chunk.

    ``client_share`` is the load process's share of a core.
    """

    chunks_per_second: float
    cpu: float
    commands: float
    reads: float
    events: float
    client_share: float


def main() -> None:
    """Prints both servers and their ratios for each number of runs."""
    count = table.rounds(__doc__, default=1)
    columns = ["chunks/s", "CPU-s per 1k", "commands/chunk", "reads/chunk", "events/chunk", table.CLIENT_CPU]
    with running_daemon(api_key=DAEMON_KEY) as daemon, running_load() as load, both_servers(daemon) as subjects:
        daemon.script(MODEL, [{"stream": {"chunks": CHUNKS, "text": TEXT}}])
        table.head(f"chunks delivered, {CHUNKS} a run, medians of {count} rounds", columns)
        for runs in RUNS:
            results: dict[str, list[Result]] = {subject.name: [] for subject in subjects}
            for _ in range(count):
                for subject in subjects:
                    results[subject.name].append(_measure(subject, load, runs))
            ours, yardstick = (_median(results[subject.name]) for subject in subjects)
            for subject, result in zip(subjects, (ours, yardstick), strict=True):
                table.row(f"{runs} runs, {subject.name}", _cells(result))
            table.row("ratio", _ratios(ours, yardstick))


def _measure(subject: Subject, load: Load, runs: int) -> Result:
    cpu, work = subject.cpu(), subject.redis_work()
    followed = load.follow(subject.url, [prompt(), *plugin_layers(MODEL)], runs=runs)
    cpu_after, work_after = subject.cpu(), subject.redis_work()
    chunks = runs * CHUNKS
    if followed.chars != chunks * len(TEXT):
        raise RuntimeError(f"{subject.name}: {followed.chars} characters came instead of {chunks * len(TEXT)}")
    return Result(
        chunks_per_second=chunks / followed.seconds,
        cpu=(cpu_after - cpu) / chunks,
        commands=(work_after.commands - work.commands) / chunks,
        reads=(work_after.reads - work.reads) / chunks,
        events=followed.events / chunks,
        client_share=followed.client_share,
    )


def _median(results: list[Result]) -> Result:
    return Result(
        chunks_per_second=table.median([result.chunks_per_second for result in results]),
        cpu=table.median([result.cpu for result in results]),
        commands=table.median([result.commands for result in results]),
        reads=table.median([result.reads for result in results]),
        events=table.median([result.events for result in results]),
        client_share=table.median([result.client_share for result in results]),
    )


def _cells(result: Result) -> list[str]:
    return [
        f"{result.chunks_per_second:,.0f}",
        f"{result.cpu * 1000:.3f}",
        f"{result.commands:.3f}",
        f"{result.reads:.3f}",
        f"{result.events:.3f}",
        f"{result.client_share:.0%}",
    ]


def _ratios(ours: Result, yardstick: Result) -> list[str]:
    return [
        table.ratio(ours.chunks_per_second, yardstick.chunks_per_second),
        table.ratio(ours.cpu, yardstick.cpu),
        table.ratio(ours.commands, yardstick.commands),
        table.ratio(ours.reads, yardstick.reads),
        table.ratio(ours.events, yardstick.events),
    ]


if __name__ == "__main__":
    main()
