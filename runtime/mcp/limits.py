"""Bounds on what a server may send."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 2 << 20
"""Of one message, or one HTTP answer."""

MAX_TOOLS = 128
"""After the allow-list."""

MAX_PAGES = 20
"""Of a server's list of tools."""

MAX_SCHEMA_BYTES = 64 << 10
"""Of the parameters of one tool, as JSON."""

MAX_SCHEMAS_BYTES = 512 << 10
"""Of the parameters of all tools of a server together: the model is sent all of them with each of its calls."""

MAX_DESCRIPTION_CHARS = 8000
"""A longer description is cut."""

MAX_TOOL_NAME_CHARS = 64
"""What the providers of models take."""
