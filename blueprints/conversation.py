"""A conversation over a WebSocket: what is sent to a client, what it may say, and how it ends."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from simple_websocket import Server
from wsproto.frame_protocol import CloseReason

from blueprints.subscriber_socket import CLOSED_ERRORS, SubscriberSocket
from errors import GreenrunError
from runtime.protocol.json_text import InvalidJson, read_json
from services.open_streams import OpenStream

logger = logging.getLogger(__name__)

MAX_REFUSED_MESSAGES = 20
"""Of one client; the next one ends the connection with 1008."""

CLOSE_SECONDS = 5.0
CUT_CLOSE_SECONDS = 2.0
"""How long a client may take to close, and how long when the worker stops."""

WORKER_STOPS = "the worker stops: connect again with the id of the last event"
NO_PONG = "pings were not answered"
TOO_MANY_REFUSED = "too many messages were refused"

Ending = tuple[int, str]
"""The code and the reason that a connection closes with."""


class MessageRefused(Exception):
    """A client's message cannot be obeyed; the connection goes on. ``about`` is added to what the client is told."""

    def __init__(self, code: str, message: str, **about: str) -> None:
        self.code = code
        self.message = message
        self.about = about
        super().__init__(message)


class Conversation(ABC):
    """One client. Its greenlet sends in ``_converse``; another one receives, and calls ``_obey``."""

    _socket: SubscriberSocket

    def __init__(self, stream: OpenStream | None) -> None:
        self._stream = stream
        self._refused = 0

    def hold(self, server: Server) -> None:
        """From the handshake to the end. Raises nothing: Flask would write an HTTP error into the stream."""
        try:
            self._hold(server)
        finally:
            if self._stream is not None:
                self._stream.close()

    def _hold(self, server: Server) -> None:
        self._socket = SubscriberSocket(server, on_message=self._take, on_end=self._stop)
        try:
            code, reason = self._converse()
        except CLOSED_ERRORS:
            code, reason = CloseReason.GOING_AWAY, ""
        except GreenrunError as error:
            code, reason = CloseReason.TRY_AGAIN_LATER, error.code
        except Exception:
            logger.exception("unexpected error while events were sent over a WebSocket")
            code, reason = CloseReason.INTERNAL_ERROR, GreenrunError.code
        self._socket.end(code, reason)
        self._socket.wait_closed(CUT_CLOSE_SECONDS if self._is_cut else CLOSE_SECONDS)

    @property
    @abstractmethod
    def _is_cut(self) -> bool:
        """Whether it ended because the worker stops."""

    @abstractmethod
    def _converse(self) -> Ending:
        """Send all there is to send. Raises GreenrunError, or one of CLOSED_ERRORS."""

    @abstractmethod
    def _obey(self, fields: dict[str, Any]) -> None:
        """Do what a message says. Raises MessageRefused, or the error of what it asked for."""

    @abstractmethod
    def _stop(self) -> None:
        """Let ``_converse`` end soon. For other greenlets, and more than once."""

    def _take(self, message: str | bytes) -> None:
        """Obey a message, or say why not."""
        try:
            self._obey(_fields_of(message))
        except MessageRefused as refusal:
            self._refused += 1
            if self._refused > MAX_REFUSED_MESSAGES:
                self._end(CloseReason.POLICY_VIOLATION, TOO_MANY_REFUSED)
            else:
                self._tell(refusal.code, refusal.message, **refusal.about)
        except GreenrunError as error:
            self._tell(error.code, error.message)
        except Exception:
            logger.exception("unexpected error while a message of a WebSocket was obeyed")
            self._end(CloseReason.INTERNAL_ERROR, GreenrunError.code)

    def _tell(self, code: str, message: str, **about: str) -> None:
        """Say what was wrong with a message."""
        self._send({"type": "error", "code": code, "message": message, **about})

    def _send(self, value: Mapping[str, Any]) -> None:
        """Send a message of our own, unless the connection has ended."""
        try:
            self._socket.send_json(value)
        except CLOSED_ERRORS:
            self._stop()

    def _end(self, code: int, reason: str) -> None:
        self._socket.end(code, reason)
        self._stop()


def refuse_fields(error: ValidationError, **about: str) -> MessageRefused:
    """The refusal of a message that its model does not take: the first problem, and nothing of what was given."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return MessageRefused("invalid_param", f"{place}: {problem['msg']}", **about)


def _fields_of(message: str | bytes) -> dict[str, Any]:
    if isinstance(message, bytes):
        raise MessageRefused("binary_message", "messages are text")
    try:
        value = read_json(message)
    except InvalidJson as error:
        raise MessageRefused("invalid_json", f"the message is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MessageRefused("invalid_param", "a message is a JSON object with a type")
    return value
