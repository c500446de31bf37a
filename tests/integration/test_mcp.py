"""Runs with tools of real MCP servers, over HTTP and as commands, called by a scripted model."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import environment
from tests.support.client import RunClient, plugin_layers, prompt, wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.mcp_server import COMMAND, RunningMcpServer, running_mcp_server
from tests.support.plugin_daemon import ScriptedDaemon, Step
from tests.support.process_tree import descendants, still_running
from tests.support.redis_server import RedisServer

STOP_BOUND_SECONDS = 5.0
"""How long the processes of a cancelled run may live: one second is promised; a busy machine takes longer."""

COMMANDS = {
    "server": COMMAND,
    "stubborn": [*COMMAND, "--ignore-end"],
    "absent": ["/nonexistent/mcp-server"],
    "mute": ["sleep", "600"],
}
START: dict[str, Any] = {"connect_timeout_seconds": 60}
"""The config of a command: two cores start Python slowly while the whole suite runs."""


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[GunicornServer]:
    env = environment(
        redis_server.url,
        daemon.url,
        redis_prefix="mcp",
        allow_private_urls="true",
        mcp_commands=json.dumps(COMMANDS),
    )
    with running_server(env, workers=1) as server:
        yield server


@pytest.fixture(scope="module")
def mcp_server() -> Iterator[RunningMcpServer]:
    with running_mcp_server() as server:
        yield server


@pytest.fixture
def children(server: GunicornServer) -> Iterator[None]:
    """Asserts that the server has no more processes after a test than before it."""
    before = still_running(descendants(server.pid))
    yield
    wait_until(lambda: still_running(descendants(server.pid)) <= before)


def tools(name: str = "tools", **config: Any) -> dict[str, Any]:
    return {"name": name, "type": "greenrun.mcp", "config": config}


def calls(*steps: tuple[str, dict[str, Any]]) -> list[list[Step]]:
    """Scripts a model that calls one tool after the other, and then says that it is done."""
    answers: list[list[Step]] = [
        [{"tool_call": {"id": f"call-{number}", "name": name, "arguments": json.dumps(arguments)}}]
        for number, (name, arguments) in enumerate(steps)
    ]
    for answer in answers:
        answer.append({"finish": "tool_calls"})
    return [*answers, [{"text": "All done."}, {"finish": "stop"}]]


def returned(daemon: ScriptedDaemon, model: str) -> list[str]:
    """The tool results that the model was shown."""
    messages = daemon.calls(model)[-1]["body"]["data"]["prompt_messages"]
    return [message["content"] for message in messages if message["role"] == "tool"]


def system_texts(daemon: ScriptedDaemon, model: str) -> list[str]:
    messages = daemon.calls(model)[-1]["body"]["data"]["prompt_messages"]
    return [message["content"] for message in messages if message["role"] == "system"]


def offered(daemon: ScriptedDaemon, model: str) -> list[str]:
    """The tools that the model was shown."""
    return [tool["name"] for tool in daemon.calls(model)[-1]["body"]["data"]["tools"] or []]


def finish(client: RunClient, model: str, *layers: dict[str, Any]) -> dict[str, Any]:
    return client.finish(client.create(prompt(), *plugin_layers(model), *layers))


def failure(end: dict[str, Any]) -> str:
    assert end["type"] == "run_failed", end
    error = end["data"]["error"]
    assert isinstance(error, str)
    return error


def test_the_model_calls_a_tool_over_http(
    client: RunClient, daemon: ScriptedDaemon, mcp_server: RunningMcpServer
) -> None:
    daemon.script("http", *calls(("web_echo", {"text": "hello"})))
    layer = tools(url=mcp_server.url, allowed_tools=["echo", "slow"], tool_prefix="web")
    run_id = client.create(prompt(), *plugin_layers("http"), layer)

    frames = client.follow(run_id)

    assert frames[-1].data["data"]["output"] == "All done."
    assert offered(daemon, "http") == ["web_echo", "web_slow"]
    assert returned(daemon, "http") == ["echo: hello"]
    results = [
        frame.data["data"]["part"] for frame in frames if frame.data["data"].get("event_kind") == "function_tool_result"
    ]
    assert [(part["tool_name"], part["content"]) for part in results] == [("web_echo", "echo: hello")]


def test_the_model_calls_a_tool_of_a_command(client: RunClient, daemon: ScriptedDaemon, children: None) -> None:
    daemon.script("command", *calls(("echo", {"text": "hello"}), ("process_ids", {})))

    end = finish(client, "command", tools(command="server", **START))

    assert end["data"]["output"] == "All done."
    echoed, processes = returned(daemon, "command")
    assert echoed == "echo: hello"
    told = json.loads(processes)
    assert len(told["ids"]) == 2
    assert not [name for name in told["variables"] if name.startswith("DIFY_AGENT_")]
    wait_until(lambda: not still_running(set(told["ids"])))


def test_an_unreachable_server_fails_the_run_or_is_reported_to_the_model(
    client: RunClient, daemon: ScriptedDaemon
) -> None:
    daemon.script("gone", [{"text": "Without tools, then."}, {"finish": "stop"}])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/mcp"

    failed = finish(client, "gone", tools(url=url))
    observed = finish(client, "gone", tools(url=url, on_unavailable="observe"))

    assert failure(failed) == "the MCP server of layer 'tools' is not available: it cannot be connected to"
    assert observed["data"]["output"] == "Without tools, then."
    assert len(daemon.calls("gone")) == 1
    assert offered(daemon, "gone") == []
    assert system_texts(daemon, "gone") == ["The tools of 'tools' are not available at the moment."]


def test_a_command_that_is_not_there_or_says_nothing_fails_the_run(
    client: RunClient, daemon: ScriptedDaemon, children: None
) -> None:
    daemon.script("no-command", [{"text": "never"}])

    absent = finish(client, "no-command", tools(command="absent"))
    mute = finish(client, "no-command", tools(command="mute", connect_timeout_seconds=1))

    assert failure(absent).endswith("is not available: its command cannot be started")
    assert failure(mute).endswith("is not available: it did not answer within 1 seconds")
    assert daemon.calls("no-command") == []


@pytest.mark.parametrize("kind", ["url", "command"])
def test_a_server_that_dies_in_a_call_fails_the_run(
    client: RunClient, daemon: ScriptedDaemon, children: None, kind: str
) -> None:
    daemon.script("dies", *calls(("die", {})))
    with running_mcp_server() as mortal:
        where = {"url": mortal.url} if kind == "url" else {"command": "server", **START}

        end = finish(client, "dies", tools(**where))

    reason = "the connection broke" if kind == "url" else "its command has ended"
    assert failure(end) == f"the MCP server of layer 'tools' is not available: {reason}"


@pytest.mark.parametrize("kind", ["url", "command"])
def test_a_server_that_dies_in_a_call_can_be_an_observation(
    client: RunClient, daemon: ScriptedDaemon, children: None, kind: str
) -> None:
    daemon.script("dies-observed", *calls(("die", {}), ("echo", {"text": "there?"})))
    with running_mcp_server() as mortal:
        where = {"url": mortal.url} if kind == "url" else {"command": "server", **START}

        end = finish(client, "dies-observed", tools(on_unavailable="observe", **where))

    assert end["data"]["output"] == "All done."
    texts = returned(daemon, "dies-observed")
    assert len(texts) == 2
    assert all("The tool's server is not available any more" in text for text in texts)


def test_a_slow_tool_and_a_broken_one_are_reported_to_the_model(
    client: RunClient, daemon: ScriptedDaemon, mcp_server: RunningMcpServer
) -> None:
    daemon.script("slow", *calls(("slow", {"seconds": 600}), ("fail", {}), ("echo", {"text": "on it goes"})))

    end = finish(client, "slow", tools(url=mcp_server.url, timeout_seconds=1))

    assert end["data"]["output"] == "All done."
    slow, broken, echoed = returned(daemon, "slow")
    assert "did not answer within 1 seconds" in slow
    assert "fail" in broken
    assert echoed == "echo: on it goes"


def test_a_big_result_is_cut(client: RunClient, daemon: ScriptedDaemon, mcp_server: RunningMcpServer) -> None:
    daemon.script("big", *calls(("big", {"characters": 1_000_000})))

    finish(client, "big", tools(url=mcp_server.url, max_result_chars=500))

    [text] = returned(daemon, "big")
    assert len(text) == 500
    assert text.endswith("[cut here: the whole result has 1000000 characters]")


def test_a_tool_that_is_not_allowed_is_neither_offered_nor_called(
    client: RunClient, daemon: ScriptedDaemon, mcp_server: RunningMcpServer
) -> None:
    daemon.script("forbidden", *calls(("fail", {}), ("echo", {"text": "allowed"})))

    end = finish(client, "forbidden", tools(url=mcp_server.url, allowed_tools=["echo"]))

    assert end["data"]["output"] == "All done."
    assert offered(daemon, "forbidden") == ["echo"]
    refused, echoed = returned(daemon, "forbidden")
    assert "fail" in refused
    assert "broken" not in refused
    assert echoed == "echo: allowed"


def test_servers_with_tools_of_the_same_name_fail_the_run_and_say_why(
    client: RunClient, daemon: ScriptedDaemon, mcp_server: RunningMcpServer
) -> None:
    daemon.script("same", [{"text": "never"}])

    end = finish(client, "same", tools("one", url=mcp_server.url), tools("two", url=mcp_server.url))

    error = failure(end)
    assert "'echo'" in error
    assert "layer 'one'" in error
    assert "layer 'two'" in error
    assert "tool_prefix" in error


def test_no_header_is_in_an_event_or_in_the_log(
    client: RunClient, daemon: ScriptedDaemon, server: GunicornServer, mcp_server: RunningMcpServer
) -> None:
    daemon.script("secret", *calls(("echo", {"text": "x"})))
    layer = tools(url=mcp_server.url, headers={"Authorization": "Bearer canary-header"}, allowed_tools=["nothing"])

    run_id = client.create(prompt(), *plugin_layers("secret"), layer)
    frames = client.follow(run_id)

    assert frames[-1].data["data"]["error"].endswith("it has no tool named 'nothing'")
    assert "canary-header" not in json.dumps([frame.data for frame in frames])
    assert "canary-header" not in server.log


@pytest.mark.parametrize("command", ["server", "stubborn"])
def test_a_cancelled_run_ends_its_command_and_what_that_has_started(
    client: RunClient, daemon: ScriptedDaemon, children: None, command: str
) -> None:
    model = f"cancelled-{command}"
    daemon.script(model, *calls(("process_ids", {}), ("slow", {"seconds": 600})))
    run_id = client.create(prompt(), *plugin_layers(model), tools(command=command, timeout_seconds=600, **START))
    daemon.wait_for_call(model, count=2, timeout=60)
    ids = set(json.loads(returned(daemon, model)[0])["ids"])
    assert still_running(ids) == ids
    wait_until(lambda: _is_called(client, run_id, "slow"))

    began = time.monotonic()
    client.cancel(run_id)
    wait_until(lambda: not still_running(ids))

    assert time.monotonic() - began < STOP_BOUND_SECONDS
    assert client.finish(run_id)["type"] == "run_cancelled"


def _is_called(client: RunClient, run_id: str, tool: str) -> bool:
    events = client.page(run_id, limit=500)["events"]
    return any(
        event["data"].get("event_kind") == "function_tool_call" and event["data"]["part"]["tool_name"] == tool
        for event in events
    )


def test_a_run_that_is_cancelled_while_it_connects_ends_its_command(
    client: RunClient, daemon: ScriptedDaemon, server: GunicornServer, children: None
) -> None:
    daemon.script("connecting", [{"text": "never"}])
    before = still_running(descendants(server.pid))
    run_id = client.create(prompt(), *plugin_layers("connecting"), tools(command="mute", connect_timeout_seconds=60))
    wait_until(lambda: bool(still_running(descendants(server.pid)) - before))

    began = time.monotonic()
    client.cancel(run_id)
    wait_until(lambda: still_running(descendants(server.pid)) <= before)

    assert time.monotonic() - began < STOP_BOUND_SECONDS


def test_twenty_runs_use_one_server_at_once(
    client: RunClient, daemon: ScriptedDaemon, mcp_server: RunningMcpServer
) -> None:
    def one(number: int) -> tuple[Any, list[str]]:
        model = f"many-{number}"
        daemon.script(model, *calls(("slow", {"seconds": 0.2}), ("echo", {"text": f"run {number}"})))
        end = finish(RunClient(client.url), model, tools(url=mcp_server.url))
        return end["data"].get("output"), returned(daemon, model)

    with ThreadPoolExecutor(20) as threads:
        ends = list(threads.map(one, range(20)))

    assert ends == [("All done.", ["done at last", f"echo: run {number}"]) for number in range(20)]


def test_a_server_that_is_stopped_leaves_no_command_behind(redis_server: RedisServer, daemon: ScriptedDaemon) -> None:
    env = environment(
        redis_server.url,
        daemon.url,
        redis_prefix="mcp-stop",
        shutdown_grace_seconds=0,
        mcp_commands=json.dumps(COMMANDS),
    )
    daemon.script("stopped", *calls(("process_ids", {}), ("slow", {"seconds": 600})))
    with running_server(env) as server:
        client = RunClient(server.url)
        client.create(prompt(), *plugin_layers("stopped"), tools(command="stubborn", timeout_seconds=600, **START))
        daemon.wait_for_call("stopped", count=2, timeout=60)
        ids = set(json.loads(returned(daemon, "stopped")[0])["ids"])

        server.stop()

        wait_until(lambda: not still_running(ids))


def test_addresses_that_are_private_are_not_connected_to_unless_allowed(
    redis_server: RedisServer, daemon: ScriptedDaemon, mcp_server: RunningMcpServer
) -> None:
    daemon.script("private", [{"text": "never"}])
    name = socket.gethostname()
    env = environment(redis_server.url, daemon.url, redis_prefix="mcp-private")
    with running_server(env) as server:
        client = RunClient(server.url)

        written = client.post(
            {"composition": {"layers": [prompt(), *plugin_layers("private"), tools(url=mcp_server.url)]}}
        )
        end = finish(client, "private", tools(url=f"http://{name}:{mcp_server.port}/mcp"))

    assert written.status_code == 422
    assert "url names a private address" in written.text
    assert failure(end).endswith("the host's address is private, which this server's operator does not allow")
    assert daemon.calls("private") == []


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"command": "not-allowed"}, "no MCP command named 'not-allowed'"),
        ({"command": "server", "args": ["-c"]}, "args"),
        ({"url": "gopher://example.com/"}, "http"),
        ({}, "either a url or a command"),
    ],
)
def test_a_config_that_cannot_work_is_refused_at_once(client: RunClient, config: dict[str, Any], what: str) -> None:
    response = client.post({"composition": {"layers": [prompt(), *plugin_layers("refused"), tools(**config)]}})

    assert response.status_code == 422
    assert what in response.json()["message"]
