"""The composers on both databases and two workers: what saves do, which are refused, and concurrent saves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from errors import DatabaseUnavailable
from models import WorkflowAgentNodeBinding
from models.enums import AgentScope, AgentSource, AgentStatus, BindingType
from runtime.protocol.ids import new_id
from services.composer.places import NodePlace, take_turn
from services.composer.requests import ComposerSaveRequest
from services.composer.service import ComposerService
from services.database import Database
from services.souls import WorkflowNodeJobConfig
from tests.conftest import environment
from tests.support.composing import Composer, Place, Stored, prompt_of, soul
from tests.support.databases import open_database
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer
from tests.support.tenant_caller import ADMIN, error

MAX_BYTES = 100_000
AT_ONCE = 20

Saving = tuple[Place, str, dict[str, Any]]

WITH_SOUL = ["save_to_current_version", "save_as_new_version", "save_as_new_agent"]


@pytest.fixture(scope="module")
def composing(redis_server: RedisServer, daemon: ScriptedDaemon, database_url: str) -> Iterator[GunicornServer]:
    env = environment(
        redis_server.url,
        daemon.url,
        redis_prefix="composer",
        admin_token=ADMIN,
        database_url=database_url,
        database_timeout_seconds=30,
        max_request_bytes=MAX_BYTES,
    )
    with running_server(env, workers=2) as server:
        yield server


@pytest.fixture
def composer(composing: GunicornServer) -> Composer:
    return Composer(composing.url, ADMIN, new_id(), **{"X-User-Id": "grace"})


@pytest.fixture
def stranger(composing: GunicornServer) -> Composer:
    return Composer(composing.url, ADMIN, new_id())


@pytest.fixture
def stored(database: Database, composer: Composer) -> Stored:
    return Stored(database, composer.tenant)


def job(prompt: str = "Sum up the report.", **rest: Any) -> dict[str, Any]:
    return {"workflow_prompt": prompt, **rest}


def named(agent_id: str, **rest: Any) -> dict[str, Any]:
    return {"binding_type": "roster_agent", "agent_id": agent_id, **rest}


# What a node shows


def test_a_node_without_an_agent_shows_what_it_could_have(composer: Composer) -> None:
    state = composer.node().state()

    nothing = ("agent", "active_config_snapshot", "binding", "impact_summary")
    assert [state[key] for key in nothing] == [None] * 4
    assert state["soul_lock"] == {"locked": False, "can_unlock": False, "reason": "workflow_only_empty"}
    assert state["save_options"] == ["node_job_only", "save_to_roster"]
    assert state["node_job"] == WorkflowNodeJobConfig().as_json()
    assert [output["name"] for output in state["effective_declared_outputs"]] == ["text", "files", "json"]
    assert (state["variant"], state["app_id"], state["node_id"]) == ("workflow", "app-1", "n1")
    assert state["workflow_id"] == "app-1"


def test_the_query_chooses_the_workflow_of_a_node(composer: Composer) -> None:
    composer.node().saved("node_job_only")

    other = composer.node().state(workflow_id="workflow-2")

    assert (other["workflow_id"], other["binding"]) == ("workflow-2", None)
    assert composer.node().state(workflow_id="app-1")["binding"] is not None


def test_declared_outputs_are_the_effective_ones(composer: Composer) -> None:
    declared = [{"name": "summary", "type": "string"}]

    state = composer.node().saved("node_job_only", node_job=job(declared_outputs=declared))

    assert [output["name"] for output in state["effective_declared_outputs"]] == ["summary"]
    assert state["node_job"]["declared_outputs"] == state["effective_declared_outputs"]


# node_job_only


def test_the_first_save_gives_a_node_an_agent_of_its_own(composer: Composer, stored: Stored) -> None:
    state = composer.node().saved("node_job_only", agent_soul=soul("You count."), node_job=job())

    [agent] = stored.agents()
    [version] = stored.versions(agent.id)
    [revision] = stored.history(agent.id)
    [binding] = stored.bindings()
    assert (agent.scope, agent.source, agent.status) == ("workflow_only", "workflow", "active")
    assert (agent.app_id, agent.workflow_id, agent.workflow_node_id) == ("app-1", "app-1", "n1")
    assert "n1" in agent.name
    assert (version.version, agent.active_config_snapshot_id) == (1, version.id)
    assert (revision.revision, revision.operation, revision.previous_snapshot_id) == (1, "create_version", None)
    assert revision.current_snapshot_id == version.id
    assert (binding.binding_type, binding.workflow_version) == ("inline_agent", "draft")
    assert (binding.agent_id, binding.current_snapshot_id) == (agent.id, version.id)
    assert {agent.created_by, version.created_by, revision.created_by, binding.created_by} == {"grace"}
    assert prompt_of(state) == "You count."
    assert state["soul_lock"] == {"locked": False, "can_unlock": False, "reason": "workflow_only_agent"}
    assert state["save_options"] == ["node_job_only", "save_to_roster"]
    assert state["binding"]["binding_type"] == "inline_agent"
    assert state["active_config_snapshot"]["version"] == 1
    assert state == composer.node().state()


def test_a_save_of_the_job_alone_leaves_the_agent_alone(composer: Composer, stored: Stored) -> None:
    node = composer.node()
    node.saved("node_job_only", agent_soul=soul("You count."), node_job=job("Count."))
    before = stored.counts()

    state = node.saved("node_job_only", agent_soul=soul("Not this."), node_job=job("Count again."))

    assert stored.counts() == before
    assert prompt_of(state) == "You count."
    assert state["node_job"]["workflow_prompt"] == "Count again."


def test_a_save_without_a_job_saves_the_default_job(composer: Composer) -> None:
    node = composer.node()
    node.saved("node_job_only", node_job=job())

    assert node.saved("node_job_only")["node_job"] == WorkflowNodeJobConfig().as_json()


@pytest.mark.parametrize("text", ["\x00", "a\\u0000b", "\u2028", "🤖", "\ufeff", "'; DROP TABLE agents; --"])
def test_a_soul_and_a_job_are_returned_as_they_were_saved(composer: Composer, text: str) -> None:
    node = composer.node()
    given = soul(text, misc_legacy={text: [text]})

    node.saved("node_job_only", agent_soul=given, node_job=job(text, metadata={text: text}))

    state = node.state()
    assert prompt_of(state) == state["node_job"]["workflow_prompt"] == text
    assert state["agent_soul"]["misc_legacy"] == {text: [text]}
    assert state["node_job"]["metadata"] == {text: text}


# save_to_current_version and save_as_new_version


@pytest.mark.parametrize(
    ("strategy", "operation"),
    [("save_to_current_version", "save_current_version"), ("save_as_new_version", "save_new_version")],
)
def test_a_save_of_the_soul_makes_a_new_version(
    composer: Composer, stored: Stored, strategy: str, operation: str
) -> None:
    agent = stored.roster_agent()
    node = composer.node()
    node.saved("node_job_only", binding=named(agent.id), node_job=job("Stay."))

    state = node.saved(strategy, agent_soul=soul("You are new."), version_note="Newer")

    first, second = stored.versions(agent.id)
    latest = stored.history(agent.id)[-1]
    assert (first.version, second.version) == (1, 2)
    assert (latest.revision, latest.operation, latest.version_note) == (2, operation, "Newer")
    assert (latest.previous_snapshot_id, latest.current_snapshot_id) == (first.id, second.id)
    assert stored.agent(agent.id).active_config_snapshot_id == second.id
    assert stored.agent(agent.id).updated_by == "grace"
    assert first.config_snapshot["prompt"]["system_prompt"] == ""
    assert state["binding"]["current_snapshot_id"] == state["active_config_snapshot"]["id"] == second.id
    assert prompt_of(state) == "You are new."
    assert state["node_job"]["workflow_prompt"] == "Stay."
    assert node.saved(strategy, agent_soul=soul(), node_job=job("Go."))["node_job"]["workflow_prompt"] == "Go."


def test_other_nodes_keep_the_version_that_they_have(composer: Composer, stored: Stored) -> None:
    agent = stored.roster_agent()
    one, other = composer.node("n1"), composer.node("n2")
    for node in (one, other):
        node.saved("node_job_only", binding=named(agent.id))

    saved = one.saved("save_as_new_version", agent_soul=soul())

    kept = other.state()
    assert saved["active_config_snapshot"]["version"] == 2
    assert kept["active_config_snapshot"]["version"] == 1
    assert kept["agent"]["active_config_snapshot_id"] == saved["binding"]["current_snapshot_id"]


def test_a_workflow_neither_sees_nor_loses_what_belongs_to_the_app(composer: Composer, stored: Stored) -> None:
    features = {"opening_statement": "Hello"}
    agent = stored.roster_agent(app_features=features, app_variables=[{"name": "city", "type": "text"}])
    node = composer.node()
    seen = node.saved("node_job_only", binding=named(agent.id))["agent_soul"]
    assert (seen["app_features"], seen["app_variables"]) == ({}, [])

    node.saved("save_as_new_version", agent_soul=seen)

    latest = stored.versions(agent.id)[-1].config_snapshot
    assert latest["app_features"] == features
    assert [variable["name"] for variable in latest["app_variables"]] == ["city"]


def test_a_node_may_save_its_own_agent(composer: Composer, stored: Stored) -> None:
    node = composer.node()
    node.saved("node_job_only")

    state = node.saved("save_to_current_version", agent_soul=soul("You are mine."))

    assert state["active_config_snapshot"]["version"] == 2
    assert state["binding"]["binding_type"] == "inline_agent"


# save_as_new_agent and save_to_roster


def test_a_save_as_a_new_agent_adds_an_agent_to_the_roster(composer: Composer, stored: Stored) -> None:
    node = composer.node()
    old = node.saved("node_job_only", node_job=job("Old."))["agent"]["id"]

    state = node.saved("save_as_new_agent", agent_soul=soul("You are new."), new_agent_name="Ada 🤖", icon="🤖")

    agent = stored.agent(state["agent"]["id"])
    assert (agent.name, agent.icon, agent.scope, agent.source) == ("Ada 🤖", "🤖", "roster", "workflow")
    [revision] = stored.history(agent.id)
    assert (revision.operation, revision.previous_snapshot_id) == ("save_new_agent", None)
    assert state["binding"]["binding_type"] == "roster_agent"
    assert state["active_config_snapshot"]["version"] == 1
    assert state["node_job"] == WorkflowNodeJobConfig().as_json()
    assert state["soul_lock"] == {"locked": True, "can_unlock": True, "reason": "roster_agent_shared_version"}
    assert state["save_options"] == [
        "node_job_only",
        "save_to_current_version",
        "save_as_new_version",
        "save_as_new_agent",
    ]
    assert stored.agent(old).status is AgentStatus.ACTIVE
    assert len(stored.bindings()) == 1


def test_a_new_agent_without_a_name_is_untitled(composer: Composer) -> None:
    assert composer.node().saved("save_as_new_agent", agent_soul=soul())["agent"]["name"] == "Untitled Agent"


def test_first_saves_of_several_apps_without_a_name_get_numbers(composer: Composer) -> None:
    apps = [composer.app(f"app-{number}") for number in range(3)]

    names = [app.saved("save_as_new_version", agent_soul=soul())["agent"]["name"] for app in apps]
    node = composer.node().saved("save_as_new_agent", agent_soul=soul())["agent"]["name"]

    assert [*names, node] == ["Untitled Agent", "Untitled Agent 2", "Untitled Agent 3", "Untitled Agent 4"]


def test_a_number_that_an_archived_agent_had_is_free_again(composer: Composer) -> None:
    made = [composer.app(f"app-{number}").saved("save_as_new_version", agent_soul=soul()) for number in range(3)]
    composer.call("DELETE", f"/agents/{made[1]['agent']['id']}")

    assert composer.app("app-3").saved("save_as_new_version", agent_soul=soul())["agent"]["name"] == "Untitled Agent 2"


def test_first_saves_without_a_name_at_once_all_get_names_of_their_own(composer: Composer) -> None:
    def save(number: int) -> str:
        name = composer.app(f"app-{number}").saved("save_as_new_version", agent_soul=soul())["agent"]["name"]
        return str(name)

    with ThreadPoolExecutor(8) as callers:
        names = sorted(callers.map(save, range(8)))

    assert names == ["Untitled Agent", *(f"Untitled Agent {number}" for number in range(2, 9))]


def test_a_name_that_was_chosen_gets_no_number(composer: Composer) -> None:
    composer.app("app-1").saved("save_as_new_version", agent_soul=soul(), new_agent_name="Ada")

    of_app = composer.app("app-2").put("save_as_new_version", agent_soul=soul(), new_agent_name="Ada")
    of_node = composer.node("n2").put("save_as_new_agent", agent_soul=soul(), new_agent_name="Ada")

    error(of_app, 409, "agent_name_taken")
    error(of_node, 409, "agent_name_taken")
    assert composer.app("app-2").get().status_code == 404
    assert composer.node("n2").state()["binding"] is None


def test_a_save_to_the_roster_copies_the_version_and_archives_the_nodes_own_agent(
    composer: Composer, stored: Stored
) -> None:
    node = composer.node()
    old = node.saved("node_job_only", agent_soul=soul("You count."), node_job=job("Stay."))["agent"]["id"]

    response = node.post("save-to-roster", {"new_agent_name": "Ada"})

    state = response.json()
    assert response.status_code == 200, response.text
    agent = stored.agent(state["agent"]["id"])
    assert (agent.id != old, agent.name, agent.scope) == (True, "Ada", AgentScope.ROSTER)
    assert prompt_of(state) == "You count."
    [revision] = stored.history(agent.id)
    assert (revision.operation, revision.previous_snapshot_id) == ("save_to_roster", None)
    assert state["node_job"]["workflow_prompt"] == "Stay."
    archived = stored.agent(old)
    assert (archived.status, archived.archived_by) == (AgentStatus.ARCHIVED, "grace")
    assert archived.archived_at is not None
    assert [binding.agent_id for binding in stored.bindings()] == [agent.id]


def test_a_save_to_the_roster_takes_the_name_and_a_new_soul(composer: Composer, stored: Stored) -> None:
    node = composer.node()
    name = node.saved("node_job_only")["agent"]["name"]

    state = node.saved("save_to_roster", agent_soul=soul("You are new."))

    assert (state["agent"]["name"], prompt_of(state)) == (name, "You are new.")


def test_an_agent_that_a_published_workflow_uses_is_not_archived(composer: Composer, stored: Stored) -> None:
    node = composer.node()
    state = node.saved("node_job_only")
    published = {"workflow_id": "published-1", "workflow_version": "2026-11-20 10:00", "node_id": "n1"}
    stored.add(
        WorkflowAgentNodeBinding(
            tenant_id=composer.tenant,
            app_id="app-1",
            binding_type=BindingType.INLINE_AGENT,
            agent_id=state["agent"]["id"],
            current_snapshot_id=state["binding"]["current_snapshot_id"],
            node_job_config={},
            **published,
        )
    )

    node.saved("save_to_roster", new_agent_name="Ada")

    assert stored.agent(state["agent"]["id"]).status is AgentStatus.ACTIVE


# Which agent a node has


def test_a_payload_binds_a_node_to_one_agent_and_then_to_another(composer: Composer, stored: Stored) -> None:
    ada, bob = stored.roster_agent("Ada", **soul("I am Ada.")), stored.roster_agent("Bob", **soul("I am Bob."))
    node = composer.node()

    first = node.saved("node_job_only", binding=named(ada.id), node_job=job())
    second = node.saved("node_job_only", binding=named(bob.id))

    assert (first["agent"]["name"], prompt_of(first)) == ("Ada", "I am Ada.")
    assert (second["agent"]["name"], prompt_of(second)) == ("Bob", "I am Bob.")
    assert first["binding"]["id"] == second["binding"]["id"]
    assert len(stored.agents()) == 2


def test_a_payload_may_name_an_older_version(composer: Composer, stored: Stored) -> None:
    agent = stored.roster_agent(**soul("First."))
    node = composer.node()
    first = node.saved("node_job_only", binding=named(agent.id))["binding"]["current_snapshot_id"]
    node.saved("save_as_new_version", agent_soul=soul("Second."))

    state = node.saved("node_job_only", binding=named(agent.id, current_snapshot_id=first))

    assert prompt_of(state) == "First."
    assert stored.agent(agent.id).active_config_snapshot_id != first


def test_a_binding_may_be_sent_back_as_it_was_returned(composer: Composer) -> None:
    node = composer.node()
    state = node.saved("node_job_only")

    again = node.saved("save_as_new_version", agent_soul=soul(), binding=state["binding"])

    assert again["binding"]["agent_id"] == state["binding"]["agent_id"]
    assert again["active_config_snapshot"]["version"] == 2


def test_a_node_cannot_be_bound_to_an_agent_that_it_may_not_use(
    composer: Composer, stranger: Composer, stored: Stored, database: Database
) -> None:
    agent = stored.roster_agent()
    archived = stored.roster_agent("Old")
    stored.change(archived.id, status=AgentStatus.ARCHIVED, archived_at=datetime.now(UTC))
    foreign = Stored(database, stranger.tenant).roster_agent()
    own = composer.node("n2").saved("node_job_only")["agent"]["id"]
    before = stored.counts()

    def bound(choice: dict[str, Any]) -> requests.Response:
        return composer.node().put("node_job_only", binding=choice)

    for unknown in (foreign.id, new_id(), "agent-1", "\x00", own):
        error(bound({"agent_id": unknown}), 404, "agent_not_found")
    error(bound(named(archived.id)), 409, "agent_archived")
    for version in (foreign.active_config_snapshot_id, archived.active_config_snapshot_id, "v1"):
        error(bound(named(agent.id, current_snapshot_id=version)), 404, "agent_version_not_found")
    error(bound({"binding_type": "inline_agent", "agent_id": agent.id}), 400, "invalid_composer_config")
    assert stored.counts() == before


def test_a_workflow_belongs_to_one_app(composer: Composer) -> None:
    composer.node().saved("node_job_only")
    query = "?workflow_id=app-1"
    path = "/apps/app-2/workflows/draft/nodes/n1/agent-composer" + query
    body = {"variant": "workflow", "save_strategy": "node_job_only"}

    error(composer.call("GET", path), 400, "invalid_composer_config")
    error(composer.call("PUT", path, json=body), 400, "invalid_composer_config")


# What is refused


@pytest.mark.parametrize("strategy", [*WITH_SOUL, "save_to_roster"])
@pytest.mark.parametrize("lock", [{}, {"soul_lock": {}}, {"soul_lock": {"locked": True}}])
def test_a_locked_soul_is_not_saved(composer: Composer, stored: Stored, strategy: str, lock: dict[str, Any]) -> None:
    node = composer.node()
    node.saved("node_job_only")
    before = stored.counts()
    body = {"variant": "workflow", "save_strategy": strategy, "agent_soul": soul(), "new_agent_name": "Ada", **lock}

    for response in (composer.call("PUT", node.path, json=body), node.post("validate", body)):
        error(response, 400, "agent_soul_locked")
    assert stored.counts() == before


@pytest.mark.parametrize("strategy", WITH_SOUL)
def test_a_strategy_that_needs_a_soul_says_so(composer: Composer, strategy: str) -> None:
    node = composer.node()
    node.saved("node_job_only")

    assert "agent_soul" in error(node.put(strategy), 400, "invalid_composer_config")


@pytest.mark.parametrize("strategy", ["save_to_current_version", "save_as_new_version", "save_to_roster"])
def test_a_strategy_that_needs_an_agent_says_so(composer: Composer, stored: Stored, strategy: str) -> None:
    error(composer.node().put(strategy, agent_soul=soul()), 400, "invalid_composer_config")

    assert stored.counts() == [0, 0, 0, 0]


def test_an_archived_agent_gets_no_version(composer: Composer, stored: Stored) -> None:
    agent = stored.roster_agent()
    node = composer.node()
    state = node.saved("node_job_only", binding=named(agent.id))
    stored.change(agent.id, status=AgentStatus.ARCHIVED, archived_at=datetime.now(UTC))

    for strategy in ("save_to_current_version", "save_as_new_version"):
        error(node.put(strategy, agent_soul=soul(), binding=state["binding"]), 409, "agent_archived")
    assert len(stored.versions(agent.id)) == 1
    assert node.saved("node_job_only", node_job=job("Go on."))["agent"]["status"] == "archived"


def test_what_a_workflow_may_not_set_is_refused(composer: Composer) -> None:
    for forbidden in ({"app_features": {"a": 1}}, {"app_variables": [{"name": "city", "type": "text"}]}):
        body = {"agent_soul": soul(**forbidden)}
        error(composer.node().put("node_job_only", **body), 400, "invalid_composer_config")
    error(composer.app().put("save_as_new_version", agent_soul=soul(), node_job=job()), 400, "invalid_composer_config")


def test_each_route_takes_its_own_variant(composer: Composer) -> None:
    node, app = composer.node(), composer.app()

    error(node.put("node_job_only", variant="agent_app"), 400, "invalid_composer_config")
    error(app.put("save_as_new_version", variant="workflow", agent_soul=soul()), 400, "invalid_composer_config")
    error(node.post("save-to-roster", {"save_strategy": "node_job_only"}), 400, "invalid_composer_config")


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"variant": None}, ["body", "variant"]),
        ({"save_strategy": "publish"}, ["body", "save_strategy"]),
        ({"save_strategy": 3}, ["body", "save_strategy"]),
        ({"binding": []}, ["body", "binding"]),
        ({"binding": {"agent_id": 5}}, ["body", "binding", "agent_id"]),
        ({"soul_lock": {"locked": "no"}}, ["body", "soul_lock", "locked"]),
        ({"soul_lock": {"unlocked": True}}, ["body", "soul_lock", "unlocked"]),
        ({"agent_soul": "soul"}, ["body", "agent_soul"]),
        ({"agent_soul": {"prompts": {}}}, ["body", "agent_soul", "prompts"]),
        ({"node_job": {"mode": "sleep"}}, ["body", "node_job", "mode"]),
        ({"node_job": {"declared_outputs": [{"name": "1", "type": "string"}]}}, None),
        ({"new_agent_name": "  "}, ["body", "new_agent_name"]),
        ({"new_agent_name": "a" * 256}, ["body", "new_agent_name"]),
        ({"new_agent_name": "a\x00"}, ["body", "new_agent_name"]),
        ({"version_note": "a\x00"}, ["body", "version_note"]),
        ({"idempotency_key": " "}, ["body", "idempotency_key"]),
        ({"idempotencykey": "a"}, ["body", "idempotencykey"]),
        ({"client_revision_id": 7}, ["body", "client_revision_id"]),
    ],
)
def test_a_malformed_save_is_refused_with_its_place(
    composer: Composer, stored: Stored, body: dict[str, Any], loc: list[str] | None
) -> None:
    given = {"variant": "workflow", "save_strategy": "node_job_only", **body}
    node = composer.node()

    for response in (composer.call("PUT", node.path, json=given), node.post("validate", given)):
        problems = error(response, 400, "invalid_param")
        assert loc is None or [problem["loc"] for problem in problems] == [loc]
    assert stored.counts() == [0, 0, 0, 0]


def test_a_secret_is_refused_wherever_it_hides(composer: Composer, stored: Stored) -> None:
    secret = "sk-proj-" + "a1B2" * 10
    node = composer.node()

    for body in (
        {"agent_soul": soul(env={"variables": [{"name": "API_KEY", "value": "hush-hush"}]})},
        {"agent_soul": soul(secret)},
        {"node_job": job(metadata={"x": {"client-secret": "hush-hush"}})},
    ):
        response = node.put("node_job_only", **body)
        assert "Plaintext secret is not allowed at" in str(error(response, 400, "invalid_param"))
        assert secret not in response.text
        assert "hush-hush" not in response.text
    assert stored.counts() == [0, 0, 0, 0]


@pytest.mark.parametrize("path", ["%00", "a%0ab", "n" * 256])
def test_an_invalid_node_id_is_refused(composer: Composer, path: str) -> None:
    response = composer.call("GET", f"/apps/app-1/workflows/draft/nodes/{path}/agent-composer")

    assert error(response, 400, "invalid_param")[0]["loc"] == ["path", "node_id"]


@pytest.mark.parametrize("app", ["%00", "a" * 65, "-a", "a b", "ä"])
def test_an_invalid_app_or_workflow_id_is_refused(composer: Composer, app: str) -> None:
    node = "/workflows/draft/nodes/n1/agent-composer"

    assert error(composer.call("GET", f"/apps/{app}{node}"), 400, "invalid_param")[0]["loc"] == ["path", "app_id"]
    of_query = error(composer.call("GET", f"/apps/a{node}?workflow_id={app}"), 400, "invalid_param")
    assert of_query[0]["loc"] == ["query", "workflow_id"]


def test_a_body_that_is_too_large_is_refused(composer: Composer) -> None:
    response = composer.node().put("node_job_only", agent_soul=soul("a" * MAX_BYTES))

    error(response, 413, "request_too_large")


def test_only_the_operator_and_workspaces_compose(
    composing: GunicornServer, composer: Composer, stored: Stored
) -> None:
    agent = stored.roster_agent()
    kinds = ({"kind": "app", "agent_id": agent.id}, {"kind": "workspace"})
    app_key, workspace_key = (composer.call("POST", "/keys", json=kind).json()["key"] for kind in kinds)

    error(Composer(composing.url, "nobody", composer.tenant).node().get(), 401, "unauthorized")
    error(Composer(composing.url, app_key, composer.tenant).node().get(), 403, "key_not_allowed")
    assert Composer(composing.url, workspace_key, composer.tenant).node().get().status_code == 200


def test_another_tenant_has_another_node(composer: Composer, stranger: Composer) -> None:
    mine = composer.node().saved("node_job_only", agent_soul=soul("Mine."))

    assert stranger.node().state()["binding"] is None
    foreign = {"binding": {"current_snapshot_id": mine["binding"]["current_snapshot_id"]}}
    error(stranger.node().post("impact", foreign), 404, "agent_version_not_found")
    error(stranger.app().get(), 404, "agent_not_found")


# Impact, checks and candidates


def test_the_impact_is_every_node_with_the_version(composer: Composer, stored: Stored) -> None:
    agent = stored.roster_agent()
    for node in ("n1", "n2"):
        state = composer.node(node).saved("node_job_only", binding=named(agent.id))
    snapshot_id = state["binding"]["current_snapshot_id"]

    response = composer.node().post("impact", {"binding": {"current_snapshot_id": snapshot_id}})

    rows = [{"app_id": "app-1", "workflow_id": "app-1", "node_id": node} for node in ("n1", "n2")]
    expected = {"current_snapshot_id": snapshot_id, "workflow_node_count": 2, "bindings": rows}
    assert response.json() == expected
    assert state["impact_summary"] == expected


def test_no_version_has_no_impact(composer: Composer) -> None:
    nothing: dict[str, Any] = {"current_snapshot_id": None, "workflow_node_count": 0, "bindings": []}

    assert composer.node().post("impact", {}).json() == nothing
    whole = {"variant": "workflow", "save_strategy": "node_job_only", "binding": {"current_snapshot_id": None}}
    assert composer.node().post("impact", whole).json() == nothing


def test_a_save_that_is_checked_stores_nothing(composer: Composer, stored: Stored) -> None:
    of_node = {"variant": "workflow", "save_strategy": "node_job_only", "agent_soul": soul(), "node_job": job()}
    of_app = {"variant": "agent_app", "save_strategy": "save_as_new_version", "agent_soul": soul()}

    for response in (composer.node().post("validate", of_node), composer.app().post("validate", of_app)):
        assert (response.status_code, response.json()) == (200, {"result": "success", "errors": []})
    assert stored.counts() == [0, 0, 0, 0]


def test_a_check_reports_what_would_keep_a_node_from_being_published(composer: Composer, stored: Stored) -> None:
    tool = {"provider_id": "langgenius/google/google", "tool_name": "search", "credential_type": "unauthorized"}
    refs = [{"selector": ["start"]}, {"node_id": "start", "output": "text"}]
    people = [{"id": "ada", "channel": "pigeon"}, {"id": "grace", "tenant_id": "another"}, {"name": "Nobody"}]
    of_node = {
        "variant": "workflow",
        "save_strategy": "node_job_only",
        "agent_soul": soul(tools={"dify_tools": [tool, {**tool, "enabled": False}, tool]}),
        "node_job": job(metadata={"a": [{"Model": "gpt"}]}, previous_node_output_refs=refs, human_contacts=people),
    }

    answer = composer.node().post("validate", of_node)

    assert (answer.status_code, answer.json()["result"]) == (200, "fail")
    assert [error["loc"] for error in answer.json()["errors"]] == [
        ["body", "agent_soul", "tools", "dify_tools", 2, "tool_name"],
        ["body", "node_job", "metadata", "a", 0, "Model"],
        ["body", "node_job", "previous_node_output_refs", 0],
        ["body", "node_job", "human_contacts", 0, "channel"],
        ["body", "node_job", "human_contacts", 1, "tenant_id"],
        ["body", "node_job", "human_contacts", 2],
    ]
    assert "the tool name 'search' is used twice" in answer.text
    assert stored.counts() == [0, 0, 0, 0]
    assert composer.node().put("node_job_only", **of_node).status_code == 200


def test_a_check_of_an_app_looks_at_its_contacts(composer: Composer) -> None:
    body = {"variant": "agent_app", "save_strategy": "save_as_new_version"}
    contacts = [{"id": "ada", "tenant_id": composer.tenant}, {"id": "ada", "tenant_id": "another"}]

    answer = composer.app().post("validate", {**body, "agent_soul": soul(human={"contacts": contacts})})

    locs = [error["loc"] for error in answer.json()["errors"]]
    assert locs == [["body", "agent_soul", "human", "contacts", 1, "tenant_id"]]


def test_candidates_say_which_outputs_can_be_declared(composer: Composer) -> None:
    of_node, of_app = composer.node().get("/candidates").json(), composer.app().get("/candidates").json()

    types = of_node["allowed_node_job_candidates"]["declare_output_types"]
    assert types == ["string", "number", "object", "array", "boolean", "file"]
    assert (of_app["variant"], of_app["allowed_node_job_candidates"]) == ("agent_app", {})
    assert of_node["allowed_soul_candidates"] == of_app["allowed_soul_candidates"]


# Agent Apps


def test_the_first_save_of_an_app_makes_its_agent(composer: Composer, stored: Stored) -> None:
    app = composer.app()
    error(app.get(), 404, "agent_not_found")
    features = {"opening_statement": "Hello"}

    state = app.saved("save_to_current_version", agent_soul=soul(app_features=features), new_agent_name="Ada")

    [agent] = stored.agents()
    [revision] = stored.history(agent.id)
    assert (agent.name, agent.scope, agent.source, agent.app_id) == ("Ada", "roster", AgentSource.AGENT_APP, "app-1")
    assert (revision.operation, revision.previous_snapshot_id) == ("save_new_version", None)
    assert state["agent_soul"]["app_features"] == features
    assert state["save_options"] == ["save_to_current_version", "save_as_new_version"]
    assert set(state) == {"variant", "agent", "active_config_snapshot", "agent_soul", "save_options"}
    assert state == app.state()


@pytest.mark.parametrize(
    ("strategy", "operation"),
    [
        ("save_as_new_version", "save_new_version"),
        ("save_to_current_version", "save_current_version"),
        ("node_job_only", "save_current_version"),
    ],
)
def test_a_save_of_an_app_is_a_new_version(composer: Composer, stored: Stored, strategy: str, operation: str) -> None:
    app = composer.app()
    first = app.saved("save_as_new_version", agent_soul=soul())

    second = app.saved(strategy, agent_soul=soul("Second."), new_agent_name="No effect")

    agent_id = first["agent"]["id"]
    latest = stored.history(agent_id)[-1]
    assert (latest.revision, latest.operation) == (2, operation)
    assert latest.previous_snapshot_id == first["active_config_snapshot"]["id"]
    assert second["agent"]["active_config_snapshot_id"] == latest.current_snapshot_id
    assert (second["active_config_snapshot"]["version"], second["agent"]["name"]) == (2, "Untitled Agent")
    assert stored.bindings() == []


def test_an_app_needs_a_soul_and_a_free_name(composer: Composer, stored: Stored) -> None:
    stored.roster_agent("Ada")

    error(composer.app().put("save_as_new_version"), 400, "invalid_composer_config")
    error(composer.app().put("save_as_new_version", agent_soul=soul(), new_agent_name="Ada"), 409, "agent_name_taken")
    assert len(stored.agents()) == 1


def test_an_app_whose_agent_is_archived_gets_another(composer: Composer, stored: Stored) -> None:
    app = composer.app()
    first = app.saved("save_as_new_version", agent_soul=soul())["agent"]["id"]
    stored.change(first, status=AgentStatus.ARCHIVED, archived_at=datetime.now(UTC))

    error(app.get(), 404, "agent_not_found")
    assert app.saved("save_as_new_version", agent_soul=soul())["agent"]["id"] != first


# Twice, and at once


def test_a_save_based_on_an_outdated_version_is_refused(composer: Composer, stored: Stored) -> None:
    node, app = composer.node(), composer.app()
    node_state = node.saved("node_job_only")
    app_state = app.saved("save_as_new_version", agent_soul=soul())
    seen = [state["active_config_snapshot"]["id"] for state in (node_state, app_state)]

    for place, seen_id in zip((node, app), seen, strict=True):
        place.saved("save_as_new_version", agent_soul=soul("Mine."), client_revision_id=seen_id)
        late = place.put("save_as_new_version", agent_soul=soul("Late."), client_revision_id=seen_id)
        error(late, 409, "agent_version_conflict")
        assert prompt_of(place.state()) == "Mine."
    error(composer.node("n2").put("node_job_only", client_revision_id=seen[0]), 409, "agent_version_conflict")
    error(node.put("node_job_only", client_revision_id=seen[0]), 409, "agent_version_conflict")


def test_the_same_save_under_one_key_is_made_once(composer: Composer, stored: Stored) -> None:
    app = composer.app()
    body = {"agent_soul": soul(), "idempotency_key": new_id()}

    first = app.saved("save_as_new_version", **body)
    again = app.saved("save_as_new_version", agent_soul=soul(), headers={"Idempotency-Key": body["idempotency_key"]})

    assert again == first
    error(app.put("save_to_current_version", **body), 409, "idempotency_key_reused")
    assert len(stored.versions(first["agent"]["id"])) == 1
    assert composer.node().saved("node_job_only", idempotency_key=body["idempotency_key"])["binding"] is not None


def test_a_save_that_was_refused_does_not_use_its_key_up(composer: Composer) -> None:
    node, key = composer.node(), new_id()
    error(node.put("save_as_new_version", agent_soul=soul(), idempotency_key=key), 400, "invalid_composer_config")
    node.saved("node_job_only")

    state = node.saved("save_as_new_version", agent_soul=soul(), idempotency_key=key)

    assert state["active_config_snapshot"]["version"] == 2


def test_a_save_that_waits_too_long_fails_and_stores_nothing(
    database_url: str, database: Database, composer: Composer, stored: Stored
) -> None:
    place = NodePlace(composer.tenant, "app-1", "app-1", "n1")
    hasty = open_database(database_url, timeout_seconds=0.3)
    wanted = ComposerSaveRequest.model_validate({"variant": "workflow", "save_strategy": "node_job_only"})

    with database.transaction() as session:
        take_turn(session, place)
        with pytest.raises(DatabaseUnavailable):
            ComposerService(hasty).save_node(place, wanted, key=new_id(), actor=None)

    hasty.close()
    assert stored.counts() == [0, 0, 0, 0]
    assert composer.node().saved("node_job_only")["binding"] is not None


def all_at_once(saves: Sequence[Saving]) -> list[requests.Response]:
    with ThreadPoolExecutor(len(saves)) as threads:
        answers = [threads.submit(place.put, strategy, **body) for place, strategy, body in saves]
        return [answer.result() for answer in answers]


def numbers(stored: Stored, agent_id: str) -> tuple[list[int], list[int]]:
    versions, history = stored.versions(agent_id), stored.history(agent_id)
    return [row.version for row in versions], [row.revision for row in history]


def test_first_saves_at_once_make_one_agent(composer: Composer, stored: Stored) -> None:
    node, app = composer.node(), composer.app("app-2")
    saves: list[Saving] = [(node, "node_job_only", {"agent_soul": soul(str(number))}) for number in range(AT_ONCE // 2)]
    saves += [(app, "save_as_new_version", {"agent_soul": soul(str(number))}) for number in range(AT_ONCE // 2)]

    answers = all_at_once(saves)

    assert {answer.status_code for answer in answers} == {200}
    assert sorted(agent.scope for agent in stored.agents()) == ["roster", "workflow_only"]
    assert len(stored.bindings()) == 1
    of_app = composer.app("app-2").state()["agent"]["id"]
    assert numbers(stored, of_app) == (list(range(1, AT_ONCE // 2 + 1)),) * 2


def test_saves_of_one_node_at_once_get_consecutive_versions(composer: Composer, stored: Stored) -> None:
    node = composer.node()
    agent_id = node.saved("node_job_only")["agent"]["id"]
    strategies = ["save_as_new_version", "save_to_current_version"] * (AT_ONCE // 2)

    answers = all_at_once([(node, strategy, {"agent_soul": soul(strategy)}) for strategy in strategies])

    assert {answer.status_code for answer in answers} == {200}
    assert numbers(stored, agent_id) == (list(range(1, AT_ONCE + 2)),) * 2
    told = sorted(answer.json()["active_config_snapshot"]["version"] for answer in answers)
    assert told == list(range(2, AT_ONCE + 2))
    history = stored.history(agent_id)
    assert [row.previous_snapshot_id for row in history[1:]] == [row.current_snapshot_id for row in history[:-1]]
    assert stored.agent(agent_id).active_config_snapshot_id == history[-1].current_snapshot_id


def test_saves_of_many_nodes_with_one_agent_get_consecutive_versions(composer: Composer, stored: Stored) -> None:
    agent = stored.roster_agent()
    nodes = [composer.node(f"n{number}") for number in range(AT_ONCE)]
    body = {"agent_soul": soul(), "binding": named(agent.id)}

    answers = all_at_once([(node, "save_as_new_version", body) for node in nodes])

    assert {answer.status_code for answer in answers} == {200}
    assert numbers(stored, agent.id) == (list(range(1, AT_ONCE + 2)),) * 2
    pinned = {binding.current_snapshot_id for binding in stored.bindings()}
    assert pinned == {version.id for version in stored.versions(agent.id)[1:]}


def test_of_concurrent_saves_based_on_the_same_version_one_is_made(composer: Composer, stored: Stored) -> None:
    node = composer.node()
    state = node.saved("node_job_only")
    body = {"agent_soul": soul(), "client_revision_id": state["active_config_snapshot"]["id"]}

    answers = all_at_once([(node, "save_as_new_version", body)] * AT_ONCE)

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * (AT_ONCE - 1)
    assert numbers(stored, state["agent"]["id"]) == ([1, 2], [1, 2])


def test_the_same_save_at_once_under_one_key_is_made_once(composer: Composer, stored: Stored) -> None:
    node = composer.node()
    body = {"agent_soul": soul(), "new_agent_name": "Ada", "idempotency_key": new_id()}

    answers = all_at_once([(node, "save_as_new_agent", body)] * AT_ONCE)

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert stored.counts() == [1, 1, 1, 1]


def test_of_new_agents_created_at_once_with_one_name_one_is_made(composer: Composer, stored: Stored) -> None:
    nodes = [composer.node(f"n{number}") for number in range(AT_ONCE)]
    body = {"agent_soul": soul(), "new_agent_name": "Ada"}

    answers = all_at_once([(node, "save_as_new_agent", body) for node in nodes])

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * (AT_ONCE - 1)
    assert stored.counts() == [1, 1, 1, 1]
