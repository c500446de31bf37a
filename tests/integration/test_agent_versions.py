"""Saving, reading, restoring, comparing and tagging versions of agents, on both databases and two workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from services.souls import digest_of
from tests.support.agent_client import AgentClient, soul

AT_ONCE = 20
NOBODY = "01a1f94a-3a0e-7e3d-b37d-a61260b77010"


def operations(roster: AgentClient, agent_id: str) -> dict[int, tuple[str, str | None, str]]:
    """The operation of each revision, and its versions before and after."""
    found = {}
    for version in roster.versions(agent_id):
        for step in roster.json("GET", f"/agents/{agent_id}/versions/{version['id']}")["revisions"]:
            found[step["revision"]] = (step["operation"], step["previous_snapshot_id"], step["current_snapshot_id"])
    return dict(sorted(found.items()))


def test_a_version_is_stored_and_becomes_the_active_one(roster: AgentClient) -> None:
    made = roster.agent()
    first = made["active_config_snapshot_id"]

    second = roster.version(made["id"], "second", version_note="why", summary="what")
    third = roster.version(made["id"], "third", save_strategy="save_to_current_version")

    assert (second["version"], second["version_note"], second["summary"]) == (2, "why", "what")
    assert roster.active(made["id"]) == third["id"]
    assert [version["version"] for version in roster.versions(made["id"])] == [3, 2, 1]
    assert operations(roster, made["id"]) == {
        1: ("create_version", None, first),
        2: ("save_new_version", first, second["id"]),
        3: ("save_current_version", second["id"], third["id"]),
    }


def test_a_version_is_shown_with_its_soul_and_digest(roster: AgentClient) -> None:
    made = roster.agent()

    detail = roster.json("GET", f"/agents/{made['id']}/versions/{made['active_config_snapshot_id']}")

    assert detail["config_snapshot"]["prompt"] == soul()["prompt"]
    assert detail["digest"] == digest_of(detail["config_snapshot"])
    assert detail["agent_id"] == made["id"]


def test_versions_are_listed_by_pages_when_a_limit_is_given(roster: AgentClient) -> None:
    made = roster.agent()
    for index in range(4):
        roster.version(made["id"], str(index))

    page = roster.json("GET", f"/agents/{made['id']}/versions?limit=2&page=2")

    assert [version["version"] for version in page["data"]] == [3, 2]
    assert (page["total"], page["has_more"]) == (5, True)
    roster.refused("GET", f"/agents/{made['id']}/versions?limit=1001", 400, "invalid_param")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"agent_soul": None},
        {"agent_soul": {"prompt": "x"}},
        {"agent_soul": {"misc_legacy": {"password": "hunter2"}}},
        {"agent_soul": {}, "save_strategy": "node_job_only"},
        {"agent_soul": {}, "version": 7},
        {"agent_soul": {}, "version_note": 1},
        {"agent_soul": {}, "summary": "\u0000"},
    ],
)
def test_a_malformed_version_is_refused(roster: AgentClient, body: dict[str, Any]) -> None:
    made = roster.agent()

    roster.refused("POST", f"/agents/{made['id']}/versions", 400, "invalid_param", json=body)

    assert len(roster.versions(made["id"])) == 1


def test_versions_saved_at_once_have_consecutive_numbers(roster: AgentClient) -> None:
    made = roster.agent()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        calls = [pool.submit(roster.version, made["id"], str(index)) for index in range(AT_ONCE)]
    saved = {call.result()["version"]: call.result()["id"] for call in calls}

    assert sorted(saved) == list(range(2, AT_ONCE + 2))
    assert roster.active(made["id"]) == saved[AT_ONCE + 1]
    assert sorted(operations(roster, made["id"])) == list(range(1, AT_ONCE + 2))


def test_of_concurrent_saves_based_on_the_same_version_only_one_is_stored(roster: AgentClient) -> None:
    made = roster.agent()
    seen = {"If-Match": f'"{made["active_config_snapshot_id"]}"'}
    path, body = f"/agents/{made['id']}/versions", {"agent_soul": soul()}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        calls = [pool.submit(roster.call, "POST", path, json=body, headers=seen) for _ in range(AT_ONCE)]

    assert sorted(call.result().status_code for call in calls) == [201] + [412] * (AT_ONCE - 1)
    assert len(roster.versions(made["id"])) == 2


def test_the_same_version_under_one_key_is_stored_once(roster: AgentClient) -> None:
    made, other = roster.agent("Ada"), roster.agent("Grace")
    body, key = {"agent_soul": soul("second")}, {"Idempotency-Key": "save-1"}
    path = f"/agents/{made['id']}/versions"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        calls = [pool.submit(roster.json, "POST", path, 201, json=body, headers=key) for _ in range(AT_ONCE)]

    assert {call.result()["version"] for call in calls} == {2}
    assert len(roster.versions(made["id"])) == 2
    roster.refused("POST", path, 409, "idempotency_key_reused", json={"agent_soul": soul("third")}, headers=key)
    roster.json("POST", f"/agents/{other['id']}/versions", 201, json=body, headers=key)


def test_a_restore_moves_the_active_version_and_makes_no_new_one(roster: AgentClient) -> None:
    made = roster.agent()
    first, path = made["active_config_snapshot_id"], f"/agents/{made['id']}"
    second = roster.version(made["id"], "second")["id"]

    answer = roster.json("POST", f"{path}/versions/{first}/restore", headers={"If-Match": f'"{second}"'})

    assert answer == {"result": "success", "active_config_snapshot_id": first}
    assert roster.active(made["id"]) == first
    assert operations(roster, made["id"])[3] == ("restore_version", second, first)
    assert roster.version(made["id"], "third")["version"] == 3
    assert operations(roster, made["id"])[4][:2] == ("save_new_version", first)


def test_a_restore_of_the_active_version_changes_nothing(roster: AgentClient) -> None:
    made = roster.agent()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        path = f"/agents/{made['id']}/versions/{made['active_config_snapshot_id']}/restore"
        for call in [pool.submit(roster.json, "POST", path) for _ in range(AT_ONCE)]:
            assert call.result()["result"] == "success"

    assert roster.json("GET", f"/agents/{made['id']}") == made
    assert len(operations(roster, made["id"])) == 1


def test_a_restore_based_on_a_version_that_is_no_longer_active_is_refused(roster: AgentClient) -> None:
    made = roster.agent()
    first = made["active_config_snapshot_id"]
    second = roster.version(made["id"], "second")["id"]

    for stale in (f'"{first}"', '"nonsense"', "", f'W/"{second}"'):
        path = f"/agents/{made['id']}/versions/{first}/restore"
        roster.refused("POST", path, 412, "precondition_failed", headers={"If-Match": stale})

    assert roster.active(made["id"]) == second


def test_a_dry_run_of_a_restore_changes_nothing(roster: AgentClient) -> None:
    made = roster.agent()
    first = made["active_config_snapshot_id"]
    second = roster.version(made["id"], "second")["id"]

    answer = roster.json("POST", f"/agents/{made['id']}/versions/{first}/restore?dry_run=true")

    assert answer["active_config_snapshot_id"] == first
    assert roster.active(made["id"]) == second
    assert len(operations(roster, made["id"])) == 2


def test_an_agent_that_works_is_not_restored_to_a_version_that_cannot_run(roster: AgentClient) -> None:
    made = roster.json("POST", "/agents", 201, json={"name": "Ada"})
    path, without_model = f"/agents/{made['id']}", made["active_config_snapshot_id"]
    needy = soul(model={**soul()["model"], "credential_ref": {"type": "provider", "id": "not-there"}})
    unresolved = roster.json("POST", f"{path}/versions", 201, json={"agent_soul": needy})["id"]
    roster.json("POST", f"{path}/versions/{without_model}/restore")
    roster.version(made["id"], "works")

    roster.refused("POST", f"{path}/versions/{without_model}/restore", 400, "agent_model_not_configured")
    roster.refused("POST", f"{path}/versions/{unresolved}/restore?dry_run=1", 422, "agent_credential_not_found")


def test_restores_and_saves_at_once_leave_one_history_without_gaps(roster: AgentClient) -> None:
    made = roster.agent()
    first, second = made["active_config_snapshot_id"], roster.version(made["id"], "second")["id"]

    def change(index: int) -> int:
        path = f"/agents/{made['id']}/versions"
        if index % 2:
            return roster.call("POST", f"{path}/{first if index % 4 == 1 else second}/restore").status_code
        return roster.call("POST", path, json={"agent_soul": soul(str(index))}).status_code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert set(pool.map(change, range(AT_ONCE))) == {200, 201}

    history = operations(roster, made["id"])
    assert list(history) == list(range(1, len(history) + 1))
    assert all(history[step][1] == history[step - 1][2] for step in list(history)[1:])
    assert roster.active(made["id"]) == history[len(history)][2]


def test_a_version_of_another_agent_is_not_found(roster: AgentClient) -> None:
    made, other = roster.agent("Ada"), roster.agent("Grace")
    mine, foreign = made["active_config_snapshot_id"], other["active_config_snapshot_id"]
    path = f"/agents/{made['id']}"

    for version in (foreign, NOBODY, "x", "%00"):
        for method, rest, body in (
            ("GET", f"/versions/{version}", None),
            ("POST", f"/versions/{version}/restore", None),
            ("GET", f"/versions/{mine}/diff/{version}", None),
            ("GET", f"/versions/{version}/diff/{mine}", None),
            ("GET", f"/versions/{version}/export", None),
            ("PUT", "/tags/stable", {"version_id": version}),
            ("POST", "/runs", {"query": "Hello?", "version_id": version}),
        ):
            roster.refused(method, path + rest, 404, "agent_version_not_found", json=body)


def test_two_versions_are_compared(roster: AgentClient) -> None:
    made = roster.agent()
    first, second = made["active_config_snapshot_id"], roster.version(made["id"], "You rhyme.")["id"]
    path = f"/agents/{made['id']}/versions"

    answer = roster.json("GET", f"{path}/{first}/diff/{second}")

    assert (answer["from"]["version"], answer["to"]["version"]) == (1, 2)
    assert answer["changes"] == [
        {"path": "/prompt/system_prompt", "op": "replace", "from": "You are concise.", "to": "You rhyme."}
    ]
    assert roster.json("GET", f"{path}/{first}/diff/{first}")["changes"] == []


def test_a_tag_names_a_version_and_can_be_moved(roster: AgentClient) -> None:
    made = roster.agent()
    first, second = made["active_config_snapshot_id"], roster.version(made["id"], "second")["id"]
    path = f"/agents/{made['id']}/tags"

    put = roster.json("PUT", f"{path}/stable", json={"version_id": first})
    roster.json("PUT", f"{path}/canary", json={"version_id": second})
    moved = roster.json("PUT", f"{path}/stable", json={"version_id": second})

    assert (put["tag"], put["version_id"], put["version"]) == ("stable", first, 1)
    assert (moved["version_id"], moved["version"]) == (second, 2)
    assert moved["updated_at"] > put["updated_at"]
    listed = roster.json("GET", path)["data"]
    assert [tag["tag"] for tag in listed] == ["canary", "stable"]
    assert listed[1] == moved
    assert roster.call("DELETE", f"{path}/stable").status_code == 204
    roster.refused("DELETE", f"{path}/stable", 404, "agent_tag_not_found")
    assert [tag["tag"] for tag in roster.json("GET", path)["data"]] == ["canary"]


def test_a_tag_put_many_times_at_once_is_one(roster: AgentClient) -> None:
    made = roster.agent()
    path, body = f"/agents/{made['id']}/tags/stable", {"version_id": made["active_config_snapshot_id"]}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for call in [pool.submit(roster.json, "PUT", path, json=body) for _ in range(AT_ONCE)]:
            assert call.result()["version"] == 1

    assert len(roster.json("GET", f"/agents/{made['id']}/tags")["data"]) == 1


@pytest.mark.parametrize("tag", ["Stable", "-a", ".hidden", "a b", "a%00", "%c3%a9", "a" * 65, "a%0a", "..%2e"])
def test_an_invalid_tag_name_is_refused(roster: AgentClient, tag: str) -> None:
    made = roster.agent()
    body = {"version_id": made["active_config_snapshot_id"]}

    roster.refused("PUT", f"/agents/{made['id']}/tags/{tag}", 400, "invalid_param", json=body)
    roster.refused("DELETE", f"/agents/{made['id']}/tags/{tag}", 404, "agent_tag_not_found")


@pytest.mark.parametrize("tag", ["..%2f..%2fetc%2fpasswd", "a%2fb", "%2e%2e%2f"])
def test_a_tag_that_looks_like_a_path_leads_nowhere(roster: AgentClient, tag: str) -> None:
    made = roster.agent()
    body = {"version_id": made["active_config_snapshot_id"]}

    assert roster.call("PUT", f"/agents/{made['id']}/tags/{tag}", json=body).status_code in (400, 404, 405)
    assert roster.json("GET", f"/agents/{made['id']}/tags")["data"] == []


@pytest.mark.parametrize("body", [{}, {"version_id": None}, {"version_id": 1}, {"version_id": "x", "force": True}, []])
def test_a_tag_without_a_valid_version_is_refused(roster: AgentClient, body: object) -> None:
    made = roster.agent()

    roster.refused("PUT", f"/agents/{made['id']}/tags/stable", 400, "invalid_param", json=body)
