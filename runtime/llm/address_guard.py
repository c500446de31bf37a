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
SPECIAL_IPV4 = [
    ipaddress.IPv4Network(network)
    for network in (
        "168.63.129.16/32",  # the host agent of Azure's machines
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # relays of 6to4
    )
]
SPECIAL_IPV6 = [
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
]
"""What Python's ``is_global`` counts as public, and is not. IPv6 that tunnels to an IPv4 address is never needed to
reach a server, and where it leads is for routers to say."""
ISATAP_IDS = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")
METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # Amazon ECS
        "169.254.170.23",  # Amazon EKS
        "fd00:ec2::23",
        "fd00:ec2::254",
        "fd20:ce::254",  # Google Cloud
    )
)
"""Where clouds tell a machine its own credentials. No model answers there, so not even the operator's permission for
private addresses opens them."""


class AddressNotAllowed(httpx2.ConnectError):
    """A name turned out to be an address that only the operator may allow. Nothing was sent."""


def check_url(url: str, *, allow_private: bool) -> None:
    """Raise ValueError, with a text for the caller, when ``url`` is not one that may be called.

    It must be http or https, have a host, and hold no user name. A host written as an address, in any of the ways
    that resolvers read as one, must be a public one unless ``allow_private``, and never one of cloud metadata. Looks
    nothing up.
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
    if _is_metadata_host(parsed.host):
        raise ValueError("names an address of cloud metadata, which is never called")
    if not allow_private and _is_private_host(parsed.host):
        raise ValueError("names a private address, which this server's operator does not allow")


def is_public(address: IPAddress) -> bool:
    """Whether the address is one of the public internet, also when it is an IPv4 address inside an IPv6 one."""
    address = _plain(address)
    if isinstance(address, ipaddress.IPv4Address):
        is_special = any(address in network for network in SPECIAL_IPV4)
        return address.is_global and not address.is_multicast and not is_special
    if any(address in network for network in SPECIAL_IPV6) or address.packed[8:12] in ISATAP_IDS:
        return False
    return address in GLOBAL_UNICAST and address.is_global


def may_connect(address: IPAddress, *, allow_private: bool) -> bool:
    """Whether a connection to the address may be made."""
    return _plain(address) not in METADATA and (allow_private or is_public(address))


def _plain(address: IPAddress) -> IPAddress:
    """The address that packets to this one reach: the IPv4 one where it is mapped into IPv6, or behind NAT64."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return ipaddress.IPv4Address(address.packed[-4:])
        return ipaddress.IPv6Address(address.packed)  # without its scope
    return address


def guarded_transport(*, allow_private: bool, limits: httpx2.Limits | None = None) -> httpx2.AsyncBaseTransport:
    """A transport that connects to public addresses only, or with ``allow_private`` to all but those of cloud metadata.

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


def _is_metadata_host(host: str) -> bool:
    address = literal_address(host.lower().rstrip("."))
    return address is not None and _plain(address) in METADATA


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
        allowed = self._allow_private
        return [text for text in addresses if may_connect(ipaddress.ip_address(text), allow_private=allowed)]
