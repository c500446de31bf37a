"""Writes what a version of Pydantic AI reads into the table that decides what is written for its clients.

    .venv/bin/python -m tests.clients.pydantic_ai.schemas 1.85.1 1.94.0 1.107.0 2.31.0

A version needs its requirement file in `requirements/`, which `dev/pin` compiles.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from runtime.protocol.client_models import SCHEMAS
from tests.clients.pydantic_ai.environments import Libraries


def schema_text(table: dict[str, Any]) -> str:
    """The table with one line per definition, so that two versions can be compared."""
    definitions = table.pop("$defs")
    lines = [f'"{name}": {json.dumps(value)}' for name, value in table.items()]
    inner = ",\n".join(f'  "{name}": {json.dumps(definitions[name])}' for name in sorted(definitions))
    return "{\n" + ",\n".join(lines) + ',\n"$defs": {\n' + inner + "\n}\n}\n"


def main(versions: list[str]) -> None:
    with Libraries() as libraries:
        for version in versions:
            (SCHEMAS / f"{version}.json").write_text(schema_text(libraries.ask(version, "schema")))


if __name__ == "__main__":
    main(sys.argv[1:])
