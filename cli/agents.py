"""``flask --app app agents``: agents and their versions."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import click

from cli.keys import tenant_option
from cli.output import errors_told, json_option, print_json, print_table
from services.agents.descriptions import AgentDescription
from services.agents.history import VersionService
from services.agents.roster import AgentService
from services.agents.tags import TagService
from services.agents.transfer import TransferService
from services.database import Database
from services.souls.portable import MAX_DOCUMENT_BYTES

AGENT_COLUMNS = ("id", "name", "version", "source", "status", "updated_at")
VERSION_COLUMNS = ("version", "id", "active", "tags", "created_at", "created_by", "version_note")
PAGE = 100


def agent_commands(database: Database) -> click.Group:
    """Returns the commands for the agents of one database."""
    agents, versions, transfer = AgentService(database), VersionService(database), TransferService(database)
    tags = TagService(database)

    @click.group("agents")
    @click.pass_context
    def group(context: click.Context) -> None:
        """List, show, export, import and restore agents."""
        context.call_on_close(database.close)

    @group.command("list")
    @tenant_option
    @click.option("--keyword", help="A part of the name, in any case.")
    @json_option
    def list_agents(tenant: str, keyword: str | None, as_json: bool) -> None:
        """List a tenant's active agents, the most recently changed first."""
        with errors_told():
            found = _all_agents(agents, tenant, keyword)
        if as_json:
            print_json({"data": [agent.as_json() for agent in found]})
        else:
            print_table([_row(agent) for agent in found], AGENT_COLUMNS)

    @group.command()
    @click.argument("agent_id")
    @tenant_option
    @json_option
    def show(agent_id: str, tenant: str, as_json: bool) -> None:
        """Show AGENT_ID and its versions, the latest first."""
        with errors_told():
            agent = agents.get_agent(tenant, agent_id)
            listed = [version.as_json() for version in versions.list_versions(tenant, agent_id).data]
            tagged = [tag.as_json() for tag in tags.list_tags(tenant, agent_id)]
        if as_json:
            print_json({**agent.as_json(), "versions": listed, "tags": tagged})
            return
        print_table([_row(agent)], AGENT_COLUMNS)
        click.echo()
        print_table([_version_row(version, agent, tagged) for version in listed], VERSION_COLUMNS)

    @group.command("export")
    @click.argument("agent_id")
    @tenant_option
    @click.option("--version-id", help="The version; by default the active one.")
    @click.option("--tag", help="The version that this tag points to.")
    @click.option("--output", type=click.File("w", encoding="utf-8", atomic=True), help="A file, instead of printing.")
    def export_agent(agent_id: str, tenant: str, version_id: str | None, tag: str | None, output: Any) -> None:
        """Print a version of AGENT_ID as a document that can be imported elsewhere."""
        if version_id is not None and tag is not None:
            raise click.UsageError("--version-id and --tag exclude each other")
        with errors_told():
            document = transfer.export_agent(tenant, agent_id, version_id=version_id, tag=tag)
        click.echo(json.dumps(document, ensure_ascii=False, indent=2), file=output)

    @group.command("import")
    @click.argument("document", type=click.File("rb"))
    @tenant_option
    @click.option("--name", help="What the new agent is called; by default as in the document.")
    @click.option("--agent", "agent_id", help="Make a version of this agent, and no new agent.")
    @json_option
    def import_agent(document: BinaryIO, tenant: str, name: str | None, agent_id: str | None, as_json: bool) -> None:
        """Create an agent from DOCUMENT, a file or - for the standard input."""
        content = document.read(MAX_DOCUMENT_BYTES + 1)
        with errors_told():
            made = transfer.import_agent(tenant, content, created_by=None, name=name, agent_id=agent_id)
        _print_agent(made, as_json=as_json)

    @group.command()
    @click.argument("agent_id")
    @click.argument("version_id")
    @tenant_option
    @click.option("--if-active", help="Only while this version is the active one.")
    @json_option
    def restore(agent_id: str, version_id: str, tenant: str, if_active: str | None, as_json: bool) -> None:
        """Make VERSION_ID the active version of AGENT_ID again."""
        expected = None if if_active is None else {if_active}
        with errors_told():
            versions.restore_version(tenant, agent_id, version_id, restored_by=None, if_match=expected)
            agent = agents.get_agent(tenant, agent_id)
        _print_agent(agent, as_json=as_json)

    return group


def _all_agents(agents: AgentService, tenant: str, keyword: str | None) -> list[AgentDescription]:
    found: list[AgentDescription] = []
    while True:
        page = agents.list_agents(tenant, page=len(found) // PAGE + 1, limit=PAGE, keyword=keyword)
        found += page.data
        if len(page.data) < PAGE:
            return found


def _row(agent: AgentDescription) -> dict[str, object]:
    active = agent.active_config_snapshot
    return {**agent.as_json(), "version": active.version if active else None}


def _version_row(version: dict[str, Any], agent: AgentDescription, tags: list[dict[str, Any]]) -> dict[str, object]:
    names = [tag["tag"] for tag in tags if tag["version_id"] == version["id"]]
    is_active = version["id"] == agent.active_config_snapshot_id
    return {**version, "active": "yes" if is_active else None, "tags": " ".join(names) or None}


def _print_agent(agent: AgentDescription, *, as_json: bool) -> None:
    if as_json:
        print_json(agent.as_json())
    else:
        print_table([_row(agent)], AGENT_COLUMNS)
