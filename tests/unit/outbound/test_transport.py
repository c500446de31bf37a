"""Connections to models: kept, and looked at before they are used again."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable

import httpx2
import pytest

from runtime.outbound.bounds import AnswerBounds
from runtime.outbound.transport import OutboundTransport, client_over
from tests.support.patched import run_scenario

BOUNDS = AnswerBounds(success_bytes=1000, other_bytes=100, seconds=5)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each request, and counts its connections."""

    def __init__(self, *, closes: bool) -> None:
        self._closes = closes
        self.connections = 0
        self.port = 0
        self.serving: list[asyncio.Task[None] | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.serving.append(asyncio.current_task())
        while not reader.at_eof():
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            writer.write(ANSWER)
            await writer.drain()
            if self._closes:  # though it has not said that it would
                break
        writer.close()
        await writer.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


def run(server: Server, scenario: Callable[[httpx2.AsyncClient], Awaitable[None]]) -> None:
    async def beside() -> None:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        server.port = listening.sockets[0].getsockname()[1]
        transport = OutboundTransport(httpx2.Limits(), BOUNDS)
        async with listening, client_over(transport, timeout=httpx2.Timeout(10)) as http:
            await scenario(http)
        await asyncio.wait([task for task in server.serving if task is not None])

    asyncio.run(beside())


@pytest.mark.parametrize(("closes", "connections"), [(False, 1), (True, 3)])
def test_a_connection_is_used_again_unless_its_server_has_closed_it(*, closes: bool, connections: int) -> None:
    server = Server(closes=closes)

    async def scenario(http: httpx2.AsyncClient) -> None:
        for _ in range(3):
            assert (await http.get(server.url)).text == "ok"
            await asyncio.sleep(0.05)

    run(server, scenario)

    assert server.connections == connections


def test_checking_idle_connections_does_not_yield_to_other_greenlets(monkeypatch: pytest.MonkeyPatch) -> None:
    def poll() -> None:
        raise AssertionError("in a worker this is gevent's")

    server = Server(closes=False)

    async def scenario(http: httpx2.AsyncClient) -> None:
        await http.get(server.url)
        monkeypatch.setattr(select, "poll", poll)
        await http.get(server.url)

    run(server, scenario)

    assert server.connections == 1


def test_calls_at_once_have_connections_of_their_own_which_are_kept() -> None:
    server = Server(closes=False)

    async def scenario(http: httpx2.AsyncClient) -> None:
        for _ in range(2):
            answers = await asyncio.gather(*(http.get(server.url) for _ in range(5)))
            assert [answer.text for answer in answers] == ["ok"] * 5

    run(server, scenario)

    assert server.connections == 5


@pytest.mark.parametrize(
    "scenario", ["polling_does_not_yield_to_other_greenlets", "polling_finds_readable_data_and_a_closed_connection"]
)
def test_polling_a_descriptor(scenario: str) -> None:
    run_scenario("tests.unit.scenarios.polling", scenario)
