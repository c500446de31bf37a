"""Migrations: which the code knows, which a database has, and how it gets the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

FOLDER = Path(__file__).parent.parent / "migrations"
NEWEST = "head"
EMPTY = "base"
VERSION_TABLE = "alembic_version"

Told = Callable[[str], None]
"""Is told of each step that a migration has taken."""


class MigrationRefused(Exception):
    """There is no such revision, or no way to it."""


class DanglingReferences(Exception):
    """A migration has left rows that refer to rows which are not there."""


def upgrade(connection: Connection, revision: str = NEWEST, *, told: Told) -> None:
    """Migrate to a revision at or above that of the database. Raises MigrationRefused and DanglingReferences."""
    _run("upgrade", connection, revision, told=told)
    _check_references(connection)


def downgrade(connection: Connection, revision: str, *, told: Told) -> None:
    """Migrate back to a revision, or to ``EMPTY``. Raises MigrationRefused and DanglingReferences."""
    _run("downgrade", connection, revision, told=told)
    _check_references(connection)


def write_migration(connection: Connection, message: str, revision: str) -> None:
    """Write a migration of what the models have and the database has not. Raises MigrationRefused."""
    _run("revision", connection, message=message, autogenerate=True, rev_id=revision)


def current_revision(connection: Connection) -> str | None:
    """The revision of a database; None when it is empty."""
    if not connection.dialect.has_table(connection, VERSION_TABLE):
        return None
    revision: str | None = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
    return revision


def revisions() -> list[str]:
    """All that this code knows, the oldest first: a migration's file is named for its number."""
    return sorted(path.name.partition("_")[0] for path in (FOLDER / "versions").glob("*.py"))


def lacks_migrations(connection: Connection) -> bool:
    """Whether the database is older than this code.

    One that is newer does not lack any: while servers are replaced one by one, old ones meet it.
    """
    current = current_revision(connection)
    return current is None or current in revisions()[:-1]


def _check_references(connection: Connection) -> None:
    """What SQLite leaves out while it migrates. PostgreSQL has checked everything by itself."""
    if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise DanglingReferences


def _run(command: str, connection: Connection, *arguments: str, told: Told | None = None, **options: Any) -> None:
    # Imported here, because it is 11 MB that a worker has no use for.
    import alembic.command
    from alembic.config import Config
    from alembic.util import CommandError

    def tell(*, step: Any, **_: object) -> None:
        if told is not None:
            told(f"{'up' if step.is_upgrade else 'down'}: {step.up_revision_id} {step.up_revision.doc}")

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes.update(connection=connection, on_version_apply=tell)
    try:
        getattr(alembic.command, command)(config, *arguments, **options)
    except CommandError as error:
        raise MigrationRefused(str(error)) from error
