"""One call of a plugin's tool, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from runtime.llm.plugin_daemon import PluginDaemonClient
from runtime.llm.plugin_tools import PluginToolCaller, PreparedTool, calls
from tests.support.plugin_daemon import ScriptedDaemon, running_daemon

CANARY = "sk-canary-7f3a9"


@pytest.fixture(scope="module")
def own_daemon() -> Iterator[ScriptedDaemon]:
    with running_daemon() as daemon:
        yield daemon


def tool(**credentials: Any) -> PreparedTool:
    return PreparedTool(
        plugin_id="org/plugin",
        provider="provider",
        tool_name="search",
        name="find",
        description="Find things.",
        credential_type="unauthorized",
        credentials=credentials,
        runtime_parameters={},
        parameters=[],
        json_schema={"type": "object"},
    )


def client(daemon: ScriptedDaemon) -> PluginDaemonClient:
    return PluginDaemonClient(
        base_url=daemon.url,
        api_key=SecretStr("daemon-key"),
        connect_timeout=10,
        read_timeout=10,
        write_timeout=10,
        pool_timeout=None,
        max_connections=10,
        max_keepalive_connections=1,
        keepalive_expiry=1,
    )


def observe(daemon: ScriptedDaemon, answer: str, *, user_id: str | None = None, **credentials: Any) -> str:
    daemon.script("search", [{"data": {"type": "text", "message": {"text": answer}}}])

    async def scenario() -> str:
        used = client(daemon)
        try:
            return await PluginToolCaller(used, tenant_id="tenant", user_id=user_id).observe(tool(**credentials), {})
        finally:
            await used.aclose()

    return asyncio.run(scenario())


def test_a_call_without_a_user_names_none(own_daemon: ScriptedDaemon) -> None:
    observe(own_daemon, "ok")

    assert list(own_daemon.calls("search")[0]["body"]) == ["data"]


@pytest.mark.parametrize(
    "secret", [CANARY, "P@ssw0rd-of-mine", "https://hooks.example.com/services/T0/AbCdEfGhIjKlMnOpQrStUvWx"]
)
def test_a_credential_is_taken_out_of_a_result(own_daemon: ScriptedDaemon, secret: str) -> None:
    assert observe(own_daemon, f"key: {secret}.", key=secret) == "key: [REDACTED]."


@pytest.mark.parametrize(
    "value", ["https://gitlab.example.com:8443/api/v4", "someone@example.org", "eu-west-1", "true"]
)
def test_a_credential_that_is_an_ordinary_word_stays_in_a_result(own_daemon: ScriptedDaemon, value: str) -> None:
    assert observe(own_daemon, f"{value}/issues/1", setting=value) == f"{value}/issues/1"


def test_a_too_long_answer_is_reported(own_daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_ANSWER_BYTES", 1 << 20)

    told = observe(own_daemon, "x" * (2 << 20))

    assert told == "The tool find failed: the tool's answer is larger than 1 MiB."


def test_an_internal_error_is_not_shown_to_the_model(own_daemon: ScriptedDaemon) -> None:
    async def scenario() -> None:
        used = client(own_daemon)
        await used.aclose()
        await PluginToolCaller(used, tenant_id="tenant", user_id=None).observe(tool(), {})

    with pytest.raises(RuntimeError, match="the plugin daemon client is closed"):
        asyncio.run(scenario())
