"""The names that a server's tools have in a run. Needs no SDK: names are checked when a run is created, too."""

from __future__ import annotations

import re

from runtime.mcp.limits import MAX_TOOL_NAME_CHARS

_UNUSUAL = re.compile(r"[^A-Za-z0-9_-]")


def public_tool_name(name: str, prefix: str | None) -> str:
    """The name that the model sees. What providers of models take in no name becomes an underscore.

    Raises ValueError when it is longer than they take.
    """
    public = _UNUSUAL.sub("_", f"{prefix}_{name}" if prefix is not None else name)
    if len(public) > MAX_TOOL_NAME_CHARS:
        raise ValueError(f"has a name of {len(public)} characters, above {MAX_TOOL_NAME_CHARS}: '{public[:80]}'")
    return public
