"""The way from a request to a WebSocket, which flask-sock serves."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Blueprint, Request, g, request
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from flask_sock import Sock
from gevent import Greenlet
from simple_websocket import Server

from blueprints.conversation import Conversation
from blueprints.guarded_socket import GuardedSocket
from errors import UpgradeRequired

KEY_BYTES = 16
SERVER_OPTIONS = "SOCK_SERVER_OPTIONS"

OpenConversation = Callable[..., Conversation]
View = Callable[..., ResponseReturnValue]


def socket_route(blueprint: Blueprint, rule: str) -> Callable[[OpenConversation], OpenConversation]:
    """Serve WebSockets at a rule of a blueprint that is not registered yet.

    The decorated function is called as a view is, behind all hooks and before flask-sock accepts the upgrade, so its
    errors are still answered over HTTP. It calls ``require_upgrade``, and returns the conversation that is then held.
    """

    def add(open_conversation: OpenConversation) -> OpenConversation:
        @Sock().route(rule, bp=_CheckedRoutes(blueprint, open_conversation))
        def converse(server: Server) -> None:
            g.pop("conversation").hold(server)

        blueprint.record(_read_in_greenlets)
        return open_conversation

    return add


class _CheckedRoutes:
    """The blueprint as flask-sock sees it, whose view would answer with the upgrade at once."""

    def __init__(self, blueprint: Blueprint, open_conversation: OpenConversation) -> None:
        self._blueprint = blueprint
        self._open_conversation = open_conversation

    def route(self, rule: str, **options: Any) -> Callable[[View], None]:
        def add(upgrade: View) -> None:
            @wraps(self._open_conversation)
            def check_and_upgrade(**parts: str) -> ResponseReturnValue:
                g.conversation = self._open_conversation(**parts)
                _prepare_handshake(request)
                return upgrade()  # with the parts it would take a C frame, which each idle socket keeps

            # Two rules: werkzeug gives handshakes only to the first, and to the second what is none, and is told so.
            self._blueprint.add_url_rule(rule, view_func=check_and_upgrade, **options)
            self._blueprint.add_url_rule(rule, view_func=check_and_upgrade)

        return add


def require_upgrade(request: Request) -> None:
    """Raise UpgradeRequired for what is no WebSocket handshake."""
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


def handshake(sock: GuardedSocket, key: str) -> dict[str, Any]:
    """The environment that flask-sock shakes hands with: only what was checked.

    An offer of compression is left out: it would cost each subscriber memory, and each event CPU for each
    of them.
    """
    return {
        "gunicorn.socket": sock,
        "HTTP_HOST": "localhost",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_UPGRADE": "websocket",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "HTTP_SEC_WEBSOCKET_KEY": key,
    }


def reading_greenlet(target: Callable[[], None]) -> Greenlet[..., None]:
    """A ``thread_class`` of simple-websocket that first lets the view begin, and is smaller than gevent's threads."""
    return Greenlet(target)


def _prepare_handshake(request: Request) -> None:
    """Let flask-sock, which takes all it knows from ``request.environ``, shake hands over a guarded socket."""
    environ = request.environ
    request.environ = handshake(GuardedSocket(environ["gunicorn.socket"]), request.headers["Sec-WebSocket-Key"])
    # Flask clears this in the environment that the request has at its end: here, that both go without the collector.
    del environ["werkzeug.request"]


def _read_in_greenlets(state: BlueprintSetupState) -> None:
    """Set flask-sock's only options, those of the application; its own WebSockets, if any, keep theirs."""
    options = state.app.config.get(SERVER_OPTIONS, {})
    state.app.config[SERVER_OPTIONS] = {**options, "thread_class": reading_greenlet}
