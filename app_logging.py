"""The log of a server: our own lines, and of libraries only what cannot contain a request."""

from __future__ import annotations

import logging
import re
import warnings
from typing import Any, TextIO

from runtime.protocol.wordless import wordless

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"

_HTTP_CLIENTS = ("httpx2", "httpcore2", "httpx", "httpcore", "openai", "anthropic", "google_genai")
"""They log lines, and headers, of every model call."""

_MCP = ("mcp", "client")
"""The MCP SDK logs malformed messages of servers."""


_CHATTY = ("alembic",)
"""They log every step, which the commands print as well."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class SafeFormatter(logging.Formatter):
    """Formats each message as one line, and errors by class and place alone.

    Control characters are escaped, so that a text quoted in a line cannot begin another one. An error's own message may
    quote anything, such as an address with a signature in it, and is left out; the messages of our own errors are
    fixed.
    """

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # another handler may have rendered it, with the message
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging names it
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        error = wordless(ei[1])
        return super().formatException((type(error), error, error.__traceback__))


def one_line(text: str) -> str:
    """Returns the text with its control characters escaped as in Python."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def make_handlers_safe(logger: logging.Logger) -> None:
    """Makes the handlers of a logger write as ours do, each in its own format."""
    for handler in logger.handlers:
        old = handler.formatter
        handler.setFormatter(SafeFormatter(old._fmt, old.datefmt) if old is not None else SafeFormatter(LOG_FORMAT))


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Logs a warning by its class and place alone, since libraries quote what they warn of."""
    logging.getLogger("py.warnings").warning("%s at %s:%d", category.__name__, filename, lineno)


def configure_logging(level: str) -> None:
    """Logs to standard error, from ``level`` on, including warnings.

    A handler that exists already stays the only one.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter(LOG_FORMAT))
    logging.basicConfig(level=level, handlers=[handler])
    warnings.showwarning = _log_warning
    for name in (*_HTTP_CLIENTS, *_CHATTY):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _MCP:
        logging.getLogger(name).setLevel(logging.CRITICAL)
