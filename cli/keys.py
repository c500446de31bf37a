"""``flask --app app keys``: API keys."""

from __future__ import annotations

import click

from cli.output import errors_told, json_option, print_json, print_table
from services.api_keys import ApiKeyService
from services.database import Database
from services.key_secrets import PREFIXES
from services.key_types import (
    DEFAULT_OVERLAP_SECONDS,
    MAX_OVERLAP_SECONDS,
    CreateKeyRequest,
    KeyDescription,
    NewKey,
)
from services.tenants import DEFAULT_TENANT, TENANT_PATTERN

COLUMNS = ("id", "kind", "prefix", "name", "agent_id", "status", "created_at", "expires_at", "last_used_at")
PAGE = 100


def _tenant(_: click.Context, __: click.Parameter, value: str) -> str:
    if not TENANT_PATTERN.fullmatch(value):
        raise click.BadParameter("takes 1 to 64 of A-Z a-z 0-9 . _ : @ - and begins with a letter or a digit")
    return value


tenant_option = click.option("--tenant", default=DEFAULT_TENANT, show_default=True, callback=_tenant)


def key_commands(database: Database) -> click.Group:
    """Returns the commands for the keys of one database."""
    keys = ApiKeyService(database)

    @click.group("keys")
    @click.pass_context
    def group(context: click.Context) -> None:
        """Create, list, rotate and revoke API keys."""
        context.call_on_close(database.close)

    @group.command()
    @click.option("--kind", type=click.Choice([kind.value for kind in PREFIXES]), required=True)
    @tenant_option
    @click.option("--agent", "agent_id", help="The agent that a key of an app opens.")
    @click.option("--name", help="What it is for.")
    @click.option("--expires-at", help="A time such as 2027-01-31T00:00:00Z.")
    @json_option
    def create(
        kind: str, tenant: str, agent_id: str | None, name: str | None, expires_at: str | None, as_json: bool
    ) -> None:
        """Create a key and print it, this once."""
        given = {"kind": kind, "agent_id": agent_id, "name": name, "expires_at": expires_at}
        with errors_told():
            made = keys.create_key(tenant, CreateKeyRequest.model_validate(given), created_by=None)
        _print_new(made, as_json=as_json)

    @group.command("list")
    @tenant_option
    @json_option
    def list_keys(tenant: str, as_json: bool) -> None:
        """List a tenant's keys, the newest first."""
        with errors_told():
            rows = [key.as_json() for key in _all_keys(keys, tenant)]
        if as_json:
            print_json({"data": rows})
        else:
            print_table(rows, COLUMNS)

    @group.command()
    @click.argument("key_id")
    @tenant_option
    @click.option(
        "--overlap-seconds",
        type=click.IntRange(0, MAX_OVERLAP_SECONDS),
        default=DEFAULT_OVERLAP_SECONDS,
        show_default=True,
        help="How long the old key stays valid.",
    )
    @json_option
    def rotate(key_id: str, tenant: str, overlap_seconds: int, as_json: bool) -> None:
        """Create a key that replaces KEY_ID, and print it, this once."""
        with errors_told():
            made = keys.rotate_key(tenant, key_id, overlap_seconds=overlap_seconds, created_by=None)
        _print_new(made, as_json=as_json)

    @group.command()
    @click.argument("key_id")
    @tenant_option
    @click.option("--with-made", is_flag=True, help="End the keys that were made with it as well.")
    def revoke(key_id: str, tenant: str, with_made: bool) -> None:
        """Revoke KEY_ID, within five seconds everywhere."""
        with errors_told():
            left = keys.revoke_key(tenant, key_id, revoked_by=None, with_made=with_made)
        click.echo(f"Revoked {key_id}.")
        if left:
            click.echo(f"Keys that were made with it and stay valid: {left}. With --with-made they end too.")

    return group


def _all_keys(keys: ApiKeyService, tenant: str) -> list[KeyDescription]:
    found: list[KeyDescription] = []
    while True:
        page = keys.list_keys(tenant, page=len(found) // PAGE + 1, limit=PAGE)
        found += page.data
        if len(page.data) < PAGE:
            return found


def _print_new(made: NewKey, *, as_json: bool) -> None:
    if as_json:
        print_json(made.as_json())
    else:
        click.echo(f"{made.key}\n\nThis is key {made.description.id}. It is shown this once: keep it.")
