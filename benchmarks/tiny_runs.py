"""What a run costs that does almost nothing, compared with the yardstick and with Pydantic AI alone in one process."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterable
from dataclasses import dataclass

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import AgentStreamEvent

from benchmarks.support import table
from benchmarks.support.load import Load, running_load
from benchmarks.support.servers import DAEMON_KEY, Subject, both_servers, tiny_layers
from benchmarks.support.transport import Transport
from runtime.llm.demo import DemoModel, DemoScript
from runtime.llm.usage import UsageLedger
from tests.support.gunicorn_server import CHECKOUT
from tests.support.plugin_daemon import running_daemon

RUNS = 400
BARE_AT_ONCE = 32
BARE_OPTION = "--bare"


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one load. ``cpu`` is seconds per run; ``client_share`` is the load process's share of a core."""

    runs_per_second: float
    cpu: float
    client_share: float | None = None


def main() -> None:
    """Prints runs per second and CPU per run, without and with a reader for each run."""
    if BARE_OPTION in sys.argv:
        print(json.dumps(_bare_runs()))
        return
    count = table.rounds(__doc__, default=2)
    results: dict[str, list[Result]] = {}

    def add(name: str, result: Result) -> None:
        results.setdefault(name, []).append(result)

    with running_daemon(api_key=DAEMON_KEY) as daemon, running_load() as load, both_servers(daemon) as subjects:
        for _ in range(count):
            for read in (False, True):
                for subject in subjects:
                    add(_name(subject, read), _measure(subject, load, read))
            without_events, with_events = _measure_bare()
            add("bare Agent.run", without_events)
            add("bare Agent.run, events discarded", with_events)
    table.head(f"{RUNS} tiny runs, medians of {count} rounds", ["runs/s", "CPU-ms a run", table.CLIENT_CPU])
    medians = {name: _median(found) for name, found in results.items()}
    for name, result in medians.items():
        client = "" if result.client_share is None else f"{result.client_share:.0%}"
        table.row(name, [f"{result.runs_per_second:.0f}", f"{result.cpu * 1000:.2f}", client])
    for read in (False, True):
        ours, yardstick = (medians[_name(subject, read)] for subject in subjects)
        cells = [table.ratio(ours.runs_per_second, yardstick.runs_per_second), table.ratio(ours.cpu, yardstick.cpu)]
        table.row("ratio" + _suffix(read), cells)
    bare = medians["bare Agent.run"]
    more = medians[_name(subjects[0], False)].cpu - bare.cpu
    table.row("ours above bare Agent.run", ["", f"{more * 1000:+.2f}"])


def _name(subject: Subject, read: bool) -> str:
    return subject.name + _suffix(read)


def _suffix(read: bool) -> str:
    return ", each followed" if read else ""


def _measure(subject: Subject, load: Load, read: bool) -> Result:
    cpu, began = subject.cpu(), time.monotonic()
    followed = load.follow(subject.url, tiny_layers(), runs=RUNS, transport=Transport.SSE if read else None)
    subject.wait_until_ended(followed.run_ids)
    # With readers, use the load's own time: it then still checks what it has read.
    seconds = followed.seconds if read else time.monotonic() - began
    return Result(RUNS / seconds, (subject.cpu() - cpu) / RUNS, followed.client_share)


def _measure_bare() -> tuple[Result, Result]:
    command = [sys.executable, "-m", "benchmarks.tiny_runs", BARE_OPTION]
    printed = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    without_events, with_events = json.loads(printed)
    return Result(*without_events), Result(*with_events)


def _bare_runs() -> list[tuple[float, float]]:
    """Returns runs per second and CPU per run, without and with events; garbage collection is set as in our workers."""
    agent: Agent[None, str] = Agent(name="bare")
    _time_bare(agent, with_events=True)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    return [_time_bare(agent, with_events=False), _time_bare(agent, with_events=True)]


def _time_bare(agent: Agent[None, str], *, with_events: bool) -> tuple[float, float]:
    async def discard(_: RunContext[None], events: AsyncIterable[AgentStreamEvent]) -> None:
        async for _event in events:
            pass

    async def some() -> None:
        for _ in range(RUNS // BARE_AT_ONCE):
            model = DemoModel(DemoScript(answer="ok"), UsageLedger())
            handler = discard if with_events else None
            await agent.run("Hello", model=model, event_stream_handler=handler, infer_name=False)

    async def all_of_them() -> None:
        await asyncio.gather(*(some() for _ in range(BARE_AT_ONCE)))

    began, cpu = time.monotonic(), time.process_time()
    asyncio.run(all_of_them())
    runs = RUNS // BARE_AT_ONCE * BARE_AT_ONCE
    return runs / (time.monotonic() - began), (time.process_time() - cpu) / runs


def _median(results: list[Result]) -> Result:
    shares = [result.client_share for result in results if result.client_share is not None]
    return Result(
        runs_per_second=table.median([result.runs_per_second for result in results]),
        cpu=table.median([result.cpu for result in results]),
        client_share=table.median(shares) if shares else None,
    )


if __name__ == "__main__":
    main()
