"""Sessions whose snapshots go from an older server to this one and back."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.protocol.dialects import RULES, Dialect
from tests.clients.pydantic_ai.conftest import ClientOf
from tests.clients.pydantic_ai.environments import Libraries
from tests.clients.pydantic_ai.inside.histories import QUESTION
from tests.support.client import RunClient, plugin_layers, prompt
from tests.support.plugin_daemon import ScriptedDaemon

SERVERS = [
    ("1.85.1", Dialect.MAY_14),
    ("1.94.0", Dialect.JUNE_16),
    ("1.107.0", Dialect.AUGUST_10),
    ("2.31.0", Dialect.CURRENT),
]
"""The versions that older servers had, each with a dialect of their clients."""

HISTORY = {"name": "history", "type": "pydantic_ai.history"}
ASK = {"name": "ask", "type": "dify.ask_human", "config": {}}
DONE = [{"text": "It is done."}, {"finish": "stop"}]


def snapshot(layers: list[dict[str, Any]], messages: list[Any]) -> dict[str, Any]:
    """A snapshot as an older server returns it."""
    states = {"history": {"messages": messages}}
    entries = [
        {"name": layer["name"], "lifecycle_state": "suspended", "runtime_state": states.get(layer["name"], {})}
        for layer in layers
    ]
    return {"schema_version": 1, "layers": entries}


def succeed(client: RunClient, layers: list[dict[str, Any]], **rest: Any) -> dict[str, Any]:
    """Runs to a success and returns the new snapshot."""
    end = client.finish(client.create(*layers, **rest))
    assert end["type"] == "run_succeeded", end
    return dict(end["data"]["session_snapshot"])


def stored(snapshot: dict[str, Any]) -> list[Any]:
    [messages] = [one["runtime_state"]["messages"] for one in snapshot["layers"] if one["name"] == "history"]
    return list(messages)


@pytest.mark.parametrize(("version", "dialect"), SERVERS)
def test_a_session_of_an_older_server_goes_on_here_and_can_go_back(
    libraries: Libraries, client_of: ClientOf, daemon: ScriptedDaemon, version: str, dialect: Dialect
) -> None:
    client = client_of(dialect)
    older = libraries.ask(version, "make_histories")
    model = f"older-{version}"
    daemon.script(model, DONE)
    layers = [prompt("And then?"), HISTORY, *plugin_layers(model)]

    first = succeed(client, layers, session_snapshot=snapshot(layers, older["answered"]))
    second = succeed(client, layers, session_snapshot=first)

    told = [call["body"]["data"]["prompt_messages"] for call in daemon.calls(model)]
    assert [message["role"] for message in told[1]] == [
        *["user", "assistant", "tool", "tool", "assistant", "tool", "assistant"],
        *["user", "assistant", "user"],
    ]
    assert told[1][: len(told[0])] == told[0]
    assert "Unknown tool name" in str(told[0][3]["content"])
    assert "ask for one comet" in str(told[0][5]["content"])
    for reader in RULES[dialect].clients:
        before, after = libraries.ask(reader, "read_histories", [older["answered"], stored(second)])
        assert before["problems"] == after["problems"] == []
        assert after["messages"] == [
            *before["messages"],
            *[[["user-prompt", None, "And then?"]], [["text", None, "It is done."]]] * 2,
        ]


@pytest.mark.parametrize(("version", "dialect"), [one for one in SERVERS if RULES[one[1]].deferred_tool_call])
def test_a_run_that_waits_for_a_human_since_an_older_server_goes_on_here(
    libraries: Libraries, client_of: ClientOf, daemon: ScriptedDaemon, version: str, dialect: Dialect
) -> None:
    client = client_of(dialect)
    older = libraries.ask(version, "make_histories")
    model = f"waiting-{version}"
    daemon.script(model, DONE)
    layers = [prompt("Deploy it."), HISTORY, ASK, *plugin_layers(model)]
    answer = {"status": "submitted", "action": {"id": "go", "label": "Go"}, "values": {}}

    handed_back = succeed(
        client,
        layers,
        session_snapshot=snapshot(layers, older["waiting"]),
        deferred_tool_results={"calls": {"call-1": answer}},
    )

    [call] = daemon.calls(model)
    asked, answered = call["body"]["data"]["prompt_messages"][-2:]
    assert QUESTION["question"] in asked["tool_calls"][0]["function"]["arguments"]
    assert answered["tool_call_id"] == "call-1"
    for reader in RULES[dialect].clients:
        [read] = libraries.ask(reader, "read_histories", [stored(handed_back)])
        assert read["problems"] == []
        assert [[part[0] for part in parts] for parts in read["messages"]] == [
            ["user-prompt"],
            ["tool-call"],
            ["tool-return"],
            ["text"],
        ]
