"""Alembic's environment. It migrates the connection it is given, in the transaction that this one is in."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from models import Base
from models.types import EnumText, UtcDateTime


def plain_types(kind: str, item: Any, _: AutogenContext) -> str | Literal[False]:
    """How a new migration spells a type: without our own classes, which may change after it was written."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime()"
    if kind == "type" and isinstance(item, EnumText):
        return f"sa.String({item.length})"
    return False


attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=plain_types,
    transactional_ddl=True,
    on_version_apply=attributes["on_version_apply"],
)
with context.begin_transaction():
    context.run_migrations()
