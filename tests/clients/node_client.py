"""Dify's client for Node, called from Python: one process per call."""

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
    """Calls the client with this base URL and key."""

    base_url: str
    key: str

    def lines(self, method: str, *arguments: Any, of: str = "ChatClient") -> Iterator[dict[str, Any]]:
        """Yields the lines that the script prints, as they arrive. Raises ``CalledProcessError`` when it fails."""
        command = ["node", str(SCRIPT), self.base_url, self.key, of, method, json.dumps(arguments)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
            assert process.stdout is not None
            try:
                yield from map(json.loads, process.stdout)
            except BaseException:  # the test does not need the rest, for which the script would wait
                process.kill()
                raise
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)

    def call(self, method: str, *arguments: Any, of: str = "ChatClient") -> Any:
        """Calls a method and returns the body of the answer, which must be a success."""
        status, body = self.answer(method, *arguments, of=of)
        assert 200 <= status < 300, body
        return body

    def answer(self, method: str, *arguments: Any, of: str = "ChatClient") -> tuple[int, Any]:
        """Calls a method and returns the status and the body of the answer."""
        (line,) = self.lines(method, *arguments, of=of)
        return line["status"], line["data"]

    def ask(self, query: str, user: str, conversation_id: str | None = None) -> dict[str, Any]:
        """Sends a message and returns the whole answer."""
        said: dict[str, Any] = self.call("createChatMessage", {}, query, user, False, conversation_id)
        return said

    def stream(self, query: str, user: str, conversation_id: str | None = None) -> Iterator[dict[str, Any]]:
        """Sends a message and yields the frames of the answer as they arrive."""
        return self.lines("createChatMessage", {}, query, user, True, conversation_id)
