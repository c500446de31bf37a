"""TLS between a greenlet and a coroutine. Run in a patched child: see test_hub_loop."""

import ssl
from typing import Any, Literal, cast

import httpx2
from gevent.pywsgi import WSGIServer

from runtime.execution.bridge import LoopBridge


def https_is_spoken_with_a_server_of_the_same_thread(kind: str, certificate: str, key: str) -> None:
    def serve(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"secret" * 50_000]

    server = WSGIServer(("127.0.0.1", 0), serve, log=None, certfile=certificate, keyfile=key)
    server.start()
    trust = ssl.create_default_context(cafile=certificate)

    async def fetch() -> bytes:
        async with httpx2.AsyncClient(verify=trust, timeout=20) as client:
            return (await client.get(f"https://localhost:{server.server_port}/")).content

    bridge = LoopBridge(cast(Literal["hub", "selector"], kind))
    bridge.start()
    assert bridge.run(fetch()) == b"secret" * 50_000
    bridge.close()
    server.stop()
