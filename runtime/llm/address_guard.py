"""Keeps calls to addresses that a request names away from the operator's own networks.

``check_url`` judges what a URL says; a name is judged when it is connected to, by the address it then has, and that
address is the one used: a name that changes its mind between the two gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Any

import anyio
import httpcore2
import httpx2

from runtime.llm.transport import PooledTransport, client_over

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressNotAllowed(httpx2.ConnectError):
    """A name turned out to be an address that only the operator may allow. Nothing was sent."""


def check_url(url: str, *, allow_private: bool) -> None:
    """Raise ValueError, with a text for the caller, when ``url`` is not one that may be called.

    It must be http or https, have a host, and hold no user name. A host written as an address, in any of the ways
    that resolvers read as one, must be a public one unless ``allow_private``. Looks nothing up.
    """
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise ValueError("is not a URL") from None
    if parsed.scheme not in ("http", "https"):
        raise ValueError("must be an http:// or https:// URL")
    if not parsed.host:
        raise ValueError("names no host")
    if parsed.userinfo:
        raise ValueError("must not hold a user name or password")
    if not allow_private and _is_private_host(parsed.host):
        raise ValueError("names a private address, which this server's operator does not allow")


def is_public(address: IPAddress) -> bool:
    """Whether the address is one of the public internet, also when it is an IPv4 address inside an IPv6 one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in NAT64:
        inner = ipaddress.IPv4Address(address.packed[-4:])
    if inner is not None:
        return is_public(inner)
    return address in GLOBAL_UNICAST and address.is_global and address.teredo is None


def guarded_transport(*, allow_private: bool, limits: httpx2.Limits | None = None) -> httpx2.AsyncBaseTransport:
    """A transport that connects to public addresses only, unless ``allow_private``.

    A request to another address fails with AddressNotAllowed. It uses no proxy: a proxy would do the connecting.
    """
    backend = _GuardedBackend(allow_private=allow_private)
    return PooledTransport(limits or httpx2.Limits(), backend=backend)


def guarded_client(
    *,
    allow_private: bool,
    timeout: httpx2.Timeout,
    limits: httpx2.Limits | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx2.AsyncClient:
    """A client over a guarded transport; see ``client_over``."""
    transport = guarded_transport(allow_private=allow_private, limits=limits)
    return client_over(transport, timeout=timeout, headers=headers)


def _is_private_host(host: str) -> bool:
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = literal_address(name)
    return address is not None and not is_public(address)


def literal_address(host: str) -> IPAddress | None:
    """The address that resolvers read a host as without looking anything up, if it is one."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))  # 127.1, 0x7f000001 and 2130706433 are addresses too
    except OSError:
        return None


class _GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Looks a name up once, and connects to the first of its allowed addresses that answers."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        deadline = time.monotonic() + timeout if timeout is not None else None
        try:
            with anyio.fail_after(timeout):
                addresses = await self._allowed_addresses(host, port)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout("the host's name took too long to resolve") from error
        for position, address in enumerate(addresses, start=1):
            share = None
            if deadline is not None:
                share = max(0.0, deadline - time.monotonic()) / (len(addresses) - position + 1)
            try:
                return await self._network.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if position == len(addresses):
                    raise
        raise AddressNotAllowed("the host's address is private, which this server's operator does not allow")

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)

    async def _allowed_addresses(self, host: str, port: int) -> list[str]:
        try:
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError("the host's name cannot be resolved") from error
        addresses = dict.fromkeys(str(address[0]) for *_, address in found)
        return [text for text in addresses if self._allow_private or is_public(ipaddress.ip_address(text))]
