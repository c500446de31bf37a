"""``flask --app app credentials``: credentials of providers.

Values are never arguments, which others could see.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
from pydantic import SecretStr

from cli.keys import tenant_option
from cli.output import errors_told, json_option, print_json, print_table
from runtime.protocol.json_text import InvalidJson, read_json
from services.credential_types import (
    MAX_VALUES_BYTES,
    NAME_RULE,
    CredentialDescription,
    PutCredentialRequest,
    is_new_credential_name,
)
from services.credentials import CredentialService
from services.database import Database

COLUMNS = ("name", "provider", "last4", "fingerprint", "created_at", "updated_at")
PAGE = 100
USUAL_FIELD = "api_key"


def _new_name(_: click.Context, __: click.Parameter, value: str) -> str:
    if not is_new_credential_name(value):
        raise click.BadParameter(NAME_RULE)
    return value


def credential_commands(database: Database, key_ring: Sequence[SecretStr]) -> click.Group:
    """Returns the commands for the credentials of one database."""
    credentials = CredentialService(database, key_ring)

    @click.group("credentials")
    @click.pass_context
    def group(context: click.Context) -> None:
        """Store, list, delete and re-encrypt credentials of providers."""
        context.call_on_close(database.close)

    @group.command("set")
    @click.argument("name", callback=_new_name)
    @click.option("--provider", required=True, help="Whose credential it is, such as openai.")
    @click.option(
        "--field",
        "fields",
        multiple=True,
        help="Name of a value: asked for on a terminal; otherwise the one value that standard input is.",
    )
    @tenant_option
    @json_option
    def put(name: str, provider: str, fields: tuple[str, ...], tenant: str, as_json: bool) -> None:
        """Create credential NAME, or replace its values.

        The values are asked for on a terminal, by default api_key alone. Otherwise standard input has them as a JSON
        object, or the value of one --field as it is.
        """
        values = _read_values(fields)
        with errors_told():
            wanted = PutCredentialRequest.model_validate({"provider": provider, "values": values})
            stored = credentials.put_credential(tenant, name, wanted, changed_by=None)
        if as_json:
            print_json(stored.description.as_json())
        else:
            how = "Stored" if stored.is_new else "Replaced the values of"
            click.echo(f"{how} {name}, fingerprint {stored.description.fingerprint}.")

    @group.command("list")
    @tenant_option
    @json_option
    def list_credentials(tenant: str, as_json: bool) -> None:
        """List a tenant's credentials, the most recently changed first."""
        with errors_told():
            rows = [credential.as_json() for credential in _all_credentials(credentials, tenant)]
        if as_json:
            print_json({"data": rows})
        else:
            print_table(rows, COLUMNS)

    @group.command()
    @click.argument("name")
    @click.option("--force", is_flag=True, help="Also when active agents need it.")
    @tenant_option
    def remove(name: str, force: bool, tenant: str) -> None:
        """Delete credential NAME."""
        with errors_told():
            credentials.delete_credential(tenant, name, deleted_by=None, force=force)
        click.echo(f"Deleted {name}.")

    @group.command()
    @json_option
    def rekey(as_json: bool) -> None:
        """Encrypt all credentials of all tenants with the first key of DIFY_AGENT_SECRET_KEYS.

        Those that are encrypted with it already are left alone, so the command may be interrupted and run again.
        """
        with errors_told():
            report = credentials.rekey()
        if as_json:
            print_json(report.as_json())
        else:
            click.echo(f"{report.renewed} encrypted with the newest key, {report.unchanged} had it already.")
        if report.unreadable:
            names = ", ".join(f"{name} of {tenant_id}" for tenant_id, name in report.unreadable)
            raise click.ClickException(f"no key of DIFY_AGENT_SECRET_KEYS opens {names}")

    return group


def _read_values(fields: Sequence[str]) -> object:
    """Reads the values from a terminal or from standard input."""
    if sys.stdin.isatty():
        return {field: click.prompt(field, hide_input=True) for field in fields or (USUAL_FIELD,)}
    if len(fields) > 1:
        raise click.UsageError("Of standard input only one --field can be read; give a JSON object for several values.")
    try:
        text = sys.stdin.read(MAX_VALUES_BYTES + 1)
        if len(text) > MAX_VALUES_BYTES:
            raise click.ClickException(f"standard input is longer than {MAX_VALUES_BYTES:,} characters")
        return {fields[0]: text.removesuffix("\n").removesuffix("\r")} if fields else read_json(text)
    except UnicodeDecodeError:
        raise click.ClickException("standard input is no text in UTF-8") from None
    except InvalidJson as error:
        message = f"standard input is no JSON object of values ({error}); --field names the one value that it is"
        raise click.ClickException(message) from None


def _all_credentials(credentials: CredentialService, tenant: str) -> list[CredentialDescription]:
    found: list[CredentialDescription] = []
    while True:
        page = credentials.list_credentials(tenant, page=len(found) // PAGE + 1, limit=PAGE)
        found += page.data
        if len(page.data) < PAGE:
            return found
