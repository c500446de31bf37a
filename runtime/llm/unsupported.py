"""What cannot be asked for."""

from __future__ import annotations

from pydantic_ai.exceptions import UserError


class UnsupportedRequest(UserError):
    """The model, or this server, cannot do what the run asks of it. The message is for the caller.

    The library's own errors of this kind are for programmers.
    """
