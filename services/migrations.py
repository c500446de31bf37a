"""Migrations: those that the code has, those that a database has had, and how it gets the others."""

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
"""Is called with each step that a migration has taken."""


class MigrationRefused(Exception):
    """There is no such revision, or no way to it."""


class DanglingReferences(Exception):
    """A migration has left rows that refer to rows which are not there."""


def upgrade(connection: Connection, revision: str = NEWEST, *, told: Told) -> None:
    """Migrates to a revision at or above that of the database. Raises MigrationRefused and DanglingReferences."""
    _run("upgrade", connection, revision, told=told)
    _check_references(connection)


def downgrade(connection: Connection, revision: str, *, told: Told) -> None:
    """Migrates back to a revision, or to ``EMPTY``. Raises MigrationRefused and DanglingReferences."""
    _run("downgrade", connection, revision, told=told)
    _check_references(connection)


def write_migration(connection: Connection, message: str, revision: str) -> None:
    """Writes a migration of what the models have and the database lacks. Raises MigrationRefused."""
    _run("revision", connection, message=message, autogenerate=True, rev_id=revision)


def current_revision(connection: Connection) -> str | None:
    """Returns the revision of a database; None when it is empty."""
    if not connection.dialect.has_table(connection, VERSION_TABLE):
        return None
    revision: str | None = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
    return revision


def revisions() -> list[str]:
    """Returns all revisions that this code has, the oldest first: a migration's file is named after its number."""
    return sorted(path.name.partition("_")[0] for path in (FOLDER / "versions").glob("*.py"))


def lacks_migrations(connection: Connection) -> bool:
    """Whether the database is older than this code.

    A newer one does not count: while servers are replaced one by one, old ones meet it.
    """
    current = current_revision(connection)
    return current is None or current in revisions()[:-1]


def _check_references(connection: Connection) -> None:
    """Checks the references that SQLite ignores while it migrates. PostgreSQL checks everything by itself."""
    if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise DanglingReferences


def _run(command: str, connection: Connection, *arguments: str, told: Told | None = None, **options: Any) -> None:
    # Imported here: it takes 11 MB, which a worker does not need.
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
