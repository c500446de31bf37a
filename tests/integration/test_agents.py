"""``/agents``: creating, listing, changing and archiving agents, on both databases and two workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from errors import DatabaseUnavailable
from models import AgentTag, WorkflowAgentNodeBinding
from models.enums import BindingType
from runtime.protocol.ids import new_id
from services.agents.history import VersionService
from services.agents.lookup import lock_agent
from services.agents.requests import CreateVersionRequest
from services.database import Database
from tests.support.agent_client import AgentClient, soul
from tests.support.databases import open_database

AT_ONCE = 12
PLAINTEXT = "hunter2-hunter2"


def names(answer: dict[str, Any]) -> list[str]:
    return [agent["name"] for agent in answer["data"]]


def test_an_agent_is_made_with_its_first_version(roster: AgentClient) -> None:
    made = roster.json(
        "POST",
        "/agents",
        201,
        json={
            "name": "Ada",
            "description": "Plans\ntrips",
            "icon_type": "emoji",
            "icon": "🧭",
            "icon_background": "#fff",
            "agent_soul": soul(),
            "version_note": "first",
        },
        headers={"X-User-Id": "user-1"},
    )

    assert roster.json("GET", f"/agents/{made['id']}") == made
    version = made.pop("active_config_snapshot")
    assert made["active_config_snapshot_id"] == version["id"]
    assert (version["version"], version["version_note"], version["created_by"]) == (1, "first", "user-1")
    assert version["digest"].startswith("sha256:")
    assert made["created_at"].endswith("Z")
    fixed = {key: made[key] for key in ("agent_kind", "scope", "source", "status", "icon", "description", "app_id")}
    assert fixed == {
        "agent_kind": "dify_agent",
        "scope": "roster",
        "source": "roster",
        "status": "active",
        "icon": "🧭",
        "description": "Plans\ntrips",
        "app_id": None,
    }
    detail = roster.json("GET", f"/agents/{made['id']}/versions/{version['id']}")
    assert [(step["revision"], step["operation"]) for step in detail["revisions"]] == [(1, "create_version")]


def test_an_agent_without_a_soul_gets_the_default_one(roster: AgentClient) -> None:
    made = roster.json("POST", "/agents", 201, json={"name": "Bare"})

    detail = roster.json("GET", f"/agents/{made['id']}/versions/{made['active_config_snapshot_id']}")
    assert detail["config_snapshot"]["model"] is None


def test_a_name_is_unique_among_the_active_agents_of_a_tenant(roster: AgentClient, stranger: AgentClient) -> None:
    first = roster.agent("Ada")

    roster.refused("POST", "/agents", 409, "agent_name_taken", json={"name": "Ada"})
    for other in ("ada", " Ada", "Ada "):
        roster.agent(other)
    stranger.agent("Ada")
    assert roster.call("DELETE", f"/agents/{first['id']}").status_code == 204
    roster.agent("Ada")


@pytest.mark.parametrize("name", ["🧭" * 255, "Größe: 漢字", "'; DROP TABLE agents; --", "../../etc/passwd", "%s%_"])
def test_names_are_kept_as_they_are(roster: AgentClient, name: str) -> None:
    made = roster.agent(name)

    assert roster.json("GET", f"/agents/{made['id']}")["name"] == name


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": " \t\u2003"},
        {"name": "a" * 256},
        {"name": "a\u0000b"},
        {"name": "a\nb"},
        {"name": 1},
        {"name": None},
        {"name": ["Ada"]},
        {"name": "Ada", "description": None},
        {"name": "Ada", "description": "a\u0000b"},
        {"name": "Ada", "description": "a" * 10_001},
        {"name": "Ada", "icon_type": "video"},
        {"name": "Ada", "icon": "a" * 256},
        {"name": "Ada", "tenant_id": "other"},
        {"name": "Ada", "agent_soul": "prompt"},
        {"name": "Ada", "agent_soul": {"unknown": 1}},
        {"name": "Ada", "agent_soul": {"schema_version": 2}},
    ],
)
def test_a_malformed_agent_is_refused(roster: AgentClient, body: dict[str, Any]) -> None:
    roster.refused("POST", "/agents", 400, "invalid_param", json=body)

    assert roster.json("GET", "/agents")["total"] == 0


def test_a_soul_with_a_secret_is_refused_with_its_place_and_without_its_value(roster: AgentClient) -> None:
    body = {"name": "Ada", "agent_soul": soul(env={"variables": [{"name": "x", "X-API-Key": PLAINTEXT}]})}

    answer = roster.call("POST", "/agents", json=body)

    assert answer.status_code == 400
    assert "Plaintext secret is not allowed at agent_soul.env.variables" in answer.text
    assert PLAINTEXT not in answer.text


def test_a_text_that_postgresql_cannot_index_is_kept_in_a_soul(roster: AgentClient) -> None:
    made = roster.agent(agent_soul=soul("a\u0000b"))

    detail = roster.json("GET", f"/agents/{made['id']}/versions/{made['active_config_snapshot_id']}")
    assert detail["config_snapshot"]["prompt"]["system_prompt"] == "a\u0000b"


def test_agents_are_listed_by_pages_the_last_changed_first(roster: AgentClient) -> None:
    made = [roster.agent(f"Agent {index}")["id"] for index in range(5)]
    roster.json("PATCH", f"/agents/{made[1]}", json={"description": "changed"})

    first, last = roster.json("GET", "/agents?limit=2"), roster.json("GET", "/agents?limit=2&page=3")

    assert names(first) == ["Agent 1", "Agent 4"]
    assert (first["page"], first["limit"], first["total"], first["has_more"]) == (1, 2, 5, True)
    assert names(last) == ["Agent 0"]
    assert last["has_more"] is False
    assert roster.json("GET", "/agents?page=1000000")["data"] == []


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "limit=0", "limit=101", "page=x", "limit=1.5", "page=9" + "9" * 30, "keyword=%00"]
)
def test_a_query_out_of_bounds_is_refused(roster: AgentClient, query: str) -> None:
    roster.refused("GET", f"/agents?{query}", 400, "invalid_param")
    roster.refused("GET", f"/agents/invite-options?{query}", 400, "invalid_param")


@pytest.mark.parametrize(
    ("keyword", "found"),
    [
        ("ADA", {"Ada 100%"}),
        ("%", {"Ada 100%"}),
        ("_", {"snake_case"}),
        ("GRÖßE", {"Größe"}),
        ("GRÖ", {"GRÖSSE", "Größe"}),
        ("ЮЛИ", {"Юлия"}),
        (".*", set()),
        ("[a]", {"[a] (b) \\c ^$ -"}),
        ("\\C ^$ -", {"[a] (b) \\c ^$ -"}),
        ("zebra", set()),
    ],
)
def test_a_keyword_matches_any_part_of_the_name_in_any_case(roster: AgentClient, keyword: str, found: set[str]) -> None:
    for name in ("Ada 100%", "snake_case", "GRÖSSE", "Größe", "Юлия", "[a] (b) \\c ^$ -"):
        roster.agent(name)

    answer = roster.json("GET", "/agents", params={"keyword": keyword})

    assert set(names(answer)) == found
    assert answer["total"] == len(found)


def test_the_message_of_a_refusal_says_where_and_why(roster: AgentClient) -> None:
    body = {"name": "Ada", "agent_soul": {"misc_legacy": {"password": PLAINTEXT}, "strange": 1}}

    answer = roster.refused("POST", "/agents", 400, "invalid_param", json=body)

    path = "agent_soul.misc_legacy.password"
    assert answer["message"] == f"body.{path}: Plaintext secret is not allowed at {path}"
    both = roster.refused("POST", "/agents", 400, "invalid_param", json={"name": "", "icon": 1})["message"]
    assert both == "body.name: String should have at least 1 character; body.icon: Input should be a valid string"
    assert PLAINTEXT not in str(answer)


def test_a_change_holds_only_what_was_sent_and_makes_no_version(roster: AgentClient) -> None:
    made = roster.agent(description="old", icon_type="emoji", icon="🧭")

    changed = roster.json("PATCH", f"/agents/{made['id']}", json={"name": "Grace", "icon": None})

    assert (changed["name"], changed["description"], changed["icon"]) == ("Grace", "old", None)
    assert changed["icon_type"] == "emoji"
    assert changed["updated_at"] > made["updated_at"]
    assert changed["active_config_snapshot_id"] == made["active_config_snapshot_id"]
    assert len(roster.versions(made["id"])) == 1


@pytest.mark.parametrize("body", [{"name": None}, {"name": " "}, {"description": None}, {"status": "archived"}, []])
def test_a_malformed_change_is_refused(roster: AgentClient, body: object) -> None:
    made = roster.agent()

    roster.refused("PATCH", f"/agents/{made['id']}", 400, "invalid_param", json=body)


def test_a_name_that_is_taken_cannot_be_taken_by_a_change(roster: AgentClient) -> None:
    roster.agent("Ada")
    other = roster.agent("Grace")

    roster.refused("PATCH", f"/agents/{other['id']}", 409, "agent_name_taken", json={"name": "Ada"})

    assert roster.json("GET", f"/agents/{other['id']}")["name"] == "Grace"


def test_a_change_based_on_an_outdated_revision_is_refused(roster: AgentClient) -> None:
    made = roster.agent()
    seen = {"If-Match": f'"{made["active_config_snapshot_id"]}"'}
    roster.version(made["id"], "second")

    path = f"/agents/{made['id']}"
    roster.refused("PATCH", path, 412, "precondition_failed", json={"name": "Grace"}, headers=seen)
    roster.refused("DELETE", path, 412, "precondition_failed", headers=seen)
    current = {"If-Match": f'"{roster.active(made["id"])}"'}
    roster.json("PATCH", path, json={"name": "Grace"}, headers=current)
    roster.json("PATCH", path, json={"name": "Grace"}, headers={"If-Match": "*"})


def test_every_answer_about_an_agent_has_the_etag_for_its_next_change(roster: AgentClient) -> None:
    body = {"name": "Ada", "agent_soul": soul()}
    made = roster.call("POST", "/agents", json=body)
    first, path = made.json()["active_config_snapshot_id"], f"/agents/{made.json()['id']}"
    assert made.headers["ETag"] == roster.call("GET", path).headers["ETag"] == f'"{first}"'

    def follow(method: str, rest: str, tag: str, **options: Any) -> str:
        response = roster.call(method, path + rest, headers={"If-Match": tag}, **options)
        assert response.ok, response.text
        assert response.headers["ETag"] == f'"{roster.active(made.json()["id"])}"'
        return response.headers["ETag"]

    tag = follow("PATCH", "", made.headers["ETag"], json={"name": "Grace"})
    tag = follow("POST", "/versions", tag, json={"agent_soul": soul("second")})
    second = tag.strip('"')
    checked = roster.call("POST", f"{path}/versions/{first}/restore?dry_run=true", headers={"If-Match": tag})
    assert (checked.status_code, "ETag" in checked.headers) == (200, False)
    tag = follow("POST", f"/versions/{first}/restore", tag)
    document = roster.call("GET", f"{path}/versions/{second}/export").content
    imported = roster.call(
        "POST", f"/agents/import?agent_id={made.json()['id']}", data=document, headers={"If-Match": tag}
    )
    assert imported.headers["ETag"] == f'"{imported.json()["active_config_snapshot_id"]}"'


def test_an_archived_agent_can_be_read_and_not_changed(roster: AgentClient) -> None:
    made = roster.agent()
    path, version = f"/agents/{made['id']}", made["active_config_snapshot_id"]
    roster.json("PUT", f"{path}/tags/stable", json={"version_id": version})
    assert roster.call("DELETE", path, headers={"X-User-Id": "user-9"}).status_code == 204
    archived = roster.json("GET", path)

    assert (archived["status"], archived["archived_by"]) == ("archived", "user-9")
    assert roster.call("DELETE", path, headers={"X-User-Id": "user-10"}).status_code == 204
    assert roster.json("GET", path) == archived
    assert roster.json("GET", "/agents")["data"] == []
    assert len(roster.versions(made["id"])) == 1
    for method, rest, body in (
        ("PATCH", "", {"name": "Grace"}),
        ("POST", "/versions", {"agent_soul": soul()}),
        ("POST", f"/versions/{version}/restore", None),
        ("PUT", "/tags/stable", {"version_id": version}),
        ("DELETE", "/tags/stable", None),
        ("POST", "/runs", {"query": "Hello?"}),
    ):
        roster.refused(method, path + rest, 409, "agent_archived", json=body)


def test_two_archivings_at_once_are_one(roster: AgentClient) -> None:
    made = roster.agent()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        calls = [pool.submit(roster.call, "DELETE", f"/agents/{made['id']}") for _ in range(AT_ONCE)]

    assert {call.result().status_code for call in calls} == {204}


def test_of_many_agents_created_at_once_with_one_name_one_is_made(roster: AgentClient) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        calls = [pool.submit(roster.call, "POST", "/agents", json={"name": "Ada"}) for _ in range(AT_ONCE)]

    assert sorted(call.result().status_code for call in calls) == [201] + [409] * (AT_ONCE - 1)
    assert roster.json("GET", "/agents")["total"] == 1


def test_the_same_request_under_one_key_makes_one_agent(roster: AgentClient, stranger: AgentClient) -> None:
    body, key = {"name": "Ada", "agent_soul": soul()}, {"Idempotency-Key": "order-1742"}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        calls = [pool.submit(roster.json, "POST", "/agents", 201, json=body, headers=key) for _ in range(AT_ONCE)]

    assert len({call.result()["id"] for call in calls}) == 1
    assert roster.json("GET", "/agents")["total"] == 1
    roster.refused("POST", "/agents", 409, "idempotency_key_reused", json={"name": "Grace"}, headers=key)
    assert stranger.json("POST", "/agents", 201, json=body, headers=key)["id"] != calls[0].result()["id"]


def test_a_request_that_was_refused_leaves_its_key_free(roster: AgentClient) -> None:
    taken, key = roster.agent("Ada"), {"Idempotency-Key": "again"}
    roster.refused("POST", "/agents", 409, "agent_name_taken", json={"name": "Ada"}, headers=key)
    roster.call("DELETE", f"/agents/{taken['id']}")

    assert roster.json("POST", "/agents", 201, json={"name": "Ada"}, headers=key)["id"] != taken["id"]


@pytest.mark.parametrize("agent_id", ["01a1f94a-3a0e-7e3d-b37d-a61260b77010", "x", "%00", "1", "..%2f", "a" * 500])
def test_an_unknown_agent_is_not_found(roster: AgentClient, agent_id: str) -> None:
    assert roster.call("GET", f"/agents/{agent_id}").status_code == 404
    assert roster.call("DELETE", f"/agents/{agent_id}").status_code == 404
    assert roster.call("PATCH", f"/agents/{agent_id}", json={"name": "x"}).status_code == 404
    assert roster.call("GET", f"/agents/{agent_id}/versions").status_code == 404


def test_the_agents_of_another_tenant_are_not_found(roster: AgentClient, stranger: AgentClient) -> None:
    made = roster.agent()
    version = made["active_config_snapshot_id"]
    path = f"/agents/{made['id']}"

    for method, rest, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "Mine"}),
        ("DELETE", "", None),
        ("GET", "/versions", None),
        ("POST", "/versions", {"agent_soul": soul()}),
        ("GET", f"/versions/{version}", None),
        ("POST", f"/versions/{version}/restore", None),
        ("GET", f"/versions/{version}/diff/{version}", None),
        ("GET", f"/versions/{version}/export", None),
        ("GET", "/tags", None),
        ("PUT", "/tags/stable", {"version_id": version}),
        ("DELETE", "/tags/stable", None),
        ("POST", "/runs", {"query": "Hello?"}),
    ):
        stranger.refused(method, path + rest, 404, "agent_not_found", json=body)
    assert stranger.json("GET", "/agents")["total"] == 0
    assert roster.json("GET", path) == made


def test_only_the_operator_and_workspace_keys_are_let_in(roster: AgentClient) -> None:
    made = roster.agent()
    workspace = roster.json("POST", "/keys", 201, json={"kind": "workspace"})
    app = roster.json("POST", "/keys", 201, json={"kind": "app", "agent_id": made["id"]})

    with_key = AgentClient(roster.url, key=workspace["key"])
    assert with_key.json("GET", f"/agents/{made['id']}") == made
    assert with_key.agent("Grace")["created_by"] == workspace["id"]
    AgentClient(roster.url, key=app["key"]).refused("GET", f"/agents/{made['id']}", 403, "key_not_allowed")
    AgentClient(roster.url, key="ws-" + "x" * 48).refused("GET", "/agents", 401, "unauthorized")


def test_invite_options_show_where_an_app_uses_an_agent(roster: AgentClient, database: Database) -> None:
    used, unused = roster.agent("Used"), roster.agent("Unused")
    with database.transaction() as session:
        for app, version, node in (("app-1", "draft", "b"), ("app-1", "draft", "a"), ("app-2", "draft", "c")):
            session.add(
                WorkflowAgentNodeBinding(
                    tenant_id=roster.tenant,
                    app_id=app,
                    workflow_id=new_id(),
                    workflow_version=version,
                    node_id=node,
                    binding_type=BindingType.ROSTER_AGENT,
                    agent_id=used["id"],
                    current_snapshot_id=used["active_config_snapshot_id"],
                    node_job_config={},
                )
            )

    answer = roster.json("GET", "/agents/invite-options?app_id=app-1")

    found = {agent["id"]: agent for agent in answer["data"]}
    assert answer["total"] == 2
    assert found[used["id"]]["existing_node_ids"] == ["a", "b"]
    assert found[used["id"]]["in_current_workflow_count"] == 2
    assert found[used["id"]]["is_in_current_workflow"] is True
    assert found[unused["id"]]["existing_node_ids"] == []
    assert found[unused["id"]]["is_in_current_workflow"] is False


def test_a_locked_database_is_a_503_and_nothing_is_half_written(
    roster: AgentClient, database_url: str, database: Database
) -> None:
    agent_id = roster.agent()["id"]
    impatient = open_database(database_url, timeout_seconds=0.5)
    wanted = CreateVersionRequest.model_validate({"agent_soul": soul("second")})

    with database.transaction() as session:
        lock_agent(session, roster.tenant, agent_id)
        with pytest.raises(DatabaseUnavailable):
            VersionService(impatient).create_version(
                roster.tenant, agent_id, wanted, created_by=None, idempotency_key="key-1"
            )
    saved = VersionService(impatient).create_version(
        roster.tenant, agent_id, wanted, created_by=None, idempotency_key="key-1"
    )
    impatient.close()

    assert DatabaseUnavailable.status == 503
    assert saved.version == 2
    assert [version["version"] for version in roster.versions(agent_id)] == [2, 1]


def test_an_unexpected_error_does_not_show_what_was_sent(roster: AgentClient, database: Database) -> None:
    tag = AgentTag(tenant_id=roster.tenant, agent_id=new_id(), snapshot_id=new_id(), tag="a", updated_by=PLAINTEXT)

    with pytest.raises(IntegrityError) as raised, database.transaction() as session:
        session.add(tag)

    assert PLAINTEXT not in str(raised.value)
