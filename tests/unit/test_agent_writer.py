"""Agents, versions and revisions are written in one module, so that their rules are there once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
ROWS = {"Agent", "AgentConfigSnapshot", "AgentConfigRevision"}
STATE = {"active_config_snapshot_id", "archived_at", "archived_by"}


def writes(path: Path) -> Iterator[str]:
    """What a file makes of the rows, and sets of an agent's state."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in ROWS:
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()) if name in STATE:
                yield name


def test_one_module_writes_agents_and_their_versions() -> None:
    found = {path: set(writes(path)) for path in (CHECKOUT / "services").rglob("*.py")}

    writers = {path.relative_to(CHECKOUT).as_posix(): made for path, made in found.items() if made}

    assert writers == {"services/agents/writer.py": ROWS | STATE}
