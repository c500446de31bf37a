"""``flask --app app audit``: the audit trail."""

from __future__ import annotations

import click

from cli.keys import tenant_option
from cli.output import errors_told, json_option, print_json, print_table
from services.audit import AuditTrail
from services.database import Database

COLUMNS = ("created_at", "action", "actor", "details")
MOST = 10_000


def audit_commands(database: Database) -> click.Group:
    """Returns the commands for the audit trail of one database."""
    trail = AuditTrail(database)

    @click.group("audit")
    @click.pass_context
    def group(context: click.Context) -> None:
        """Read who has changed keys and credentials."""
        context.call_on_close(database.close)

    @group.command("list")
    @tenant_option
    @click.option("--limit", type=click.IntRange(1, MOST), default=100, show_default=True)
    @json_option
    def list_entries(tenant: str, limit: int, as_json: bool) -> None:
        """List a tenant's last changes, the newest first."""
        with errors_told():
            entries = trail.entries(tenant, limit=limit)
        if as_json:
            print_json({"data": entries})
        else:
            print_table([{**entry, "details": _in_words(entry["details"])} for entry in entries], COLUMNS)

    return group


def _in_words(details: dict[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in details.items())
