"""Addresses that a request may name, and those it may not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import httpx2
import pytest

from runtime.outbound.address_guard import (
    AddressNotAllowed,
    check_url,
    guarded_transport,
    is_public,
    literal_address,
)
from runtime.outbound.bounds import AnswerBounds
from runtime.outbound.transport import client_over

PRIVATE = [
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "fc00::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "168.63.129.16",
    "192.0.0.8",
    "192.0.0.170",
    "192.88.99.1",
    "::ffff:168.63.129.16",
    "64:ff9b::169.254.169.254",
    "2002:808:808::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "3fff::1",
    "3fff:fff:ffff::1",
    "5f00::1",
    "fd00:ec2::254",
    "2606:4700::5efe:8.8.8.8",
    "2606:4700::200:5efe:10.0.0.1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::1111", "192.0.1.1", "168.63.129.17"]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_not_public(address: str) -> None:
    found = literal_address(address)

    assert found is not None
    assert not is_public(found)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    found = literal_address(address)

    assert found is not None
    assert is_public(found)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "10.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ],
)
def test_a_private_host_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(ValueError, match="private address"):
        check_url(f"http://{host}:8000/v1", allow_private=False)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_the_operator_may_allow_private_hosts(host: str) -> None:
    check_url(f"http://{host}:8000/v1", allow_private=True)


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "0xa9fea9fe", "[::ffff:169.254.169.254]", "168.63.129.16", "[fd00:ec2::254]"]
)
@pytest.mark.parametrize("allow_private", [True, False])
def test_an_address_of_cloud_metadata_is_refused_whatever_the_operator_allows(host: str, allow_private: bool) -> None:
    with pytest.raises(ValueError, match="cloud metadata"):
        check_url(f"http://{host}/latest", allow_private=allow_private)


def test_a_name_that_resolves_to_cloud_metadata_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", port))]

    monkeypatch.setattr("runtime.outbound.address_guard.anyio.getaddrinfo", resolve)

    async def ask() -> None:
        async with client(allow_private=True) as http:
            with pytest.raises(AddressNotAllowed):
                await http.get("http://models.example.com/")

    asyncio.run(ask())


@pytest.mark.parametrize("url", ["https://api.example.com/v1", "http://8.8.8.8", "https://[2606:4700::1111]/"])
def test_a_public_url_is_accepted(url: str) -> None:
    check_url(url, allow_private=False)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("ftp://example.com/", "http"),
        ("file:///etc/passwd", "http"),
        ("example.com", "http"),
        ("http://", "host"),
        ("http://user:word@example.com/", "user name"),
        ("http://exa\x00mple.com/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://0177.0.0.1/", "not a URL"),
    ],
)
def test_a_url_that_cannot_be_called_is_refused(url: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        check_url(url, allow_private=True)


def with_server(scenario: Callable[[int], Awaitable[None]]) -> list[bytes]:
    """Run a scenario beside a server that answers with nothing but 204; what the server was sent."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            await scenario(server.sockets[0].getsockname()[1])

    asyncio.run(run())
    return received


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name have these addresses."""

    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr("runtime.outbound.address_guard.anyio.getaddrinfo", getaddrinfo)


def client(*, allow_private: bool) -> httpx2.AsyncClient:
    bounds = AnswerBounds(success_bytes=1000, other_bytes=1000, seconds=None)
    transport = guarded_transport(allow_private=allow_private, bounds=bounds)
    return client_over(transport, timeout=httpx2.Timeout(10))


def test_a_name_that_turns_out_to_be_private_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "127.0.0.1")

    async def scenario(port: int) -> None:
        async with client(allow_private=False) as http:
            with pytest.raises(AddressNotAllowed, match="private"):
                await http.get(f"http://api.example.com:{port}/")

    assert with_server(scenario) == []


def test_an_address_in_the_url_is_not_connected_to() -> None:
    async def scenario(port: int) -> None:
        async with client(allow_private=False) as http:
            with pytest.raises(AddressNotAllowed, match="private"):
                await http.get(f"http://127.0.0.1:{port}/")

    assert with_server(scenario) == []


def test_a_private_name_is_connected_to_when_the_operator_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "127.0.0.1")

    async def scenario(port: int) -> None:
        async with client(allow_private=True) as http:
            for _ in range(2):
                assert (await http.get(f"http://api.example.com:{port}/")).status_code == 204

    received = with_server(scenario)
    assert len(received) == 2
    assert all(b"api.example.com" in request and b"Cookie" not in request for request in received)


def test_of_several_addresses_only_the_public_ones_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    resolving(monkeypatch, "127.0.0.1", "8.8.8.8", "10.0.0.1", "9.9.9.9")

    async def connect_tcp(self: object, host: str, *_: object) -> None:
        import httpcore2

        tried.append(host)
        raise httpcore2.ConnectError("no")

    monkeypatch.setattr("runtime.outbound.address_guard.httpcore2.AnyIOBackend.connect_tcp", connect_tcp)

    async def scenario(port: int) -> None:
        async with client(allow_private=False) as http:
            with pytest.raises(httpx2.ConnectError):
                await http.get(f"http://api.example.com:{port}/")

    with_server(scenario)
    assert tried == ["8.8.8.8", "9.9.9.9"]


def test_a_name_that_does_not_resolve_is_a_connect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("runtime.outbound.address_guard.anyio.getaddrinfo", getaddrinfo)

    async def scenario(port: int) -> None:
        async with client(allow_private=False) as http:
            with pytest.raises(httpx2.ConnectError, match="resolved"):
                await http.get(f"http://api.example.com:{port}/")

    with_server(scenario)
