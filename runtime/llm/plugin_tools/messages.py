"""What a tool answers, message by message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runtime.llm.plugin_daemon.wire import ReportedFailure, read_frame
from runtime.llm.wire.errors import WireError
from runtime.llm.wire.json_values import without_halves


@dataclass(slots=True)
class ToolMessage:
    """One message of a tool. ``content`` is an object whose keys depend on the type."""

    type: str
    content: dict[str, Any]
    meta: dict[str, Any]

    def text(self) -> str:
        """The text, or the address, that the message holds. Raises WireError."""
        text = self.content.get("text")
        if not isinstance(text, str):
            raise WireError(f"a {self.type} message of the tool has no text")
        return text

    def about(self, key: str) -> str:
        """What the message tells of its file under this key; empty when it tells nothing."""
        value = self.meta.get(key)
        return value if isinstance(value, str) else ""


def read_message(line: bytes) -> ToolMessage | ReportedFailure | None:
    """Read one line; None for a blank one or a comment.

    Raises WireError for everything that is not the daemon's protocol.
    """
    data = read_frame(line)
    if data is None or isinstance(data, ReportedFailure):
        return data
    if b"\\u" in line:
        data = without_halves(data)
    kind, content, meta = data.get("type", "text"), data.get("message"), data.get("meta")
    if not isinstance(kind, str):
        raise WireError("a message of the tool has no type")
    if kind == "json" and isinstance(content, list):
        content = {"json_object": content}
    if content is not None and not isinstance(content, dict):
        raise WireError(f"a {kind[:20]} message of the tool is malformed")
    return ToolMessage(kind, content or {}, meta if isinstance(meta, dict) else {})
