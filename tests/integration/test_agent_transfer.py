"""Exporting, importing and running agents, on both databases and two workers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from services.souls import digest_of
from tests.support.agent_client import ADMIN_TOKEN, AgentClient, soul
from tests.support.client import RunClient

AT_ONCE = 10
MEGABYTE = 1 << 20


def exported(roster: AgentClient, agent: dict[str, Any]) -> dict[str, Any]:
    return roster.json("GET", f"/agents/{agent['id']}/versions/{agent['active_config_snapshot_id']}/export")


def with_soul(document: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """The document with a changed Soul and the matching digest."""
    changed_soul = {**document["soul"], **changed}
    return {**document, "soul": changed_soul, "digest": digest_of(changed_soul)}


def test_an_exported_version_becomes_an_agent_of_another_tenant(roster: AgentClient, stranger: AgentClient) -> None:
    made = roster.agent("Ada", description="Plans trips", icon_type="emoji", icon="🧭", icon_background="#fff")
    document = exported(roster, made)

    imported = stranger.json("POST", "/agents/import", 201, json=document)

    assert (imported["source"], imported["name"], imported["icon"]) == ("imported", "Ada", "🧭")
    assert imported["id"] != made["id"]
    assert imported["active_config_snapshot"]["digest"] == document["digest"]
    detail = stranger.json("GET", f"/agents/{imported['id']}/versions/{imported['active_config_snapshot_id']}")
    assert [step["operation"] for step in detail["revisions"]] == ["import_package"]
    again = exported(stranger, imported)
    assert (again["soul"], again["digest"], again["agent"]) == (
        document["soul"],
        document["digest"],
        document["agent"],
    )


def test_an_import_can_have_another_name_or_become_a_version(roster: AgentClient) -> None:
    made = roster.agent()
    document = exported(roster, made)
    roster.refused("POST", "/agents/import", 409, "agent_name_taken", json=document)

    renamed = roster.json("POST", "/agents/import", 201, params={"name": "Grace"}, json=document)
    stale = {"If-Match": f'"{renamed["active_config_snapshot_id"]}"'}
    into = {"agent_id": made["id"]}
    roster.refused("POST", "/agents/import", 412, "precondition_failed", params=into, json=document, headers=stale)
    version = roster.json("POST", "/agents/import", 201, params=into, json=document)

    assert renamed["name"] == "Grace"
    assert (version["id"], version["active_config_snapshot"]["version"]) == (made["id"], 2)
    for other in ("x", "\0", roster.tenant):
        key = {"Idempotency-Key": "import-2"}
        roster.refused(
            "POST", "/agents/import", 404, "agent_not_found", params={"agent_id": other}, json=document, headers=key
        )


def test_a_repeated_import_under_one_key_is_made_once(roster: AgentClient, stranger: AgentClient) -> None:
    document, key = exported(stranger, stranger.agent()), {"Idempotency-Key": "import-1"}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        calls = [
            pool.submit(roster.json, "POST", "/agents/import", 201, json=document, headers=key) for _ in range(AT_ONCE)
        ]

    assert len({call.result()["id"] for call in calls}) == 1
    assert roster.json("GET", "/agents")["total"] == 1


def test_a_document_with_one_byte_changed_is_refused(roster: AgentClient) -> None:
    text = json.dumps(exported(roster, roster.agent("Ada")))
    damaged = text.replace("You are concise.", "You are concise!")

    answer = roster.call("POST", "/agents/import", data=damaged.encode(), headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"format": "agent-version/2"}, "agent-version/1"),
        ({"extra": 1}, "Extra inputs"),
        ({"version": 0}, "greater than or equal"),
        ({"version": "1"}, "integer"),
        ({"digest": None}, ""),
        ({"exported_at": "yesterday"}, "datetime"),
        ({"agent": {"name": " "}}, "blank"),
        ({"agent": {"name": "a\u0000b"}}, ""),
        ({"agent": {"name": "a" * 256}}, "255"),
        ({"agent": {"name": "A", "id": "01a1f94a-3a0e-7e3d-b37d-a61260b77010"}}, "Extra inputs"),
        ({"agent": {"name": "A", "description": "a\u0000b"}}, ""),
        ({"agent": None}, ""),
        ({"soul": None}, ""),
    ],
)
def test_a_malformed_document_is_refused(roster: AgentClient, changed: dict[str, Any], problem: str) -> None:
    document = exported(roster, roster.agent())

    answer = roster.refused("POST", "/agents/import", 400, "invalid_param", json={**document, **changed})

    assert problem in json.dumps(answer["detail"])
    assert roster.json("GET", "/agents")["total"] == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"unknown": 1},
        {"misc_legacy": {"api_key": "hunter2"}},
        {"misc_legacy": {"deep": {"a": {"b": [{"client_secret": "hunter2"}]}}}},
        {"human": {"contacts": [{"id": "someone", "tenant_id": "another"}], "tools": []}},
        {"human": {"contacts": [{"id": "someone", "channel": ["email"]}], "tools": []}},
    ],
)
def test_a_document_with_an_invalid_soul_is_refused(roster: AgentClient, changed: dict[str, Any]) -> None:
    document = with_soul(exported(roster, roster.agent()), **changed)

    answer = roster.call("POST", "/agents/import", json=document)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_param")
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff", 400),
        (b"null", 400),
        (b"[]", 400),
        (b'{"format": "agent-version/1", "format": "agent-version/1"}', 400),
        (b'{"soul": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}", 400),
        (b"[" * 10_000 + b"]" * 10_000, 400),
        (b'{"soul": NaN}', 400),
        (b'{"soul": {"misc_legacy": {"x": 1e999}}}', 400),
        (b'{"soul": {"misc_legacy": {"x": "\\ud800"}}}', 400),
        (b"[" + b"1," * 100_000 + b"1]", 413),
        (b'{"soul": "' + b"a" * 9 * MEGABYTE + b'"}', 413),
        (b'{"soul": "' + b"a" * 50 * MEGABYTE + b'"}', 413),
    ],
    ids=[
        "none",
        "bytes",
        "null",
        "list",
        "twice",
        "deep",
        "deep-list",
        "nan",
        "infinite",
        "surrogate",
        "many",
        "9",
        "50",
    ],
)
def test_a_hostile_document_is_refused(roster: AgentClient, body: bytes, status: int) -> None:
    answer = roster.call("POST", "/agents/import", data=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == status, answer.text[:500]
    assert roster.json("GET", "/agents")["total"] == 0


def test_references_are_resolved_in_the_importing_tenant(roster: AgentClient, stranger: AgentClient) -> None:
    values = {"provider": "openai", "values": {"api_key": "first-canary-value"}}
    roster.json("PUT", "/credentials/my-openai", 201, json=values)
    needy = soul(model={**soul()["model"], "credential_ref": {"type": "provider", "id": "my-openai"}})
    document = exported(roster, roster.agent(agent_soul=needy))

    refused = stranger.refused("POST", "/agents/import", 422, "agent_credential_not_found", json=document)
    stranger.json("PUT", "/credentials/my-openai", 201, json=values)
    stranger.json("POST", "/agents/import", 201, json=document)

    assert "my-openai" in refused["message"]
    assert "canary" not in json.dumps(document)


def finished(roster: AgentClient, agent_id: str, **body: Any) -> str:
    """Waits for a run of the agent, which must succeed, and returns its output."""
    started = roster.json("POST", f"/agents/{agent_id}/runs", 202, json={"query": "Who are you?", **body})
    assert set(started) == {"run_id", "status"}
    end = RunClient(roster.url, token=ADMIN_TOKEN).finish(started["run_id"])
    assert end["type"] == "run_succeeded", end
    output: str = end["data"]["output"]
    return output


def answering(text: str, **rest: Any) -> dict[str, Any]:
    return soul(model={**soul()["model"], "model_settings": {"answer": text}}, **rest)


def test_a_run_uses_the_active_version_unless_another_is_named(roster: AgentClient) -> None:
    made = roster.agent(agent_soul=answering("one"))
    first, path = made["active_config_snapshot_id"], f"/agents/{made['id']}"
    roster.json("POST", f"{path}/versions", 201, json={"agent_soul": answering("two")})
    roster.json("PUT", f"{path}/tags/stable", json={"version_id": first})

    assert finished(roster, made["id"]) == "two"
    assert finished(roster, made["id"], version_id=first) == "one"
    assert finished(roster, made["id"], tag="stable") == "one"
    roster.json("POST", f"{path}/versions/{first}/restore")
    assert finished(roster, made["id"]) == "one"


def test_inputs_are_checked_as_the_soul_says(roster: AgentClient) -> None:
    asks = soul("Plan for {{city}}.", app_variables=[{"name": "city", "type": "text", "required": True}])
    made = roster.agent(agent_soul=asks)

    finished(roster, made["id"], inputs={"city": "Oslo", "unknown": 1})

    body = {"query": "Hello?", "inputs": {"city": 1}}
    roster.refused("POST", f"/agents/{made['id']}/runs", 400, "invalid_param", json=body)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": " \n"},
        {"query": None},
        {"query": ["Hello?"]},
        {"query": "Hello?", "inputs": []},
        {"query": "Hello?", "version_id": 1},
        {"query": "Hello?", "tag": "stable", "version_id": "x"},
        {"query": "Hello?", "agent_soul": {}},
        {"query": "a" * 200_001},
    ],
)
def test_a_malformed_run_request_is_refused(roster: AgentClient, body: dict[str, Any]) -> None:
    made = roster.agent()

    roster.refused("POST", f"/agents/{made['id']}/runs", 400, "invalid_param", json=body)


def test_an_agent_or_version_that_cannot_run_is_refused(roster: AgentClient) -> None:
    bare = roster.json("POST", "/agents", 201, json={"name": "Bare"})
    model = {**soul()["model"], "credential_ref": {"type": "provider", "id": "not-there"}}
    needy = roster.agent("Needy", agent_soul=soul(model=model))
    body = {"query": "Hello?"}

    roster.refused("POST", f"/agents/{bare['id']}/runs", 400, "agent_model_not_configured", json=body)
    roster.refused("POST", f"/agents/{needy['id']}/runs", 422, "agent_credential_not_found", json=body)
    for tag in ("nightly", "../x", "\u0000"):
        path = f"/agents/{needy['id']}/runs"
        roster.refused("POST", path, 404, "agent_tag_not_found", json={**body, "tag": tag})


def test_a_repeated_run_under_one_key_is_made_once_even_if_the_agent_has_changed(
    roster: AgentClient, stranger: AgentClient
) -> None:
    made, body, key = roster.agent(), {"query": "Hello?"}, {"Idempotency-Key": "run-1"}
    path = f"/agents/{made['id']}/runs"

    first = roster.json("POST", path, 202, json=body, headers=key)["run_id"]
    roster.version(made["id"], "second")

    assert roster.json("POST", path, 202, json=body, headers=key)["run_id"] == first
    roster.refused("POST", path, 409, "idempotency_key_reused", json={"query": "Other"}, headers=key)
    foreign = stranger.agent()
    other = stranger.json("POST", f"/agents/{foreign['id']}/runs", 202, json=body, headers=key)["run_id"]
    assert other != first
