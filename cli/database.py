"""``flask --app app db``: migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from cli.output import errors_told
from services import migrations
from services.database import Database


def database_commands(database: Database) -> click.Group:
    """Returns the commands for one database."""

    @click.group("db")
    @click.pass_context
    def group(context: click.Context) -> None:
        """Migrate the database."""
        context.call_on_close(database.close)

    @group.command()
    @click.argument("revision", default=migrations.NEWEST)
    def upgrade(revision: str) -> None:
        """Migrate to REVISION, by default the newest. Safe to run several times, and several times at once."""
        with _told(), database.migrating() as connection:
            before = migrations.current_revision(connection)
            migrations.upgrade(connection, revision, told=click.echo)
            after = migrations.current_revision(connection)
        click.echo(f"The database is at revision {after}{': nothing to do' if after == before else ''}.")

    @group.command()
    @click.argument("revision")
    def downgrade(revision: str) -> None:
        """Migrate back to REVISION, or to an empty database: base. What newer revisions stored is lost."""
        with _told(), database.migrating() as connection:
            migrations.downgrade(connection, revision, told=click.echo)
            after = migrations.current_revision(connection)
        click.echo(f"The database is at revision {after or 'base'}.")

    @group.command()
    def current() -> None:
        """Print the revision of the database, and the one that this server is written for."""
        with _told():
            has = database.revision()
        click.echo(f"database: {has or 'none'}\nserver:   {migrations.revisions()[-1]}")

    @group.command()
    @click.argument("revision")
    @click.argument("message")
    def write(revision: str, message: str) -> None:
        """Write migration REVISION, with what the models have and the database lacks. For developers."""
        with _told(), database.migrating() as connection:
            migrations.write_migration(connection, message, revision)

    return group


@contextmanager
def _told() -> Iterator[None]:
    with errors_told():
        try:
            yield
        except migrations.MigrationRefused as error:
            raise click.ClickException(str(error)) from None
