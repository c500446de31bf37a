"""The log of a server: our own lines, and of libraries only what cannot hold a request."""

from __future__ import annotations

import logging

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"

_HTTP_CLIENTS = ("httpx2", "httpcore2", "httpx", "httpcore", "openai", "anthropic", "google_genai")
"""They have lines, and headers, of every model call."""

_MCP = ("mcp", "client")
"""The MCP SDK logs what servers send when it is malformed."""


_CHATTY = ("alembic",)
"""They tell every step, which the commands tell as well."""


def configure_logging(level: str) -> None:
    """Log to standard error, from ``level`` on. A handler that is there already stays alone."""
    logging.basicConfig(level=level, format=LOG_FORMAT)
    for name in (*_HTTP_CLIENTS, *_CHATTY):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _MCP:
        logging.getLogger(name).setLevel(logging.CRITICAL)
