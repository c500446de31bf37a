"""Plugin tools in the real server, called by a scripted model and executed by a scripted daemon."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.client import Frame, RunClient, plugin_layers, prompt
from tests.support.plugin_daemon import Answer, ScriptedDaemon, Step

CLOSE_BOUND_SECONDS = 1.0
TOOL_KEY = "sk-tool-canary-credential"
SCHEMA = {
    "type": "object",
    "properties": {"query": {"type": "string"}, "limit": {"type": "number"}, "site": {"type": "string"}},
    "required": ["query"],
}


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name for the model and the tool of this test alone, so that no two tests share a script."""
    return re.sub(r"\W+", "-", str(request.node.name))[-50:].strip("-")


def tool_name(name: str) -> str:
    return f"{name}-tool"


def tools_layer(*tools: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "tools",
        "type": "dify.plugin.tools",
        "deps": {"execution_context": "execution_context"},
        "config": {"tools": list(tools)},
    }


def tool(name: str, **config: Any) -> dict[str, Any]:
    return {
        "plugin_id": "langgenius/google:0.1@abc",
        "provider": "langgenius/google/google",
        "tool_name": tool_name(name),
        "credential_type": "oauth2",
        "credentials": {"api_key": TOOL_KEY, "verify": True},
        "runtime_parameters": {"site": "a.org"},
        "parameters": [
            {"name": "query", "type": "string", "form": "llm", "required": True, "label": {"en_US": "Query"}},
            {"name": "limit", "type": "number", "form": "llm", "default": 10},
            {"name": "site", "type": "string", "form": "form"},
        ],
        "parameters_json_schema": SCHEMA,
        **config,
    }


def tool_call(name: str, arguments: object, call_id: str = "call-1") -> Step:
    return {"tool_call": {"id": call_id, "name": tool_name(name), "arguments": json.dumps(arguments)}}


def text(value: str) -> Step:
    return {"data": {"type": "text", "message": {"text": value}}}


def observe(
    client: RunClient, daemon: ScriptedDaemon, name: str, *steps: Step, arguments: object = None, **config: Any
) -> str:
    """Lets a model call a tool that gives this answer, and returns the result that the model is shown."""
    call = tool_call(name, {"query": "comets"} if arguments is None else arguments)
    daemon.script(name, [call, {"finish": "tool_calls"}], [{"text": "done"}, {"finish": "stop"}])
    daemon.script(tool_name(name), list(steps))
    run_id = client.create(prompt(), *plugin_layers(name), tools_layer(tool(name, **config)))

    frames = client.follow(run_id)

    assert frames[-1].event == "run_succeeded", frames[-1].data
    assert frames[-1].data["data"]["output"] == "done"
    assert TOOL_KEY not in json.dumps([frame.data for frame in frames])
    told = daemon.calls(name)[1]["body"]["data"]["prompt_messages"][-1]
    assert (told["role"], told["tool_call_id"]) == ("tool", "call-1")
    assert told["content"] == tool_results(frames)[0]
    return str(told["content"])


def tool_results(frames: list[Frame]) -> list[str]:
    events = [frame.data["data"] for frame in frames if frame.event == "pydantic_ai_event"]
    return [event["part"]["content"] for event in events if event["event_kind"] == "function_tool_result"]


def test_a_tool_is_called_for_the_model_and_its_answer_goes_back(
    client: RunClient, daemon: ScriptedDaemon, name: str
) -> None:
    arguments = {"query": "comets", "limit": "3", "site": "evil.org", "debug": True}

    told = observe(client, daemon, name, text("Two "), text("comets."), arguments=arguments)

    assert told == "Two comets."
    [call] = daemon.calls(tool_name(name))
    assert call["path"] == "/plugin/tenant-1/dispatch/tool/invoke"
    assert call["headers"]["x-api-key"] == daemon.api_key
    assert call["headers"]["x-plugin-id"] == "langgenius/google"
    assert call["headers"]["content-type"] == "application/json"
    assert call["body"] == {
        "user_id": "user-1",
        "data": {
            "provider": "google",
            "tool": tool_name(name),
            "credentials": {"api_key": TOOL_KEY, "verify": True},
            "credential_type": "oauth2",
            "tool_parameters": {"query": "comets", "limit": 3, "site": "a.org"},
        },
    }


def test_the_model_is_offered_the_tool_without_its_hidden_parameters(
    client: RunClient, daemon: ScriptedDaemon, name: str
) -> None:
    observe(client, daemon, name, text("ok"), description="Search.")

    offered = daemon.calls(name)[0]["body"]["data"]["tools"]
    visible = {"type": "object", "properties": {"query": {"type": "string"}, "limit": {"type": "number"}}}
    assert offered == [
        {"name": tool_name(name), "description": "Search.", "parameters": {**visible, "required": ["query"]}}
    ]


def test_every_kind_of_message_is_understood(client: RunClient, daemon: ScriptedDaemon, name: str) -> None:
    chunks = [
        {"id": "f", "sequence": number, "total_length": 10, "blob": base64.b64encode(data).decode(), "end": number == 2}
        for number, data in enumerate([b"hello", b"world", b""])
    ]
    messages: list[dict[str, Any]] = [
        {"type": "log", "message": {"id": "1", "label": "hidden-log", "status": "start", "data": {}, "metadata": {}}},
        {"type": "text", "message": {"text": "Result."}},
        {"type": "link", "message": {"text": "https://a.org/page"}},
        {"type": "image_link", "message": {"text": "https://a.org/1.png"}},
        {"type": "variable", "message": {"variable_name": "hidden-variable", "variable_value": 1, "stream": False}},
        *({"type": "blob_chunk", "message": chunk, "meta": {"mime_type": "text/plain"}} for chunk in chunks),
        {"type": "json", "message": {"json_object": {"found": 2}, "suppress_output": False}},
        {"type": "json", "message": {"json_object": {"hidden": 2}, "suppress_output": True}},
    ]

    told = observe(client, daemon, name, *({"data": message, "bytes": 900} for message in messages))

    assert told == (
        "Result.\n"
        "A link for the user: https://a.org/page\nTell the user to open it.\n"
        "An image was made and sent to the user already. Do not make it again; tell the user to look at it.\n"
        "The tool made a file (text/plain) of 10 bytes:\nhelloworld\n"
        '{"found":2}'
    )


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (
            [{"error": {"error_type": "ToolInvokeError", "message": f"{TOOL_KEY} is bad", "wrap": 1}}],
            "[REDACTED] is bad",
        ),
        ([{"error": {"error_type": "ToolProviderCredentialValidationError", "wrap": 1}}], "check the credentials"),
        ([{"error": {"error_type": "PluginDaemonInternalServerError", "message": "killed by timeout"}}], "killed by"),
        ([{"status": 404, "body": '{"code": -404, "message": "no plugin", "data": null}'}], "There is no tool named"),
        ([{"status": 400, "body": '{"code": -400, "message": "no query", "data": null}'}], "no query. Check the param"),
        ([{"status": 401, "body": "{}"}], "check the credentials"),
        ([text("half"), {"abort": True}], "the plugin daemon's answer broke off"),
        ([{"write": 'data: {"code": 0, "data": null}\n\n'}], "a frame of the plugin daemon's answer has no data"),
        ([{"write": "data: <html>\n\n"}], "is not a JSON object"),
        ([], "The tool ended without a result."),
        ([text(f"the key is {TOOL_KEY}")], "the key is [REDACTED]"),
        ([text("long " * 40_000)], "The rest is left out."),
    ],
    ids=["error", "creds", "late", "404", "400", "401", "cut", "null", "html", "empty", "echo", "long"],
)
def test_a_failure_of_a_tool_is_reported_to_the_model(
    client: RunClient, daemon: ScriptedDaemon, name: str, steps: Answer, told: str
) -> None:
    assert told in observe(client, daemon, name, *steps)


def test_a_tool_is_not_called_without_what_it_needs(client: RunClient, daemon: ScriptedDaemon, name: str) -> None:
    told = observe(client, daemon, name, text("never"), arguments={"limit": 1})

    assert "was not called: the required parameter 'query' is missing" in told
    assert daemon.calls(tool_name(name)) == []


def test_a_silent_tool_is_reported_to_the_model_and_the_run_goes_on(
    start_server: StartServer, daemon: ScriptedDaemon, name: str
) -> None:
    client = RunClient(start_server(redis_prefix="silent-tool", plugin_daemon_read_timeout=1).url)

    assert "took too long" in observe(client, daemon, name, {"hang": True})
    assert daemon.wait_until_ended(tool_name(name))["closed_by_client"]


def test_tools_wait_their_turn_at_tools_and_not_at_models(
    start_server: StartServer, daemon: ScriptedDaemon, name: str
) -> None:
    client = RunClient(start_server(redis_prefix="tool-turn", plugin_daemon_max_connections=1).url)
    twice = [tool_call(name, {"query": "a"}, "call-1"), tool_call(name, {"query": "b"}, "call-2")]
    daemon.script(name, [*twice, {"finish": "tool_calls"}])
    daemon.script(f"{name}-later", [twice[0], {"finish": "tool_calls"}], [{"text": "done"}, {"finish": "stop"}])
    daemon.script(f"{name}-plain", [{"text": "plain"}, {"finish": "stop"}])
    daemon.script(tool_name(name), [{"hang": True}], [text("next")])
    occupying = client.create(prompt(), *plugin_layers(name), tools_layer(tool(name)))
    daemon.wait_for_call(tool_name(name))

    plain = client.finish(client.create(prompt(), *plugin_layers(f"{name}-plain")))
    calls_meanwhile = len(daemon.calls(tool_name(name)))
    client.cancel(occupying)
    later = client.follow(client.create(prompt(), *plugin_layers(f"{name}-later"), tools_layer(tool(name))))

    assert plain["data"]["output"] == "plain"
    assert calls_meanwhile == 1
    assert tool_results(later) == ["next"]
    assert len(daemon.calls(tool_name(name))) == 2


def test_tools_that_are_called_together_run_side_by_side(client: RunClient, daemon: ScriptedDaemon, name: str) -> None:
    slow, fast = tool(name), tool(name, tool_name=f"{name}-fast", parameters=[])
    second = {"tool_call": {"id": "call-2", "name": f"{name}-fast", "arguments": "{}"}}
    daemon.script(name, [tool_call(name, {"query": "a"}), second, {"finish": "tool_calls"}], [{"text": "never"}])
    daemon.script(tool_name(name), [{"hang": True}])
    daemon.script(f"{name}-fast", [text("fast")])
    run_id = client.create(prompt(), *plugin_layers(name), tools_layer(slow, fast))

    daemon.wait_for_call(tool_name(name))
    daemon.wait_until_ended(f"{name}-fast")

    client.cancel(run_id)
    assert daemon.wait_until_ended(tool_name(name))["closed_by_client"]


def test_a_cancelled_run_closes_its_tool_call(client: RunClient, daemon: ScriptedDaemon, name: str) -> None:
    daemon.script(name, [tool_call(name, {"query": "comets"}), {"finish": "tool_calls"}])
    daemon.script(tool_name(name), [text("begun"), {"hang": True}])
    run_id = client.create(prompt(), *plugin_layers(name), tools_layer(tool(name)))
    daemon.wait_for_call(tool_name(name))

    asked_at = time.time()
    client.cancel(run_id)

    call = daemon.wait_until_ended(tool_name(name))
    assert call["closed_by_client"]
    assert call["began_at"] + call["open_seconds"] - asked_at < CLOSE_BOUND_SECONDS
    assert client.finish(run_id)["type"] == "run_cancelled"


def test_two_tools_of_one_name_are_refused_before_anything_runs(client: RunClient, name: str) -> None:
    tools = tools_layer(tool(name), tool(name))

    response = client.post({"composition": {"layers": [prompt(), *plugin_layers(name), tools]}})

    assert response.status_code == 422
    assert response.json()["detail"] == f"tool name '{tool_name(name)}' is used twice"
    assert TOOL_KEY not in response.text
