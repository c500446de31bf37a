"""What goes wrong between this server and an MCP server."""

from __future__ import annotations

import httpx2
from mcp import MCPError
from pydantic import ValidationError
from pydantic_ai.exceptions import AgentRunError

from runtime.llm.address_guard import AddressNotAllowed

SESSION_LOST = -39_404
"""The code of the MCP error that an HTTP refusal becomes which means that the session is lost."""

MAX_TEXT_CHARS = 500
"""Of a server's own words in a text of ours."""


class McpUnavailable(AgentRunError):
    """The server cannot be used, or no longer."""


class McpCallFailed(Exception):
    """The server did not do what one call asked for; it may do the next. The text is for the model."""


class McpSessionLost(Exception):
    """The server does not know the session any more. It refused the call for that, and did not execute it."""


class ServerRefused(httpx2.TransportError):
    """An answer below MCP that no later call would change, such as a wrong key's."""


class AnswerTooLarge(httpx2.StreamError):
    """An answer above the size limit; its rest was not read."""


def cause_of(error: BaseException) -> str | None:
    """Why a connection failed, as a text for the caller; None for an error that nobody foresaw."""
    told = [_told(leaf) for leaf in _leaves(error)]
    known = [one for one in told if one is not None]
    # A broken wire also ends what is spoken over it, which then complains as well: the wire's own words say more.
    return min(known)[1] if len(known) == len(told) else None


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _told(error: BaseException) -> tuple[int, str] | None:
    """How much the error says, the most first, and what."""
    match error:
        case AddressNotAllowed() | ServerRefused() | AnswerTooLarge():
            return 0, str(error)
        case httpx2.TimeoutException():
            return 1, "it took too long to connect"
        case httpx2.ConnectError():
            return 1, "it cannot be connected to"
        case httpx2.HTTPError() | httpx2.InvalidURL() | httpx2.StreamError():
            return 1, "the connection broke"
        case FileNotFoundError() | PermissionError():
            return 1, "its command cannot be started"
        case OSError():
            return 2, "the connection broke"
        case MCPError(code=code) if code == SESSION_LOST:
            return 3, error.message
        case MCPError():
            return 3, f"it answered: {error.message[:MAX_TEXT_CHARS]}"
        case ValidationError() | RuntimeError():
            return 3, "it does not answer as MCP asks for"
    return None
