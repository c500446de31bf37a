"""Whole runs with models of every provider, as Dify's clients of each date read them: events, ends and statuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from runtime.protocol.dialects import RULES, Dialect
from tests.clients.pydantic_ai import wires
from tests.clients.pydantic_ai.conftest import ClientOf
from tests.clients.pydantic_ai.environments import Libraries
from tests.clients.pydantic_ai.roads import Runs, roads
from tests.conftest import StartServer
from tests.support.client import RunClient
from tests.support.openai_server import running_openai_server
from tests.support.plugin_daemon import ScriptedDaemon

KNOWS: dict[str, set[str]] = {
    "2026-05-14": set(),
    "2026-05-27": {"run_cancelled"},
    "2026-06-16": {"run_cancelled", "deferred_tool_call"},
    "2026-07-17": {"run_cancelled", "deferred_tool_call", "agent_message_delta", "tokens"},
    "2026-08-10": {"run_cancelled", "deferred_tool_call", "agent_message_delta", "prices", "error_type"},
}
"""The models of each date besides those that all dates have."""

MAY_KINDS = {"part_start", "part_delta", "part_end", "final_result", "function_tool_call"}
OUTPUT_KINDS = {"output_tool_call", "output_tool_result"}
KINDS: dict[str, set[str]] = {
    "2026-05-14": MAY_KINDS,
    "2026-08-10": MAY_KINDS | OUTPUT_KINDS | {"function_tool_result"},
}
PART_KINDS = {"text", "thinking", "tool-call", "builtin-tool-call", "builtin-tool-return", "file"}
DATED = [dialect for dialect in Dialect if dialect is not Dialect.CURRENT]


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedDaemon]:
    with running_openai_server() as server:
        yield server


def runs_of(client: RunClient, daemon: ScriptedDaemon, dialect: str) -> Runs:
    output_tool = "final_result" if dialect == "2026-05-14" else "final_output"
    return Runs(client, daemon, output_tool, defers="deferred_tool_call" in KNOWS[dialect])


def assert_read(libraries: Libraries, dialect: Dialect, runs: Runs, pages: list[dict[str, Any]]) -> None:
    """Asserts that the clients of that date can read everything, and that their servers could continue the sessions."""
    statuses = [runs.client.status(run_id) for run_id in runs.ids]
    snapshots = [snapshot for page in pages if (snapshot := page["events"][-1]["data"].get("session_snapshot"))]
    layers = [layer["runtime_state"] for snapshot in snapshots for layer in snapshot["layers"]]
    histories = [state["messages"] for state in layers if "messages" in state]
    for version in RULES[dialect].clients:
        given = {"knows": sorted(KNOWS[dialect]), "pages": pages, "statuses": statuses}
        assert libraries.ask(version, "runs", given) == []
        assert [
            read["problems"] for read in libraries.ask(version, "read_histories", histories) if read["problems"]
        ] == []


def agent_events(pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["data"] for page in pages for event in page["events"] if event["type"] == "pydantic_ai_event"]


@pytest.mark.parametrize("dialect", DATED)
def test_a_client_of_each_date_reads_runs_of_all_kinds_over_all_roads(
    libraries: Libraries, client_of: ClientOf, daemon: ScriptedDaemon, provider: ScriptedDaemon, dialect: Dialect
) -> None:
    runs = runs_of(client_of(dialect), daemon, dialect)
    runs.begin_all(roads(daemon, provider))

    pages = runs.pages()

    assert_read(libraries, dialect, runs, pages)
    events, ends = agent_events(pages), [page["events"][-1] for page in pages]
    assert {one["event_kind"] for one in events} == KINDS.get(dialect, MAY_KINDS | {"function_tool_result"})
    assert {one["part"]["part_kind"] for one in events if "part" in one} >= PART_KINDS
    deltas = {one["delta"]["part_delta_kind"] for one in events if "delta" in one}
    assert deltas == {"text", "thinking", "tool_call"}
    cancelled = {"run_cancelled"} if dialect != "2026-05-14" else set()
    assert {end["type"] for end in ends} == {"run_succeeded", "run_failed"} | cancelled
    assert any("deferred_tool_call" in end["data"] for end in ends) == runs.defers
    assert any("usage" in end["data"] for end in ends) == bool({"tokens", "prices"} & KNOWS[dialect])


@pytest.mark.parametrize("dialect", [Dialect.MAY_14, Dialect.AUGUST_10])
def test_a_client_reads_every_chunk_where_they_are_not_merged(
    libraries: Libraries, start_server: StartServer, daemon: ScriptedDaemon, provider: ScriptedDaemon, dialect: Dialect
) -> None:
    server = start_server(redis_prefix=f"single-{dialect}", wire_dialect=dialect, delta_merging="off")
    runs = runs_of(RunClient(server.url), daemon, dialect)
    [plugin, *_] = roads(daemon, provider)
    runs.ids.append(runs.client.create(*plugin.layers("single", plugin.wire.rich())))

    pages = runs.pages()

    assert_read(libraries, dialect, runs, pages)
    chunks = [one for one in agent_events(pages) if one["event_kind"] == "part_delta"]
    assert sum(one["delta"].get("content_delta") == "comet " for one in chunks) == wires.CHUNKS - 1
