"""Runs that only clean up a session, as Dify sends them at the end of a workflow."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.client import RunClient, demo_llm
from tests.support.plugin_daemon import USAGE, ScriptedDaemon

REMOVED = {"dify.plugin.llm", "dify.plugin.tools"}


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model name for this test alone, so that no two tests share a script."""
    return str(request.node.name)


def session(model: str) -> list[dict[str, Any]]:
    """The layers of a workflow node."""
    return [
        {"name": "agent_soul_prompt", "type": "plain.prompt", "config": {"prefix": "You are concise."}},
        {"name": "workflow_node_job_prompt", "type": "plain.prompt", "config": {"prefix": "Do the job."}},
        {"name": "workflow_user_prompt", "type": "plain.prompt", "config": {"user": "Say hello."}},
        {
            "name": "execution_context",
            "type": "dify.execution_context",
            "config": {
                "tenant_id": "tenant-1",
                "workflow_run_id": "workflow-run-1",
                "node_id": "node-1",
                "invoke_from": "workflow_run",
            },
        },
        {"name": "history", "type": "pydantic_ai.history", "config": None},
        {
            "name": "llm",
            "type": "dify.plugin.llm",
            "deps": {"execution_context": "execution_context"},
            "config": {
                "plugin_id": "langgenius/openai",
                "model_provider": "openai",
                "model": model,
                "credentials": {"api_key": "sk-canary-credential"},
            },
        },
    ]


def cleanup_of(layers: list[dict[str, Any]], snapshot: dict[str, Any], **change: Any) -> dict[str, Any]:
    """The cleanup request, from whose composition and snapshot the layers with credentials are left out."""
    kept = [layer for layer in layers if layer["type"] not in REMOVED]
    names = {layer["name"] for layer in kept}
    return {
        "composition": {"schema_version": 1, "layers": kept},
        "session_snapshot": {**snapshot, "layers": [entry for entry in snapshot["layers"] if entry["name"] in names]},
        "on_exit": {"default": "delete", "layers": {}},
        "purpose": "workflow_node",
        "metadata": {
            "tenant_id": "tenant-1",
            "workflow_run_id": "workflow-run-1",
            "node_id": "node-1",
            "previous_agent_backend_run_id": "run-1",
            "agent_backend_lifecycle": "session_cleanup",
        },
        "idempotency_key": None,
        **change,
    }


def run_session(client: RunClient, daemon: ScriptedDaemon, model: str) -> dict[str, Any]:
    """Runs the node once and returns the snapshot."""
    daemon.script(model, [{"text": "Hello."}, {"finish": "stop", "usage": USAGE}])
    end = client.finish(client.create(*session(model), purpose="workflow_node"))
    assert end["data"]["output"] == "Hello."
    return dict(end["data"]["session_snapshot"])


def send(client: RunClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Posts a run that must be accepted, and returns all its events."""
    response = client.post(body)
    assert response.status_code == 202, response.text
    run_id = response.json()["run_id"]
    events = [frame.data for frame in client.stream(run_id)]
    assert client.status(run_id)["status"] == events[-1]["type"].removeprefix("run_")
    return events


def states(data: dict[str, Any]) -> list[str]:
    return [entry["lifecycle_state"] for entry in data["session_snapshot"]["layers"]]


def test_a_cleanup_closes_every_layer_and_calls_no_model(client: RunClient, daemon: ScriptedDaemon, model: str) -> None:
    snapshot = run_session(client, daemon, model)

    events = send(client, cleanup_of(session(model), snapshot))

    assert [event["type"] for event in events] == ["run_started", "run_succeeded"]
    data = events[-1]["data"]
    assert set(data) == {"output", "session_snapshot"}
    assert data["output"] is None
    assert states(data) == ["closed"] * 5
    assert [entry["name"] for entry in data["session_snapshot"]["layers"]] == [
        layer["name"] for layer in session(model) if layer["name"] != "llm"
    ]
    assert len(daemon.calls(model)) == 1


def test_a_cleanup_can_be_repeated_from_either_snapshot(client: RunClient, daemon: ScriptedDaemon, model: str) -> None:
    snapshot = run_session(client, daemon, model)
    first = send(client, cleanup_of(session(model), snapshot))[-1]["data"]

    again = send(client, cleanup_of(session(model), snapshot))[-1]["data"]
    closed = send(client, cleanup_of(session(model), first["session_snapshot"]))[-1]["data"]

    assert again == closed == first


def test_a_cleanup_passes_over_the_layers_that_are_closed(
    client: RunClient, daemon: ScriptedDaemon, model: str
) -> None:
    snapshot = run_session(client, daemon, model)
    snapshot["layers"][0]["lifecycle_state"] = "closed"

    data = send(client, cleanup_of(session(model), snapshot))[-1]["data"]

    assert states(data) == ["closed"] * 5


def test_a_cleanup_suspends_a_layer_where_the_request_says_so(
    client: RunClient, daemon: ScriptedDaemon, model: str
) -> None:
    snapshot = run_session(client, daemon, model)
    on_exit = {"default": "delete", "layers": {"history": "suspend"}}

    data = send(client, cleanup_of(session(model), snapshot, on_exit=on_exit))[-1]["data"]

    assert states(data) == ["closed"] * 4 + ["suspended"]


def test_a_cleanup_needs_no_user_prompt(client: RunClient, daemon: ScriptedDaemon, model: str) -> None:
    snapshot = run_session(client, daemon, model)
    layers = session(model)
    layers[2]["config"] = {"user": " "}

    assert send(client, cleanup_of(layers, snapshot))[-1]["type"] == "run_succeeded"


def test_a_question_that_waits_for_its_answer_does_not_keep_a_session_open(
    client: RunClient, daemon: ScriptedDaemon, model: str
) -> None:
    ask: list[dict[str, Any]] = [
        {"tool_call": {"id": "call-1", "name": "ask_human", "arguments": '{"question": "Go?"}'}},
        {"finish": "tool_calls"},
    ]
    daemon.script(model, ask)
    layers = [*session(model), {"name": "ask", "type": "dify.ask_human"}]
    asked = client.finish(client.create(*layers, purpose="workflow_node"))["data"]
    assert "deferred_tool_call" in asked

    data = send(client, cleanup_of(layers, asked["session_snapshot"]))[-1]["data"]

    assert states(data) == ["closed"] * 6


@pytest.mark.parametrize("metadata", [{}, {"agent_backend_lifecycle": "other"}], ids=["no marker", "another marker"])
def test_a_cleanup_needs_no_marker(
    client: RunClient, daemon: ScriptedDaemon, model: str, metadata: dict[str, Any]
) -> None:
    snapshot = run_session(client, daemon, model)

    data = send(client, cleanup_of(session(model), snapshot, metadata=metadata))[-1]["data"]

    assert data["output"] is None
    assert states(data) == ["closed"] * 5


def test_a_run_that_keeps_its_session_is_an_ordinary_run(client: RunClient, daemon: ScriptedDaemon, model: str) -> None:
    snapshot = run_session(client, daemon, model)
    suspending = cleanup_of(session(model), snapshot, on_exit={"default": "suspend"})

    # The server of these tests has a default model, which answers a run without a model.
    data = send(client, suspending)[-1]["data"]

    assert "Say hello." in data["output"]


def test_a_run_that_keeps_its_session_refuses_closed_layers(
    client: RunClient, daemon: ScriptedDaemon, model: str
) -> None:
    snapshot = run_session(client, daemon, model)
    closed = send(client, cleanup_of(session(model), snapshot))[-1]["data"]["session_snapshot"]

    response = client.post(cleanup_of(session(model), closed, on_exit={"default": "suspend"}))

    assert response.status_code == 422
    assert "is 'closed' and cannot be entered" in response.json()["detail"]


def test_without_a_snapshot_it_is_an_ordinary_run(client: RunClient, model: str) -> None:
    body = cleanup_of(session(model), {"layers": []}, session_snapshot=None)

    assert "Say hello." in send(client, body)[-1]["data"]["output"]


def test_with_a_model_it_is_an_ordinary_run(client: RunClient, daemon: ScriptedDaemon, model: str) -> None:
    snapshot = run_session(client, daemon, model)
    layers = [layer if layer["name"] != "llm" else demo_llm(answer="Asked.") for layer in session(model)]

    data = send(client, cleanup_of(layers, snapshot))[-1]["data"]

    assert data["output"] == "Asked."
    assert states(data) == ["closed"] * 6


def test_an_active_layer_cannot_be_cleaned_up(client: RunClient, daemon: ScriptedDaemon, model: str) -> None:
    snapshot = run_session(client, daemon, model)
    snapshot["layers"][0]["lifecycle_state"] = "active"

    response = client.post(cleanup_of(session(model), snapshot))

    assert response.status_code == 422
    assert "is 'active' and cannot be entered" in response.json()["detail"]
