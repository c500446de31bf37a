"""Dify's client for Node, called from Python: one process a call."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parent / "node" / "call.mjs"


@dataclass(frozen=True)
class NodeClient:
    """A client with this base URL and key."""

    base_url: str
    key: str

    def lines(self, method: str, *arguments: Any, of: str = "ChatClient") -> Iterator[dict[str, Any]]:
        """What the script prints, as it comes. Raises CalledProcessError when the script fails."""
        command = ["node", str(SCRIPT), self.base_url, self.key, of, method, json.dumps(arguments)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
            assert process.stdout is not None
            try:
                yield from map(json.loads, process.stdout)
            except BaseException:  # the test does not want the rest, for which the script would wait
                process.kill()
                raise
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)

    def call(self, method: str, *arguments: Any, of: str = "ChatClient") -> Any:
        """The body of an answer, which must be a good one."""
        status, body = self.answer(method, *arguments, of=of)
        assert 200 <= status < 300, body
        return body

    def answer(self, method: str, *arguments: Any, of: str = "ChatClient") -> tuple[int, Any]:
        """The status and the body of an answer."""
        (line,) = self.lines(method, *arguments, of=of)
        return line["status"], line["data"]

    def ask(self, query: str, user: str, conversation_id: str | None = None) -> dict[str, Any]:
        """The answer as a whole."""
        said: dict[str, Any] = self.call("createChatMessage", {}, query, user, False, conversation_id)
        return said

    def stream(self, query: str, user: str, conversation_id: str | None = None) -> Iterator[dict[str, Any]]:
        """The frames of an answer, as they come."""
        return self.lines("createChatMessage", {}, query, user, True, conversation_id)
