"""How long it takes to list and read agents in a large database, and how the database finds their rows."""

from __future__ import annotations

import argparse
import itertools
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, Table, event, insert

from benchmarks.support import table
from models import Agent, AgentConfigRevision, AgentConfigSnapshot
from models.enums import AgentScope, AgentSource, AgentStatus, RevisionOperation
from runtime.protocol.ids import new_id
from services.agents.history import VersionService
from services.agents.roster import AgentService
from services.database import Database
from services.souls import AgentSoulConfig
from services.souls.digest import DIGEST_PREFIX, digest_of
from tests.support.databases import migrate, open_database
from tests.support.postgres_server import no_postgres, running_postgres

LARGE_TENANT = "large"
LARGE_SHARE = 0.6
SMALL_TENANT_AGENTS = 100
MOST_VERSIONS = 1000
RESTORES = 100
"""Restores of the first version, for the agent with the most versions."""
TOPICS = ["invoices", "contracts", "travel", "payroll", "support", "hiring", "security", "research"]
PLACES = ["Berlin", "Lagos", "Osaka", "Lima", "Oslo", "Austin", "Pune", "Cairo"]
COMMON_WORD = TOPICS[0]
SCAN_MATTERS_ROWS = 10_000
"""A smaller table may be scanned: that is often the fastest way to read it."""
SCAN_MARK = "   <== SCANS THE WHOLE TABLE"
WIDE_MARK = "   <== READS ALL VERSIONS OF A TENANT"
RANGE_MARK = "   <- the range of one tenant"
TENANT_RANGE = re.compile(r"SEARCH (\w+) .*\(tenant_id(=\?)?((,| AND) roster_unique_name[^ )]*)?\)")
MOST_SECONDS = 15.0
"""The most time for all calls of one kind. If it is exceeded, fewer calls are made."""
BATCH = 50_000
TIMEOUT_SECONDS = 120.0
MODELS = (Agent, AgentConfigSnapshot, AgentConfigRevision)
TABLES: list[Table] = [Agent.metadata.tables[model.__tablename__] for model in MODELS]


@dataclass(slots=True)
class Filled:
    """An agent that is in the database, or will be."""

    tenant_id: str
    versions: int
    name: str
    id: str = field(default_factory=new_id)
    scope: AgentScope = AgentScope.ROSTER
    status: AgentStatus = AgentStatus.ACTIVE
    snapshots: list[str] = field(default_factory=list)

    @property
    def is_listed(self) -> bool:
        return self.scope is AgentScope.ROSTER and self.status is AgentStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class Case:
    """One call of a service as a route makes it, and the part of its result that the route sends."""

    name: str
    call: Callable[[], object]


def main() -> int:
    """Prints times and plans on both databases. Returns 1 when a read takes a scan."""
    options = _options()
    print(f"{options.agents:,} agents, {LARGE_SHARE:.0%} of them in one tenant; {options.snapshots:,} snapshots")
    print("A range of one tenant is read from its start until the page is full, and to its end to count or to search.")
    print("Times are of the functions of services that the routes call, with the answer as JSON values, without HTTP.")
    wasteful = 0
    with tempfile.TemporaryDirectory(prefix="roster-") as folder:
        wasteful += _fill_and_measure("SQLite", f"sqlite:///{folder}/roster.db", options)
    if reason := no_postgres():
        print(f"\nPostgreSQL: skipped, it {reason}")
    else:
        with running_postgres() as server:
            wasteful += _fill_and_measure("PostgreSQL without fsync", server.create_database(), options)
    print(f"\n{wasteful} kinds of calls read far more than they need" if wasteful else "\nno call scans a large table")
    return 1 if wasteful else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=100_000)
    parser.add_argument("--snapshots", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=200, help="of each kind")
    options = parser.parse_args()
    if options.agents < 2 * SMALL_TENANT_AGENTS or options.snapshots < 2 * options.agents or options.calls < 2:
        parser.error(f"at least {2 * SMALL_TENANT_AGENTS} agents, two snapshots for each of them, and two calls")
    return options


def _fill_and_measure(title: str, url: str, options: argparse.Namespace) -> int:
    """Prints times and plans of one database. Returns how many cases read far more than they need."""
    started = time.monotonic()
    migrate(url)
    agents = _agents(options.agents, options.snapshots)
    with closing(open_database(url, timeout_seconds=TIMEOUT_SECONDS)) as database:
        _fill(database, agents)
        print(f"\n{title} is filled after {time.monotonic() - started:.0f} s", flush=True)
        wasteful = 0
        if url.startswith("sqlite"):
            wasteful += _measure(f"{title}, as it is until somebody runs ANALYZE", database, agents, options)
            with database.migrating() as connection:
                connection.exec_driver_sql("ANALYZE")
            database.close()
        else:
            # Otherwise PostgreSQL does this later, in the background.
            with psycopg.connect(url, autocommit=True) as plain:
                plain.execute("VACUUM (ANALYZE)")
        return wasteful + _measure(f"{title}, after ANALYZE", database, agents, options)


def _measure(title: str, database: Database, agents: list[Filled], options: argparse.Namespace) -> int:
    cases = _cases(database, agents)
    large = {each.name for each in TABLES if _size(each, options) >= SCAN_MATTERS_ROWS}
    wasteful: set[str] = set()
    table.head(title, ["p50", "p99", "calls", "table scans"])
    for case in cases:
        before = _sequential_scans(database, large)
        seconds = _times(case, options.calls)
        scans = None if before is None else (_sequential_scans(database, large) or 0) - before
        wasteful |= {case.name} if scans else set()
        p50, p99 = (seconds[round(share * (len(seconds) - 1))] * 1000 for share in (0.50, 0.99))
        cells = [f"{p50:.2f} ms", f"{p99:.2f} ms", str(len(seconds)), "-" if scans is None else str(scans)]
        table.row(case.name, cells)
    wasteful |= {case.name for case in cases if _print_plans(database, case, large)}
    return len(wasteful)


def _cases(database: Database, agents: list[Filled]) -> list[Case]:
    service, versions = AgentService(database), VersionService(database)
    chooser = random.Random(2)  # noqa: S311
    mine = [agent for agent in agents if agent.tenant_id == LARGE_TENANT and agent.is_listed]
    last_page, longest = (len(mine) + 19) // 20, agents[0]

    def page(number: int, tenant_id: str = LARGE_TENANT, keyword: str | None = None) -> object:
        return service.list_agents(tenant_id, page=number, limit=20, keyword=keyword).as_json()

    def versions_of(agent: Filled, limit: int) -> object:
        return versions.list_versions(agent.tenant_id, agent.id, limit=limit).as_json()

    def detail(agent: Filled, version_id: str) -> object:
        return versions.get_version(agent.tenant_id, agent.id, version_id).as_json()

    def any_detail() -> object:
        agent = chooser.choice(mine)
        return detail(agent, chooser.choice(agent.snapshots))

    return [
        Case("list, page 1", lambda: page(1)),
        Case(f"list, page {last_page:,}, the last", lambda: page(last_page)),
        Case(f"list, keyword in 1 of {len(TOPICS)} names", lambda: page(1, keyword=COMMON_WORD.upper())),
        Case("list, keyword in one name", lambda: page(1, keyword=chooser.choice(mine).name.rpartition(" ")[2])),
        Case("list, page 1 of a small tenant", lambda: page(1, tenant_id=agents[-1].tenant_id)),
        Case("read an agent", lambda: service.get_agent(LARGE_TENANT, chooser.choice(mine).id).as_json()),
        Case(f"versions, all {len(longest.snapshots):,} of one", lambda: versions_of(longest, MOST_VERSIONS)),
        Case(f"versions, 20 of {len(longest.snapshots):,}", lambda: versions_of(longest, 20)),
        Case("version with its history", any_detail),
        Case(f"version restored {RESTORES} times", lambda: detail(longest, longest.snapshots[0])),
    ]


def _times(case: Case, calls: int) -> list[float]:
    """Returns how many seconds each call took, the shortest first."""
    seconds: list[float] = []
    while len(seconds) < 2 or (len(seconds) < calls and sum(seconds) < MOST_SECONDS):
        started = time.perf_counter()
        case.call()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)


def _size(of: Table, options: argparse.Namespace) -> int:
    return int(options.agents if of.name == Agent.__tablename__ else options.snapshots)


def _sequential_scans(database: Database, tables: set[str]) -> int | None:
    """Returns how often PostgreSQL has scanned one of the tables so far; None for SQLite and before PostgreSQL 15.

    PostgreSQL may run a frequent statement with another plan than the one that it explains.
    """
    with database.reading() as session:
        connection = session.connection()
        if connection.dialect.name == "sqlite" or (connection.dialect.server_version_info or (0,)) < (15,):
            return None
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    with database.reading() as session:
        told = session.connection().exec_driver_sql("SELECT relname, seq_scan FROM pg_stat_user_tables")
        return sum(row.seq_scan for row in told if row.relname in tables)


# The rows.


def _agents(count: int, snapshots: int) -> list[Filled]:
    """Returns all agents. The first, of the large tenant, has the most versions; the last is of a small tenant."""
    chooser = random.Random(1)  # noqa: S311
    most = min(MOST_VERSIONS, snapshots // 100)
    each, more = divmod(snapshots - most, count - 1)
    large = int(count * LARGE_SHARE)
    small = [f"small-{number // SMALL_TENANT_AGENTS}" for number in range(count - large)]
    tenants = [LARGE_TENANT] * (large - 1) + small[:-1]
    chooser.shuffle(tenants)
    agents = []
    for number, tenant_id in enumerate([LARGE_TENANT, *tenants, small[-1]]):
        name = f"{chooser.choice(TOPICS).title()} assistant for {chooser.choice(PLACES)} {number:06}"
        agent = Filled(tenant_id, each + (number <= more), name)
        agent.scope = chooser.choices(list(AgentScope), (95, 5))[0] if number else AgentScope.ROSTER
        agent.status = chooser.choices(list(AgentStatus), (95, 5))[0] if number else AgentStatus.ACTIVE
        agents.append(agent)
    agents[0].versions = most
    return agents


def _fill(database: Database, agents: list[Filled]) -> None:
    """Fills the database. Indexes are built at the end, as in any bulk load; the rows are made to fit foreign keys."""
    indexes = [index for each in TABLES for index in each.indexes]
    with database.migrating() as connection:
        for index in indexes:
            index.drop(connection)
    versions = _versions(agents)
    while batch := list(itertools.islice(versions, BATCH)):
        with database.migrating() as connection:
            _prepare(connection)
            if snapshots := [row for row, _ in batch if row]:
                connection.execute(insert(AgentConfigSnapshot), snapshots)
            connection.execute(insert(AgentConfigRevision), [row for _, row in batch])
    with database.migrating() as connection:
        _prepare(connection)
        connection.execute(insert(Agent), list(_rows(agents)))
        for index in indexes:
            index.create(connection)


def _prepare(connection: Connection) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    connection.exec_driver_sql(
        "PRAGMA cache_size = -500000" if is_sqlite else "SET LOCAL session_replication_role = replica"
    )


def _versions(agents: list[Filled]) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any]]]:
    """Yields snapshots with their revisions, and at the end revisions alone.

    The versions of an agent lie far apart, as in practice.
    """
    souls = [(soul, digest_of(soul).removeprefix(DIGEST_PREFIX)) for soul in map(_soul, range(100))]
    first = datetime.now(UTC) - timedelta(days=365)
    numbers = itertools.count()
    for version in range(1, max(agent.versions for agent in agents) + 1):
        for agent in agents:
            if agent.versions < version:
                continue
            number, snapshot_id = next(numbers), new_id()
            common: dict[str, Any] = {"tenant_id": agent.tenant_id, "agent_id": agent.id, "created_by": "somebody"}
            common |= {"created_at": first + timedelta(seconds=number), "version_note": f"the change number {number}"}
            soul, digest = souls[number % len(souls)]
            snapshot = {"id": snapshot_id, "version": version, "config_snapshot": soul, "digest": digest, **common}
            yield snapshot, _revision(agent, version, snapshot_id) | common
            agent.snapshots.append(snapshot_id)
    longest = agents[0]
    for revision in range(longest.versions + 1, longest.versions + RESTORES + 1):
        common = {"tenant_id": longest.tenant_id, "agent_id": longest.id, "created_by": "somebody"}
        common |= {"created_at": datetime.now(UTC), "version_note": None}
        yield None, _revision(longest, revision, longest.snapshots[0]) | common


def _revision(agent: Filled, revision: int, snapshot_id: str) -> dict[str, Any]:
    return {
        "id": new_id(),
        "revision": revision,
        "operation": RevisionOperation.SAVE_NEW_VERSION,
        "previous_snapshot_id": agent.snapshots[-1] if agent.snapshots else None,
        "current_snapshot_id": snapshot_id,
    }


def _rows(agents: list[Filled]) -> Iterator[dict[str, Any]]:
    chooser = random.Random(3)  # noqa: S311
    first = datetime.now(UTC) - timedelta(days=365)
    for agent in agents:
        created_at = first + timedelta(seconds=chooser.randrange(180 * 86400))
        yield {
            "id": agent.id,
            "tenant_id": agent.tenant_id,
            "name": agent.name,
            "description": "Answers what colleagues ask, and asks a person when it does not know.",
            "scope": agent.scope,
            "source": AgentSource.ROSTER,
            "status": agent.status,
            "active_config_snapshot_id": agent.snapshots[-1],
            "created_at": created_at,
            "updated_at": created_at + timedelta(seconds=chooser.randrange(180 * 86400)),
        }


def _soul(number: int) -> dict[str, Any]:
    """Returns a Soul of about a kilobyte."""
    model = {"plugin_id": "greenrun/demo", "model_provider": "demo", "model": f"demo-{number}"}
    prompt = f"You are assistant {number}. " + "Answer in full sentences and name your sources. " * 5
    variables = [{"name": f"variable_{index}", "type": "string", "required": index < 2} for index in range(3)]
    given = {"prompt": {"system_prompt": prompt}, "model": model, "app_variables": variables}
    return AgentSoulConfig.model_validate(given).as_json()


# The plans.


def _print_plans(database: Database, case: Case, large: set[str]) -> bool:
    """Prints how each query of a case finds its rows. Returns whether one reads far more than it needs."""
    print(f"\n{case.name}")
    marks: set[str] = set()
    for statement, parameters in _queries(case):
        is_count = "count(" in statement.partition("FROM")[0]
        print(f"  {'count' if is_count else 'rows'} of {_table_of(statement)}")
        with database.reading() as session:
            plan = _plan(session.connection(), statement, parameters)
        for step in plan:
            marks.add(mark := _mark(step, large))
            print(f"    {step}{mark}")
    return not marks.isdisjoint({SCAN_MARK, WIDE_MARK})


def _mark(step: str, large: set[str]) -> str:
    """Marks a scan, which reads every row or every entry of an index: no case needs all versions of a tenant."""
    if scanned := re.match(r"SCAN (\w+)", step):
        return SCAN_MARK if scanned.group(1) in large else ""
    if ranged := TENANT_RANGE.match(step):
        return WIDE_MARK if ranged.group(1) in large - {Agent.__tablename__} else RANGE_MARK
    return ""


def _queries(case: Case) -> list[tuple[str, Any]]:
    """Returns the statements that one call sends to the large tables, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if statement.startswith("SELECT") and _table_of(statement) in {each.name for each in TABLES}:
            seen.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        case.call()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert seen, f"{case.name} asks nothing"
    return seen


def _table_of(statement: str) -> str:
    found = re.search(r"FROM (\w+)", statement)
    return found.group(1) if found else ""


def _plan(connection: Connection, statement: str, parameters: Any) -> list[str]:
    if connection.dialect.name == "sqlite":
        return [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    told = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    return list(_steps(told[0]["Plan"]))


def _steps(node: dict[str, Any], of: str = "") -> Iterator[str]:
    """Yields the steps of PostgreSQL's plan that choose or sort rows, in the terms of SQLite."""
    kind, name, condition = node["Node Type"], node.get("Relation Name", of), node.get("Index Cond")
    for child in node.get("Plans", []):
        yield from _steps(child, name)
    columns = {column.name for each in TABLES for column in each.columns}
    used = dict.fromkeys(word for word in re.findall(r"\w+", condition or "") if word in columns)
    if "Sort" in kind:
        yield f"{kind} by {', '.join(node['Sort Key'])}"
    elif "Scan" in kind and kind != "Bitmap Heap Scan":
        index = f" {node['Index Name']} ({', '.join(used)})" if "Index Name" in node else ""
        yield f"{'SEARCH' if condition else 'SCAN'} {name} by {kind}{index}{', filter' if 'Filter' in node else ''}"


if __name__ == "__main__":
    sys.exit(main())
