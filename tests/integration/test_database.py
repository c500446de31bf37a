"""Migrations and transactions on SQLite and PostgreSQL, and servers whose database is missing or away."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from dev.stop_signals import wait_until
from errors import DatabaseUnavailable, MigrationsPending
from models import Base, Credential
from runtime.protocol.ids import new_id
from services import migrations
from services.database import Database, DatabaseConfig
from tests.conftest import StartServer
from tests.support.client import RunClient, demo_llm, prompt
from tests.support.databases import POSTGRESQL, SQLITE, migrate, open_database, sqlite_file
from tests.support.gunicorn_server import CHECKOUT
from tests.support.patched import run_scenario
from tests.support.postgres_server import PostgresServer

PATIENCE = 60.0
SCENARIOS = "tests.unit.scenarios.database"


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Database]:
    database = open_database(empty_database_url)
    yield database
    database.close()


@pytest.fixture
def tenant() -> str:
    return new_id()


def credential(tenant: str, name: str = "openai") -> Credential:
    return Credential(tenant_id=tenant, name=name, provider="p", encrypted_values="e", last4="1234", fingerprint="f")


class Failed(Exception):
    """An error raised inside a transaction."""


def raise_failed() -> None:
    raise Failed


def store_and(database: Database, tenant: str, do: Callable[[], None]) -> None:
    """Stores a row and calls ``then`` before the transaction ends."""
    with database.transaction() as session:
        session.add(credential(tenant, "late"))
        session.flush()
        do()


def count(database: Database, tenant: str) -> int:
    with database.reading() as session:
        mine = select(func.count()).select_from(Credential).where(Credential.tenant_id == tenant)
        return session.scalars(mine).one()


def steps_of(database: Database, direction: str, revision: str) -> list[str]:
    steps: list[str] = []
    with database.migrating() as connection:
        getattr(migrations, direction)(connection, revision, told=steps.append)
    return [step.split(" ")[1] for step in steps]


def tables(connection: Connection) -> set[str]:
    return set(connection.dialect.get_table_names(connection)) - {migrations.VERSION_TABLE}


def flask(*arguments: str, url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(CHECKOUT), "DIFY_AGENT_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_migrated_database_is_what_the_models_say(empty: Database) -> None:
    steps_of(empty, "upgrade", migrations.NEWEST)

    with empty.migrating() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert tables(connection) == set(Base.metadata.tables)


def test_migrations_go_up_down_and_up_again(empty: Database) -> None:
    assert steps_of(empty, "upgrade", migrations.NEWEST) == migrations.revisions()

    assert steps_of(empty, "downgrade", migrations.EMPTY) == migrations.revisions()[::-1]
    with empty.migrating() as connection:
        assert tables(connection) == set()

    assert steps_of(empty, "upgrade", migrations.NEWEST) == migrations.revisions()
    assert steps_of(empty, "upgrade", migrations.NEWEST) == []


def test_migration_files_are_named_after_their_revisions() -> None:
    scripts = ScriptDirectory(str(migrations.FOLDER))

    assert migrations.revisions() == [script.revision for script in scripts.walk_revisions()][::-1]
    assert len(scripts.get_heads()) == 1


def test_a_migration_that_fails_changes_nothing(empty: Database) -> None:
    def migrate_and_fail() -> None:
        with empty.migrating() as connection:
            migrations.upgrade(connection, told=lambda _: None)
            raise Failed

    with pytest.raises(Failed):
        migrate_and_fail()

    assert empty.problem() == "migrations_pending"
    with empty.migrating() as connection:
        assert tables(connection) == set()


def test_an_unknown_revision_is_refused(empty: Database) -> None:
    with pytest.raises(migrations.MigrationRefused, match="9999"):
        steps_of(empty, "upgrade", "9999")


def test_two_processes_migrate_at_once(empty_database_url: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads:
        runs = [threads.submit(flask, "db", "upgrade", url=empty_database_url, folder=tmp_path) for _ in range(2)]
        done = [run.result() for run in runs]

    assert [run.returncode for run in done] == [0, 0], [run.stderr for run in done]
    newest = migrations.revisions()[-1]
    assert sum(f"up: {newest} " in run.stdout for run in done) == 1
    assert all(f"The database is at revision {newest}" in run.stdout for run in done)


def test_the_commands_print_the_revision_of_a_database(empty_database_url: str, tmp_path: Path) -> None:
    newest = migrations.revisions()[-1]

    before = flask("db", "current", url=empty_database_url, folder=tmp_path)
    wrong = flask("db", "upgrade", "9999", url=empty_database_url, folder=tmp_path)

    assert before.stdout == f"database: none\nserver:   {newest}\n", before.stderr
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "9999" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_a_new_file_of_sqlite_is_its_owners_alone(database_kind: str, empty_database_url: str) -> None:
    if database_kind != SQLITE:
        return
    migrate(empty_database_url)

    assert sqlite_file(empty_database_url).stat().st_mode & 0o777 == 0o600


def test_asking_for_the_state_creates_no_file(database_kind: str, empty_database_url: str) -> None:
    database = open_database(empty_database_url)

    with pytest.raises(MigrationsPending), database.transaction():
        pass

    assert database.problem() == "migrations_pending"
    assert database_kind != SQLITE or not sqlite_file(empty_database_url).exists()
    database.close()


def test_a_database_that_is_newer_than_the_code_is_used(empty: Database) -> None:
    steps_of(empty, "upgrade", migrations.NEWEST)
    with empty.migrating() as connection:
        connection.execute(text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'"))

    assert empty.problem() is None


def test_a_transaction_stores_all_or_nothing(database: Database, tenant: str) -> None:
    with database.transaction() as session:
        session.add_all([credential(tenant, "a"), credential(tenant, "b")])

    with pytest.raises(Failed):
        store_and(database, tenant, raise_failed)

    assert count(database, tenant) == 2


def test_a_reading_transaction_cannot_write(database: Database, tenant: str) -> None:
    def write() -> None:
        with database.reading() as session:
            session.add(credential(tenant))
            session.flush()

    with pytest.raises(DBAPIError):
        write()

    assert count(database, tenant) == 0
    with database.transaction() as session:
        session.add(credential(tenant))
    assert count(database, tenant) == 1, "the connection serves writers again"


def test_a_reader_does_not_wait_for_a_writer(database: Database, tenant: str) -> None:
    with database.transaction() as session:
        session.add(credential(tenant))
        session.flush()

        assert count(database, tenant) == 0


def test_rows_can_be_used_after_their_transaction(database: Database, tenant: str) -> None:
    row = credential(tenant)

    with database.transaction() as session:
        session.add(row)

    assert (row.name, row.version, row.tenant_id) == ("openai", 1, tenant)


@pytest.mark.parametrize(
    "scenario",
    [
        "many_greenlets_write_at_once",
        "more_greenlets_read_than_there_are_connections",
        "a_transaction_that_takes_too_long_is_ended",
        "a_statement_of_its_own_waits_no_longer_than_a_transaction",
    ],
)
def test_in_a_worker(database_url: str, scenario: str) -> None:
    run_scenario(SCENARIOS, scenario, database_url)


def test_a_locked_database_is_reported_in_time_and_holds_up_no_other_greenlet(
    database_kind: str, database_url: str
) -> None:
    scenario = "a_locked_file_is_unavailable" if database_kind == SQLITE else "a_locked_row_is_unavailable"
    run_scenario(SCENARIOS, scenario, database_url)


def test_a_statement_whose_server_says_nothing_more_is_given_up(database_kind: str, database_url: str) -> None:
    if database_kind == POSTGRESQL:
        run_scenario(SCENARIOS, "a_statement_whose_server_says_nothing_more_is_given_up", database_url)


def test_an_error_shows_nothing_of_the_row(database: Database, tenant: str) -> None:
    secret = credential(tenant)
    secret.encrypted_values = "what nobody may read in a log"
    secret.provider = None  # type: ignore[assignment]

    with pytest.raises(IntegrityError) as raised, database.transaction() as session:
        session.add(secret)

    assert "provider" in str(raised.value)
    assert "nobody may read" not in "".join(traceback.format_exception(raised.value))


def test_a_database_that_has_closed_its_connections_is_reconnected_to(
    database_kind: str, database: Database, tenant: str, request: pytest.FixtureRequest
) -> None:
    if database_kind != POSTGRESQL:
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    assert count(database, tenant) == 0

    server.drop_connections()

    assert count(database, tenant) == 0


def test_a_connection_that_is_lost_within_a_transaction_stores_nothing(
    database_kind: str, database: Database, tenant: str, request: pytest.FixtureRequest
) -> None:
    if database_kind != POSTGRESQL:
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")

    with pytest.raises(DatabaseUnavailable):
        store_and(database, tenant, server.drop_connections)

    assert count(database, tenant) == 0


def test_a_database_without_a_server_is_unavailable(tmp_path: Path) -> None:
    database = open_database(f"postgresql://nobody@/none?host={tmp_path}")

    with pytest.raises(DatabaseUnavailable), database.reading():
        pass

    assert database.problem() == "database_unreachable"


def test_a_server_that_never_answers_is_unavailable_in_time() -> None:
    run_scenario(SCENARIOS, "a_server_that_never_answers_is_unavailable")


def test_a_file_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot be made"):
        migrate(f"sqlite:///{tmp_path}/missing/test.db")


def test_without_a_database_runs_work_and_only_what_needs_it_says_so(start_server: StartServer) -> None:
    server = start_server(admin_token="operator")
    client = RunClient(server.url)

    answer = server.get("/keys", headers={"Authorization": "Bearer operator"})
    end = client.finish(client.create(prompt(), demo_llm(answer="It works.")))

    assert (answer.status_code, answer.json()["code"]) == (503, "migrations_pending")
    assert server.get("/keys", headers={"Authorization": "Bearer nonsense"}).status_code == 401
    assert end["data"]["output"] == "It works."
    assert server.get("/ready").json() == {"status": "ready", "reasons": []}


def test_a_database_that_is_gone_is_reported_until_it_is_back(start_server: StartServer, tmp_path: Path) -> None:
    url, away = f"sqlite:///{tmp_path}/test.db", tmp_path / "away.db"
    migrate(url)
    server = start_server(admin_token="operator", database_url=url)

    sqlite_file(url).rename(away)
    gone = server.get("/ready")
    away.rename(sqlite_file(url))

    assert (gone.status_code, gone.json()["reasons"]) == (503, ["migrations_pending"])
    assert server.get("/ready").status_code == 200
    assert server.get("/keys", headers={"Authorization": "Bearer operator"}).status_code == 200


def test_a_stop_closes_the_connections(
    start_server: StartServer, database_kind: str, database_url: str, database: Database
) -> None:
    if database_kind != POSTGRESQL:
        return
    server = start_server(admin_token="operator", database_url=database_url, shutdown_grace_seconds=0)
    assert server.get("/keys", headers={"Authorization": "Bearer operator"}).status_code == 200

    assert server.stop() == 0

    assert wait_until(lambda: connections(database) == 1, PATIENCE)


@pytest.mark.parametrize(
    ("url", "is_chosen", "is_in_use"),
    [
        ("sqlite:///{folder}/missing.db", False, False),
        ("sqlite:///{folder}/missing.db", True, True),
        ("sqlite:///{folder}/there.db", False, True),
        ("postgresql://nobody@nowhere.invalid/none", True, True),
    ],
)
def test_a_database_is_in_use_when_it_was_chosen_or_exists(
    tmp_path: Path, url: str, is_chosen: bool, is_in_use: bool
) -> None:
    (tmp_path / "there.db").touch()
    config = DatabaseConfig(url.format(folder=tmp_path), is_chosen=is_chosen, pool_size=1, timeout_seconds=1)

    assert Database(config).is_in_use is is_in_use


def connections(database: Database) -> int:
    """The number of client connections to this database, including ours."""
    mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    with database.reading() as session:
        return session.execute(text(mine)).scalar_one()
