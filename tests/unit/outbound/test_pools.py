"""Connections apart for each group, and closed once nobody needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx2
import pytest
from pydantic import SecretStr
from pydantic_ai.settings import ModelSettings

from runtime.llm.providers.client import _group
from runtime.llm.providers.target import ModelTarget
from runtime.outbound import pools as pools_module
from runtime.outbound.bounds import AnswerBounds
from runtime.outbound.pools import ConnectionPools
from runtime.outbound.transport import OutboundTransport, client_over
from tests.support.listening import listening

BOUNDS = AnswerBounds(success_bytes=1000, other_bytes=1000, seconds=None)
KEY = SecretStr("sk-key")


class Site:
    """A server that counts its connections, and holds answers back while it is told to."""

    def __init__(self) -> None:
        self.connections = 0
        self.go = asyncio.Event()
        self.go.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await self.go.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Pools(ConnectionPools):
    """Pools that ask one site."""

    def __init__(self, url: str) -> None:
        super().__init__(lambda: OutboundTransport(httpx2.Limits(), BOUNDS), idle_seconds=1000)
        self._url = url

    async def ask(self, group: str) -> None:
        http = client_over(self.transport(group), timeout=httpx2.Timeout(10))
        assert (await http.get(self._url)).text == "ok"


def at_a_site(scenario: Callable[[Site, Pools], Awaitable[None]]) -> None:
    async def beside() -> None:
        site = Site()
        async with listening(site.serve) as port:
            pools = Pools(f"http://127.0.0.1:{port}/")
            await scenario(site, pools)
            await pools.aclose()

    asyncio.run(beside())


def test_a_group_uses_its_connection_again_and_no_other_groups() -> None:
    async def scenario(site: Site, pools: Pools) -> None:
        for group in ("a", "b", "a", "b"):
            await pools.ask(group)
        assert site.connections == 2

    at_a_site(scenario)


def test_a_pool_is_closed_once_it_has_been_idle_for_long_and_not_before() -> None:
    async def scenario(site: Site, pools: Pools) -> None:
        await pools.ask("idle")
        site.go.clear()
        call = asyncio.create_task(pools.ask("busy"))
        while site.connections < 2:
            await asyncio.sleep(0)
        pools._idle_seconds = 0
        pools._close_old()
        assert len(pools) == 1
        site.go.set()
        await call
        pools._close_old()
        assert len(pools) == 0

    at_a_site(scenario)


def test_there_are_so_many_idle_pools_at_most_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools_module, "MAX_IDLE_POOLS", 3)

    async def scenario(site: Site, pools: Pools) -> None:
        for group in ("a", "b", "c", "a", "d"):
            await pools.ask(group)
        assert len(pools) == 3
        assert site.connections == 4
        await pools.ask("a")
        assert site.connections == 4
        await pools.ask("b")
        assert site.connections == 5

    at_a_site(scenario)


def test_closed_pools_make_no_calls() -> None:
    async def scenario(site: Site, pools: Pools) -> None:
        transport = pools.transport("a")
        await pools.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await transport.handle_async_request(httpx2.Request("GET", pools._url))
        with pytest.raises(RuntimeError, match="closed"):
            pools.transport("a")

    at_a_site(scenario)


def test_targets_share_connections_by_tenant_and_credentials() -> None:
    known = ModelTarget("openai:a", api_key=KEY, tenant_id="tenant")
    same = ModelTarget("openai:b", api_key=SecretStr("sk-key"), tenant_id="tenant", settings=ModelSettings(seed=1))
    settings = ModelSettings(extra_headers={"api-key": "k"})
    others = [
        ModelTarget("openai:a", api_key=KEY),
        ModelTarget("openai:a", api_key=KEY, tenant_id="other"),
        ModelTarget("openai:a", api_key=SecretStr("sk-other"), tenant_id="tenant"),
        ModelTarget("openai:a", api_key=KEY, tenant_id="tenant", settings=settings),
    ]

    assert _group(known) == _group(same)
    assert len({_group(target) for target in [known, *others]}) == 5
    assert "sk-key" not in repr(_group(known))
