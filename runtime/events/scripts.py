"""Loads the Lua scripts beside this file. Each script is one atomic step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and its digest for EVALSHA."""

    text: str
    sha: str


@cache
def load_script(name: str) -> Script:
    text = Path(__file__).with_name(f"{name}.lua").read_text()
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
