"""What is read of an answer, and what becomes of its connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import pytest

from runtime.outbound import transport as transport_module
from runtime.outbound.bounds import AnswerBounds
from runtime.outbound.errors import AnswerEncoded, AnswerRefused, AnswerTooLarge
from runtime.outbound.transport import OutboundTransport, client_over
from tests.support.listening import listening

BOUNDS = AnswerBounds(success_bytes=1000, other_bytes=100, seconds=0.5)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FOREIGN = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforeign"


@pytest.fixture
def tls(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What a server speaks that our side trusts."""
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    monkeypatch.setattr(transport_module, "_tls", lambda: trusting)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*map(str, certificate))
    return context


class Server:
    """Answers each request of a connection with the next of its answers."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = answers
        self.heads: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for answer in self._answers:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
        await reader.read()


def asking(
    server: Server, scenario: Callable[[httpx2.AsyncClient, str], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> None:
    async def beside() -> None:
        async with listening(server.serve, tls) as port:
            transport = OutboundTransport(httpx2.Limits(), BOUNDS)
            async with client_over(transport, timeout=httpx2.Timeout(10)) as http:
                await scenario(http, f"http{'s' if tls else ''}://localhost:{port}/")

    asyncio.run(beside())


def head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "gzip, gzip", "deflate", "br", "zstd", "identity, br", "made-up"])
def test_a_compressed_answer_is_refused(coding: str) -> None:
    server = Server(head(f"Content-Encoding: {coding}", "Content-Length: 1") + b"x")

    async def scenario(http: httpx2.AsyncClient, url: str) -> None:
        with pytest.raises(AnswerEncoded, match="compressed"):
            await http.get(url)

    asking(server, scenario)


def test_every_request_asks_for_an_answer_that_is_not_compressed() -> None:
    server = Server(head("Content-Encoding: identity", "Content-Length: 2") + b"ok")

    async def scenario(http: httpx2.AsyncClient, url: str) -> None:
        assert (await http.get(url, headers={"Accept-Encoding": "gzip"})).text == "ok"

    asking(server, scenario)

    assert server.heads[0].lower().count(b"accept-encoding") == 1
    assert b"accept-encoding: identity" in server.heads[0].lower()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(head("Content-Length: 1001") + b"x" * 1001, id="body"),
        pytest.param(head("Content-Length: 101", status="500 Error") + b"x" * 101, id="error"),
        pytest.param(head() + b"x" * 100_000, id="no length"),
        pytest.param(head("Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 30_000, id="small chunks"),
        pytest.param(head("Transfer-Encoding: chunked") + b"fffffff\r\n" + b"x" * 100_000, id="large chunk"),
        pytest.param(head(*["X-Header: value"] * 10_000), id="head"),
        pytest.param(head(status="103 Early Hints") * 10_000, id="interim answers"),
    ],
)
def test_an_answer_above_its_bound_is_not_read_to_its_end(answer: bytes) -> None:
    async def scenario(http: httpx2.AsyncClient, url: str) -> None:
        with pytest.raises(AnswerTooLarge, match="large"):
            await http.get(url)

    asking(Server(answer), scenario)


@pytest.mark.parametrize("begun", [b"", head(status="103 Early Hints"), head("Content-Length: 5") + b"x"])
def test_an_answer_has_so_much_time_in_all(begun: bytes) -> None:
    async def scenario(http: httpx2.AsyncClient, url: str) -> None:
        with pytest.raises(httpx2.ReadTimeout):
            await http.get(url)

    asking(Server(begun), scenario)


def test_an_answer_that_changes_the_protocol_is_refused() -> None:
    async def scenario(http: httpx2.AsyncClient, url: str) -> None:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.get(url)

    asking(Server(head("Upgrade: h2c", "Connection: Upgrade", status="101 Switching Protocols")), scenario)


@pytest.mark.parametrize("extra", [FOREIGN, b"x", FOREIGN * 50])
@pytest.mark.parametrize("secured", [False, True])
def test_a_connection_that_holds_more_than_its_answer_is_not_used_again(
    extra: bytes, secured: bool, tls: ssl.SSLContext
) -> None:
    server = Server(OK + extra, OK)

    async def scenario(http: httpx2.AsyncClient, url: str) -> None:
        for _ in range(3):
            assert (await http.get(url)).text == "ok"

    asking(server, scenario, tls if secured else None)

    assert server.connections == 3


def test_a_secured_connection_that_holds_nothing_is_used_again(tls: ssl.SSLContext) -> None:
    server = Server(OK, OK, OK)

    async def scenario(http: httpx2.AsyncClient, url: str) -> None:
        for _ in range(3):
            assert (await http.get(url)).text == "ok"

    asking(server, scenario, tls)

    assert server.connections == 1


def test_refused_answers_are_failures_of_the_connection() -> None:
    assert issubclass(AnswerRefused, httpx2.TransportError)
