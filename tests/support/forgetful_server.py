"""An MCP server over HTTP that loses its sessions, as after a restart or with several replicas."""

from __future__ import annotations

import json
from typing import Any

SESSION = b"mcp-session-id"


class ForgetfulServer:
    """Middleware in front of the SDK's server.

    It refuses the newest protocol, which has no sessions. A call of ``tool`` makes it forget the session of that call,
    up to ``sessions`` times: every request of a forgotten session is answered with ``status`` and ``body``. From then
    on it accepts ``handshakes`` more handshakes.
    """

    def __init__(
        self, app: Any, *, sessions: int, status: int, body: str, tool: str = "count", handshakes: int | None = None
    ) -> None:
        self._app = app
        self._sessions = sessions
        self._answer = (status, body)
        self._tool = tool
        self._handshakes = handshakes
        self._forgotten: set[str] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        first = await receive()
        message = json.loads(first["body"]) if scope["method"] == "POST" else {}
        answer = self._refusal(message, dict(scope["headers"]).get(SESSION, b"").decode())
        if answer is not None:
            await _send(send, *answer)
            return
        given = [first]

        async def receive_again() -> Any:
            return given.pop() if given else await receive()

        await self._app(scope, receive_again, send)

    def _refusal(self, message: dict[str, Any], session: str) -> tuple[int, str] | None:
        match message.get("method"):
            case "server/discover":
                return 404, "no such method"
            case "initialize" if self._forgotten and self._handshakes is not None:
                self._handshakes -= 1
                if self._handshakes < 0:
                    return 500, "no new sessions"
            case "tools/call" if message["params"]["name"] == self._tool and self._sessions > 0:
                if session not in self._forgotten:
                    self._sessions -= 1
                    self._forgotten.add(session)
        return self._answer if session in self._forgotten else None


async def _send(send: Any, status: int, body: str) -> None:
    media_type = b"application/json" if body.startswith("{") else b"text/plain"
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", media_type)]})
    await send({"type": "http.response.body", "body": body.encode()})
