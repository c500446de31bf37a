"""The commands of ``flask --app app``."""

from __future__ import annotations

from collections.abc import Sequence

from click import Group
from pydantic import SecretStr

from cli.agents import agent_commands
from cli.audit import audit_commands
from cli.credentials import credential_commands
from cli.database import database_commands
from cli.keys import key_commands
from services.database import Database


def add_commands(group: Group, database: Database, key_ring: Sequence[SecretStr]) -> None:
    """Adds every command, for this database. The key ring encrypts credentials."""
    group.add_command(database_commands(database))
    group.add_command(key_commands(database))
    group.add_command(credential_commands(database, key_ring))
    group.add_command(agent_commands(database))
    group.add_command(audit_commands(database))
