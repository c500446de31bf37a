"""A run's events over a WebSocket."""

from __future__ import annotations

import base64
import binascii
import logging
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from flask import Request, Response
from pydantic import ValidationError
from wsproto.frame_protocol import CloseReason

from blueprints.viewer_socket import CLOSED_ERRORS, ViewerSocket
from errors import GreenrunError, UpgradeRequired
from runtime.events.follow import Follower
from runtime.protocol.json_text import InvalidJson, read_json
from runtime.protocol.requests import CancelRunRequest

logger = logging.getLogger(__name__)

MAX_REFUSED_MESSAGES = 20
"""Of one client; the next one ends the connection with 1008."""

CLOSE_SECONDS = 5.0
CUT_CLOSE_SECONDS = 2.0
"""How long a client may take to close, and how long when the worker stops."""

KEY_BYTES = 16

NOTHING_MORE = "ended"
WORKER_STOPS = "the worker stops: connect again with the id of the last event"
NO_PONG = "pings were not answered"
TOO_MANY_REFUSED = "too many messages were refused"

Cancel = Callable[[CancelRunRequest], object]


class MessageRefused(Exception):
    """A client's message cannot be obeyed; the connection goes on."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


class SocketResponse(Response):
    """Answers a request by a conversation on its socket, once Flask has done with it."""

    def __init__(self, converse: Callable[[], None]) -> None:
        super().__init__()
        self._converse = converse

    def __call__(self, environ: object, start_response: object) -> NoReturn:
        self._converse()
        # gunicorn takes this as: answered, write nothing, close the connection.
        raise StopIteration


def require_upgrade(request: Request) -> str:
    """The key of a WebSocket handshake. Raises UpgradeRequired for any other request."""
    connection = [token.strip() for token in request.headers.get("Connection", "").lower().split(",")]
    if (
        request.method != "GET"
        or "upgrade" not in connection
        or request.headers.get("Upgrade", "").lower() != "websocket"
    ):
        raise UpgradeRequired
    if request.headers.get("Sec-WebSocket-Version") != "13":
        raise UpgradeRequired("this route speaks version 13 of the WebSocket protocol: send Sec-WebSocket-Version: 13")
    key = request.headers.get("Sec-WebSocket-Key", "")
    try:
        is_key = len(base64.b64decode(key, validate=True)) == KEY_BYTES
    except (ValueError, binascii.Error):
        is_key = False
    if not is_key:
        raise UpgradeRequired("Sec-WebSocket-Key must be 16 bytes in base64")
    return key


def socket_response(request: Request, key: str, follower: Follower, *, cancel: Cancel | None) -> SocketResponse:
    """Send a run's events over the request's connection. Without ``cancel`` the client may only read."""
    sock: socket.socket = request.environ["gunicorn.socket"]
    return SocketResponse(lambda: _Conversation(follower, cancel).hold(sock, key))


class _Conversation:
    """One client: events to it, messages from it."""

    _socket: ViewerSocket

    def __init__(self, follower: Follower, cancel: Cancel | None) -> None:
        self._follower = follower
        self._cancel = cancel
        self._refused = 0

    def hold(self, sock: socket.socket, key: str) -> None:
        """From the handshake to the end. Raises nothing: gunicorn would write an HTTP error into the stream."""
        try:
            self._socket = ViewerSocket(sock, key, on_message=self._take, on_end=self._follower.stop)
        except OSError:
            return
        try:
            code, reason = self._send_events()
        except CLOSED_ERRORS:
            code, reason = CloseReason.GOING_AWAY, ""
        except GreenrunError as error:
            code, reason = CloseReason.TRY_AGAIN_LATER, error.code
        except Exception:
            logger.exception("unexpected error while events were sent over a WebSocket")
            code, reason = CloseReason.INTERNAL_ERROR, GreenrunError.code
        self._socket.end(code, reason)
        self._socket.wait_closed(CUT_CLOSE_SECONDS if self._follower.is_cut else CLOSE_SECONDS)

    def _send_events(self) -> tuple[int, str]:
        """Send events to the end; the code and reason to close with. Raises one of CLOSED_ERRORS."""
        reason = NOTHING_MORE
        for entries in self._follower:
            if entries:
                self._socket.send_entries(entries)
                if entries[-1].is_terminal:
                    reason = entries[-1].event_type
            elif not self._socket.ping():
                return CloseReason.POLICY_VIOLATION, NO_PONG
        if self._follower.is_cut:
            return CloseReason.SERVICE_RESTART, WORKER_STOPS
        return CloseReason.NORMAL_CLOSURE, reason

    def _take(self, message: str | bytes) -> None:
        """Obey a message, or say why not."""
        try:
            _obey(message, self._cancel)
        except MessageRefused as refusal:
            self._refused += 1
            if self._refused > MAX_REFUSED_MESSAGES:
                self._end(CloseReason.POLICY_VIOLATION, TOO_MANY_REFUSED)
            else:
                self._tell(refusal.code, refusal.message)
        except GreenrunError as error:
            self._tell(error.code, error.message)
        except Exception:
            logger.exception("unexpected error while a message of a WebSocket was obeyed")
            self._end(CloseReason.INTERNAL_ERROR, GreenrunError.code)

    def _tell(self, code: str, message: str) -> None:
        try:
            self._socket.send_json({"type": "error", "code": code, "message": message})
        except CLOSED_ERRORS:
            self._follower.stop()

    def _end(self, code: int, reason: str) -> None:
        self._socket.end(code, reason)
        self._follower.stop()


def _obey(message: str | bytes, cancel: Cancel | None) -> None:
    """Do what a message says. Raises MessageRefused, or the error of what it asked for."""
    fields = _fields_of(message)
    kind = fields.pop("type", None)
    if kind != "cancel":
        raise MessageRefused("unknown_type", "the type of a message must be cancel")
    if cancel is None:
        raise MessageRefused("read_only", "a stream token may read, and nothing else")
    try:
        wanted = CancelRunRequest.model_validate(fields)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise MessageRefused("invalid_param", f"{place}: {problem['msg']}") from None
    cancel(wanted)


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
