"""The MCP layer, against a server built with the official SDK. Commands are tested where gevent has patched Python."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from mcp_types import (
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    Tool,
)
from pydantic import SecretStr
from pydantic_ai import Agent
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset

from errors import InvalidComposition
from runtime.composition.binding import bind_composition
from runtime.composition.layer import NoState
from runtime.config import OperatorRules
from runtime.layers import greenrun_mcp
from runtime.layers.greenrun_mcp import GreenrunMcpLayer, McpConfig
from runtime.layers.registry import LAYER_TYPES
from runtime.llm.clients import ModelClients
from runtime.llm.plugin_daemon import PluginDaemonClient
from runtime.llm.plugin_tools.observation import NOTHING
from runtime.mcp.errors import McpUnavailable
from runtime.mcp.limits import MAX_MESSAGE_BYTES, MAX_SCHEMA_BYTES, MAX_TOOLS
from runtime.mcp.results import result_text
from runtime.mcp.tools import offered_tools
from runtime.protocol.redaction import Redactor
from runtime.protocol.requests import CompositionSpec, OnExit
from tests.support.mcp_server import TOOLS, RunningMcpServer, running_mcp_server

URL = "https://tools.example.com/mcp"
HERE = OperatorRules(allow_private_urls=True)
Call = tuple[str, dict[str, Any]]
NOBODY_LISTENS = "http://127.0.0.1:9/mcp"


def bind(*layers: dict[str, Any], rules: OperatorRules | None = None) -> Any:
    spec = CompositionSpec.model_validate({"layers": list(layers)})
    return bind_composition(spec, registry=LAYER_TYPES, on_exit=OnExit(), snapshot=None, rules=rules)


def mcp(name: str = "tools", **config: Any) -> dict[str, Any]:
    return {"name": name, "type": "greenrun.mcp", "config": config}


# The config.


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({}, "either a url or a command"),
        ({"url": URL, "command": "files"}, "either a url or a command"),
        ({"url": "ftp://example.com/"}, "http"),
        ({"url": "http://user:canary@example.com/"}, "user name"),
        ({"command": "files", "headers": {"X-Key": "canary"}}, "headers are for a url"),
        ({"url": URL, "headers": {"X-Key": "can\r\nary"}}, "cannot send"),
        ({"url": URL, "headers": {"X Key": "canary"}}, "cannot send"),
        ({"url": URL, "headers": {"Host": "canary"}}, "set by the connection"),
        ({"url": URL, "headers": {"Mcp-Session-Id": "canary"}}, "set by the connection"),
        ({"url": URL, "headers": {f"x-{number}": "" for number in range(33)}}, "more than 32"),
        ({"url": URL, "timeout_seconds": 601}, "timeout_seconds"),
        ({"url": URL, "connect_timeout_seconds": 0}, "connect_timeout_seconds"),
        ({"url": URL, "max_result_chars": 1_000_001}, "max_result_chars"),
        ({"url": URL, "allowed_tools": []}, "allowed_tools"),
        ({"url": URL, "tool_prefix": "no spaces"}, "tool_prefix"),
        ({"url": URL, "tool_prefix": "p" * 32, "allowed_tools": ["t" * 32]}, "65 characters"),
        ({"url": URL, "on_unavailable": "hang"}, "on_unavailable"),
        ({"url": URL, "argv": ["canary"]}, "argv"),
    ],
)
def test_a_config_that_cannot_work_is_refused_without_repeating_it(config: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidComposition, match=what) as refused:
        bind(mcp(**config))

    assert "canary" not in str(refused.value)


def test_the_names_of_allowed_tools_are_known_at_once() -> None:
    composition = bind(
        mcp("a", url=URL, allowed_tools=["echo", "bad.name"], tool_prefix="one"),
        mcp("b", url=URL, allowed_tools=["echo"]),
        mcp("c", url=URL),
    )

    assert composition.tool_names() == ["one_echo", "one_bad_name", "echo"]


@pytest.mark.parametrize(
    "other",
    [
        mcp("b", url=URL, allowed_tools=["count.words"]),
        {"name": "llm", "type": "greenrun.demo_llm", "config": {"call_tool": "count_words"}},
    ],
)
def test_a_name_that_two_layers_use_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(InvalidComposition, match="tool name 'count_words' is used twice"):
        bind(mcp("a", url=URL, allowed_tools=["count_words"]), other)


@pytest.mark.parametrize(
    ("config", "rules", "what"),
    [
        ({"url": "http://127.0.0.1/mcp"}, OperatorRules(), "layer 'tools': url names a private address"),
        ({"command": "files"}, OperatorRules(), "layer 'tools': .*no MCP command named 'files'"),
        (
            {"command": "/bin/sh"},
            OperatorRules(mcp_commands={"files": ["mcp-files"]}),
            "no MCP command named '/bin/sh'",
        ),
    ],
)
def test_a_config_that_the_operator_does_not_allow_is_refused(
    config: dict[str, Any], rules: OperatorRules, what: str
) -> None:
    with pytest.raises(InvalidComposition, match=what):
        bind(mcp(**config), rules=rules)


def test_a_config_that_the_operator_allows_is_accepted() -> None:
    rules = OperatorRules(allow_private_urls=True, mcp_commands={"files": ["mcp-files"]})

    assert bind(mcp("a", url="http://127.0.0.1/mcp"), mcp("b", command="files"), rules=rules).tool_names() == []


def test_without_its_extra_the_layer_is_refused_and_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greenrun_mcp, "_is_installed", lambda: False)

    with pytest.raises(InvalidComposition, match="the extra 'mcp'"):
        bind(mcp(url=URL), rules=OperatorRules())


def test_keys_in_headers_and_in_the_query_are_secrets() -> None:
    headers = {"Authorization": "Bearer canary-key", "X-Key": "canary-two"}
    composition = bind(mcp(url=f"{URL}?mode=search&key=canary-in-the-query", headers=headers))
    redactor = Redactor(composition.secrets())

    cleaned = redactor.clean("Bearer canary-key; canary-key; canary-two; canary-in-the-query; search")
    assert cleaned == "[REDACTED]; [REDACTED]; [REDACTED]; [REDACTED]; search"
    assert "canary" not in repr(composition.layers[0].config)


# What a server offers.


def tool(name: str, **rest: Any) -> Tool:
    return Tool(name=name, input_schema={"type": "object"}, **rest)


def test_the_offered_tools_are_those_of_the_allow_list() -> None:
    offered = offered_tools([tool("a"), tool("b.c", description="says"), tool("d")], allowed=["b.c", "a"], prefix="p")

    assert [(own, definition.name) for own, definition in offered.items()] == [("b.c", "p_b_c"), ("a", "p_a")]
    assert offered["b.c"].description == "says"
    assert offered["b.c"].parameters_json_schema == {"type": "object"}


@pytest.mark.parametrize(
    ("tools", "allowed", "what"),
    [
        ([tool("a")], ["a", "b"], "no tool named 'b'"),
        ([tool(f"t{number}") for number in range(MAX_TOOLS + 1)], None, f"{MAX_TOOLS + 1} tools"),
        ([tool("a.b"), tool("a_b")], None, "two of its tools would be named 'a_b'"),
        ([tool("t" * 65)], None, "65 characters"),
        ([Tool(name="a", input_schema={"description": "x" * MAX_SCHEMA_BYTES})], None, "parameters of its tool 'a'"),
        (
            [Tool(name=f"t{n}", input_schema={"description": "x" * (MAX_SCHEMA_BYTES - 100)}) for n in range(9)],
            None,
            "parameters of its tools",
        ),
    ],
)
def test_a_server_whose_tools_cannot_be_used_is_unavailable(
    tools: list[Tool], allowed: list[str] | None, what: str
) -> None:
    with pytest.raises(McpUnavailable, match=what):
        offered_tools(tools, allowed=allowed, prefix=None)


def test_too_many_tools_do_no_harm_when_they_are_not_allowed() -> None:
    assert len(offered_tools([tool(f"t{n}") for n in range(MAX_TOOLS + 1)], allowed=["t1"], prefix=None)) == 1


# What a tool returns.


def result(*content: Any, **rest: Any) -> CallToolResult:
    return CallToolResult(content=list(content), **rest)


def test_the_texts_of_a_result_are_shown_and_the_rest_is_named() -> None:
    text = result_text(
        result(
            TextContent(text="first"),
            ImageContent(data="AAAA", mime_type="image/png"),
            EmbeddedResource(resource=TextResourceContents(uri="file:///a", text="a file")),
            EmbeddedResource(resource=BlobResourceContents(uri="file:///b", blob="AAAA")),
            ResourceLink(name="more", uri="https://example.com/more"),
        ),
        1000,
    )

    assert text.split("\n\n") == [
        "first",
        "[image, image/png, 3 bytes, not shown]",
        "a file",
        "[file, application/octet-stream, 3 bytes, not shown]",
        "[more](https://example.com/more)",
    ]


def test_a_result_without_content_is_its_structure() -> None:
    assert json.loads(result_text(result(structured_content={"grüße": 1}), 100)) == {"grüße": 1}


def test_blank_texts_give_way_to_the_structure() -> None:
    assert result_text(result(TextContent(text=" "), structured_content={"a": 1}), 100) == '{"a": 1}'


@pytest.mark.parametrize("content", [(), (TextContent(text=""),), (TextContent(text=" \n"), TextContent(text=""))])
def test_a_result_that_is_empty_says_so(content: tuple[TextContent, ...]) -> None:
    assert result_text(result(*content), 100) == NOTHING


@pytest.mark.parametrize("size", [99, 100, 101, 5000])
def test_a_result_is_never_longer_than_its_limit(size: int) -> None:
    text = result_text(result(TextContent(text="x" * size)), 100)

    assert len(text) == min(size, 100)
    assert ("cut here" in text) == (size > 100)


# With a server.


@pytest.fixture(scope="module")
def server() -> Iterator[RunningMcpServer]:
    with running_mcp_server() as server:
        yield server


@dataclass
class Told:
    """What a run showed its model."""

    tools: list[str] = field(default_factory=list)
    instructions: str | None = None
    returned: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0


def make_layer(**config: Any) -> GreenrunMcpLayer:
    return GreenrunMcpLayer("tools", McpConfig.model_validate(config), NoState())


def clients(rules: OperatorRules = HERE) -> ModelClients:
    daemon = PluginDaemonClient(
        base_url="http://127.0.0.1:9",
        api_key=SecretStr(""),
        connect_timeout=1,
        read_timeout=1,
        write_timeout=1,
        pool_timeout=None,
        max_connections=1,
        max_keepalive_connections=0,
        keepalive_expiry=0,
    )
    return ModelClients(plugin_daemon=daemon, rules=rules)


def run(
    *calls: Call | list[Call],
    told: Told | None = None,
    rules: OperatorRules = HERE,
    more: list[AbstractToolset[None]] | None = None,
    between: Callable[[], None] | None = None,
    **config: Any,
) -> Told:
    """A run whose model makes one call after another, those of a list together, and then ends."""
    told = told or Told()
    left = list(calls)

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        told.tools = [definition.name for definition in info.function_tools]
        told.instructions = info.instructions
        last = messages[-1]
        assert isinstance(last, ModelRequest)
        for part in last.parts:
            if isinstance(part, ToolReturnPart):
                told.returned.append((part.outcome, str(part.content)))
        if between is not None:
            between()
        if not left:
            return ModelResponse(parts=[TextPart("done")])
        together = left.pop(0)
        together = together if isinstance(together, list) else [together]
        return ModelResponse(parts=[ToolCallPart(name, arguments) for name, arguments in together])

    async def work() -> None:
        agent: Agent[None, str] = Agent(FunctionModel(model))
        began = asyncio.get_running_loop().time()
        try:
            toolsets = make_layer(**config).toolsets(clients(rules))
            await agent.run("Go.", toolsets=[*(more or []), *toolsets])
        finally:
            told.seconds = asyncio.get_running_loop().time() - began
            await asyncio.sleep(0)
            assert len(asyncio.all_tasks()) == 1, "the session left a task behind"

    asyncio.run(work())
    return told


def test_the_tools_of_a_server_are_offered_and_called(server: RunningMcpServer) -> None:
    told = run(("echo", {"text": "hello"}), url=server.url)

    assert told.tools == [name.replace(".", "_") for name in TOOLS]
    assert told.instructions is None
    assert told.returned == [("success", "echo: hello")]


def test_a_tool_is_called_by_the_servers_name_for_it(server: RunningMcpServer) -> None:
    told = run(("p_bad_name", {}), url=server.url, allowed_tools=["bad.name"], tool_prefix="p")

    assert told.tools == ["p_bad_name"]
    assert told.returned == [("success", "odd")]


def test_the_server_is_sent_the_headers(server: RunningMcpServer) -> None:
    told = run(("secret", {}), url=server.url, headers={"X-Key": "k", "Authorization": "Bearer b"})

    assert told.returned == [("success", "k Bearer b")]


def test_a_key_in_the_error_of_a_tool_is_redacted(server: RunningMcpServer) -> None:
    told = run(("indiscreet", {}), url=server.url, headers={"Authorization": "Bearer canary-key"})

    [(outcome, text)] = told.returned
    assert outcome == "failed"
    assert "[REDACTED] has no access" in text
    assert "canary" not in text


def test_a_long_result_is_cut(server: RunningMcpServer) -> None:
    told = run(("big", {"characters": 500_000}), url=server.url, max_result_chars=1000)

    [(outcome, text)] = told.returned
    assert outcome == "success"
    assert len(text) == 1000
    assert text.endswith("[cut here: the whole result has 500000 characters]")


def test_a_tool_that_returns_nothing_says_so_to_the_model(server: RunningMcpServer) -> None:
    told = run(("silent", {}), url=server.url)

    assert told.returned == [("success", NOTHING)]


def test_failures_of_a_tool_are_shown_to_the_model_which_may_go_on(server: RunningMcpServer) -> None:
    told = run(
        ("fail", {}),
        ("echo", {"wrong": 1}),
        ("slow", {"seconds": 60}),
        ("big", {"characters": MAX_MESSAGE_BYTES + 1}),
        ("echo", {"text": "still here"}),
        url=server.url,
        timeout_seconds=1,
    )

    assert [outcome for outcome, _ in told.returned] == ["failed", "failed", "failed", "failed", "success"]
    texts = [text for _, text in told.returned]
    assert "fail" in texts[0]
    assert "text" in texts[1]
    assert texts[2] == "The tool did not answer within 1 seconds."
    assert f"larger than {MAX_MESSAGE_BYTES} bytes" in texts[3]
    assert texts[4] == "echo: still here"


def test_a_name_that_another_layer_uses_ends_the_run_and_says_what_to_do(server: RunningMcpServer) -> None:
    def echo() -> str:
        return ""

    with pytest.raises(UserError, match=r"'echo'.*tool_prefix"):
        run(url=server.url, more=[FunctionToolset([echo])])


def test_an_unreachable_server_fails_the_run() -> None:
    with pytest.raises(McpUnavailable, match="server of layer 'tools' is not available: it cannot be connected"):
        run(url=NOBODY_LISTENS)


def test_an_unreachable_server_can_be_an_observation() -> None:
    told = run(url=NOBODY_LISTENS, on_unavailable="observe")

    assert told.tools == []
    assert told.instructions == "The tools of 'tools' are not available at the moment."


def test_an_allowed_tool_that_the_server_does_not_have_fails_the_run(server: RunningMcpServer) -> None:
    with pytest.raises(McpUnavailable, match="it has no tool named 'nothing'"):
        run(url=server.url, allowed_tools=["echo", "nothing"])


def test_a_server_that_dies_in_a_call_fails_the_run() -> None:
    with running_mcp_server() as server, pytest.raises(McpUnavailable, match="is not available: the connection broke"):
        run(("die", {}), url=server.url)


def test_a_server_that_dies_in_a_call_can_be_an_observation() -> None:
    with running_mcp_server() as server:
        told = run(("die", {}), ("echo", {"text": ""}), url=server.url, on_unavailable="observe")

    assert told.returned == [("failed", "The tool's server is not available any more: the connection broke.")] * 2


def test_a_server_that_answers_nothing_is_given_up() -> None:
    with running_mcp_server() as server:
        server.freeze()
        told = Told()
        with pytest.raises(McpUnavailable, match="did not answer within 1 seconds"):
            run(told=told, url=server.url, connect_timeout_seconds=1)

    assert told.seconds < 20


def test_a_server_that_falls_silent_holds_up_neither_the_call_nor_the_end() -> None:
    with running_mcp_server() as server:
        told = run(("echo", {"text": ""}), url=server.url, timeout_seconds=1, between=server.freeze)

    assert told.returned == [("failed", "The tool did not answer within 1 seconds.")]
    assert told.seconds < 20


def test_a_run_that_the_operator_does_not_allow_makes_no_connection(server: RunningMcpServer) -> None:
    with pytest.raises(UserError, match="layer 'tools': url names a private address"):
        run(url=server.url, rules=OperatorRules())


# With servers that no SDK would make.


def answering(*answers: bytes, then: Callable[[str], Awaitable[None]]) -> list[bytes]:
    """Run a coroutine beside a server that gives each connection one of the answers; the last one repeats."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answers[min(len(requests), len(answers)) - 1])
        await writer.drain()
        writer.close()

    async def work() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            await then(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp")

    asyncio.run(work())
    return requests


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "it answered with status 401"),
        (b"HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n", "it answered with status 503"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "it answered: "),
        (b"HTTP/1.1 307 Elsewhere\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n", "it answered: Redirect"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
            "it answered: Unexpected",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
            "it compresses its answers",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: {\n",
            "the connection broke in the middle of an answer",
        ),
        (b"", "the connection broke"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the connection broke"),
    ],
    ids=["401", "503", "500", "redirect", "html", "gzip", "cut", "closed", "no-http"],
)
def test_an_answer_that_is_not_mcp_makes_the_server_unavailable(answer: bytes, what: str) -> None:
    async def connect(url: str) -> None:
        [toolset] = make_layer(url=url, connect_timeout_seconds=10).toolsets(clients())
        with pytest.raises(McpUnavailable, match=f"is not available: {what}"):
            await toolset.__aenter__()

    assert answering(answer, then=connect)
