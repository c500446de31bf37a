"""A tenant that floods, in many ways at once, and another one, whose runs begin as if there were nobody else."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import StartServer
from tests.support.chat_client import ChatClient
from tests.support.client import wait_until
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.session_client import says
from tests.support.socket_client import UPGRADE, events_path
from tests.support.tenants import Tenant, limited_server

RUNS_OF_OTHER = 40
FLOODERS_OF_A_KIND = 2
START_SECONDS = 30.0
"""Very wide: what is tested is that runs begin at all while others wait, whatever the machine is doing."""
PLACES = {"max_active_runs": 30, "max_waiting_runs": 30, "max_wait_seconds": 600}
LIMITS = {
    "max_tenant_active_runs": 20,
    "max_tenant_waiting_runs": 15,
    "max_tenant_streams": 20,
    "max_tenant_runs_per_minute": 3000,
    "max_session_queue": 5,
}
REFUSED = {429, 503}

Flood = Callable[[], requests.Response]


class Flooder:
    """A tenant that does everything all the time. Its model takes for ever to answer."""

    def __init__(self, url: str, model: str) -> None:
        self.tenant = Tenant(url)
        self.model = model
        self.agent = self.tenant.scripted_agent(model)
        self.session = self.tenant.session(self.agent)
        self.chat = ChatClient(self.tenant, model)
        self.run = self.tenant.start_run(model)
        self.turn = self.tenant.start(self.session)["turn_id"]
        self.token = self.tenant.json("POST", f"/runs/{self.run}/stream-tokens", 201)["token"]
        self.kept: list[requests.Response] = []
        self.statuses: dict[str, Counter[int]] = {}

    def floods(self) -> dict[str, Flood]:
        tenant = self.tenant
        turns = f"/sessions/{self.session}/runs"
        sse, chat = f"/runs/{self.run}/events/sse", f"/sessions/{self.session}/turns/{self.turn}/chat-events"
        wait = {"query": "Hello?", "user": "bo", "response_mode": "streaming", "inputs": {}}
        return {
            "runs": lambda: tenant.post_run(self.model),
            "agent runs": lambda: tenant.call("POST", f"/agents/{self.agent['id']}/runs", json={"query": "Hello?"}),
            "turns of one session": lambda: tenant.call("POST", turns, json={"query": "Hello?"}),
            "turns of new sessions": self._turn_of_new_session,
            "interrupts": lambda: tenant.call(
                "POST", turns, json={"query": "Hello?", "multitask_strategy": "interrupt"}
            ),
            "chats": lambda: self._keep(self.chat.post()),
            "chats of one conversation": lambda: self._keep(
                tenant.open("/v1/chat-messages", None, "POST", json=wait, params={"app_id": self.agent["id"]})
            ),
            "event streams": lambda: self._keep(tenant.open(sse)),
            "event streams with a token": lambda: self._keep(tenant.open(sse, self.token)),
            "chat streams": lambda: self._keep(tenant.open(chat)),
            "sockets": lambda: self._socket(events_path(self.run)),
            "feeds": lambda: self._socket("/events/ws"),
        }

    def _turn_of_new_session(self) -> requests.Response:
        session = self.tenant.session(self.agent)
        return self.tenant.call("POST", f"/sessions/{session}/runs", json={"query": "Hello?"})

    def _socket(self, path: str) -> requests.Response:
        return self._keep(self.tenant.open(path, None, "GET", more=UPGRADE))

    def _keep(self, response: requests.Response) -> requests.Response:
        """Whose stream stays open, unread."""
        if response.status_code < 400:
            self.kept.append(response)
        return response


@contextmanager
def flooding(flooder: Flooder) -> Iterator[None]:
    """All floods at once, for the time of the block; each has been refused, or waits, before it begins."""
    is_over = threading.Event()

    def go_on(name: str, flood: Flood) -> None:
        seen = flooder.statuses.setdefault(name, Counter())
        while not is_over.is_set():
            with suppress(requests.Timeout):
                seen[flood().status_code] += 1

    floods = flooder.floods()
    with ThreadPoolExecutor(len(floods) * FLOODERS_OF_A_KIND) as pool:
        under_way = [pool.submit(go_on, *flood) for flood in floods.items() for _ in range(FLOODERS_OF_A_KIND)]
        try:
            wait_until(lambda: len(flooder.statuses) == len(floods) and _refusals(flooder) >= 100, timeout=120)
            yield
        finally:
            is_over.set()
            for response in flooder.kept:
                response.close()
    for one in under_way:
        one.result()


def _refusals(flooder: Flooder) -> int:
    return sum(seen[status] for seen in flooder.statuses.values() for status in REFUSED)


@pytest.mark.parametrize("limits", [LIMITS, {}], ids=["with limits", "by default"])
def test_a_tenant_that_floods_keeps_no_run_of_another_out(
    start_server: StartServer,
    tmp_path: Path,
    daemon: ScriptedDaemon,
    request: pytest.FixtureRequest,
    limits: dict[str, Any],
    record_property: Callable[[str, object], None],
) -> None:
    model = str(request.node.name)
    daemon.script(model, [{"text": "for"}, {"wait": "released"}, *says("ever")])
    daemon.script(f"{model}-other", says("done"))
    server = limited_server(start_server, tmp_path, f"flood-{bool(limits)}", **PLACES, **limits)
    flooder, other = Flooder(server.url, model), Tenant(server.url)
    seconds: list[float] = []

    with flooding(flooder):
        for _ in range(RUNS_OF_OTHER):
            begun = time.monotonic()
            run_id = other.start_run(f"{model}-other")
            assert other.finish(run_id)["type"] == "run_succeeded"
            seconds.append(time.monotonic() - begun)
    daemon.release("released")

    p99 = sorted(seconds)[math.ceil(len(seconds) * 0.99) - 1]
    record_property("p99", p99)
    assert p99 < START_SECONDS
    for name, seen in flooder.statuses.items():
        assert set(seen) <= {101, 200, 201, 202} | REFUSED, name
    if limits:
        assert {name for name, seen in flooder.statuses.items() if not seen[429]} == set()
    assert "Traceback" not in server.log
