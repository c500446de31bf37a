"""``flask --app app agents`` on both databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask.testing import FlaskCliRunner

from app import create_app
from runtime.protocol.ids import new_id
from services.agents.history import VersionService
from services.agents.requests import CreateAgentRequest, CreateVersionRequest
from services.agents.roster import AgentService
from services.database import Database
from settings import Settings
from tests.support.agent_client import soul


@pytest.fixture
def runner(database_url: str) -> FlaskCliRunner:
    return create_app(Settings(database_url=database_url)).test_cli_runner()


@pytest.fixture
def tenant() -> str:
    return new_id()


def run(runner: FlaskCliRunner, *arguments: str, given: str | None = None) -> Result:
    return runner.invoke(args=["agents", *arguments], input=given)


def told(runner: FlaskCliRunner, *arguments: str, given: str | None = None) -> Any:
    result = run(runner, *arguments, given=given)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def make(database: Database, tenant: str, name: str = "Ada") -> str:
    wanted = CreateAgentRequest.model_validate({"name": name, "agent_soul": soul()})
    return AgentService(database).create_agent(tenant, wanted, created_by=None).id


def save(database: Database, tenant: str, agent_id: str, prompt: str) -> str:
    wanted = CreateVersionRequest.model_validate({"agent_soul": soul(prompt)})
    return VersionService(database).create_version(tenant, agent_id, wanted, created_by=None).id


def test_all_agents_are_listed(runner: FlaskCliRunner, tenant: str, database: Database) -> None:
    made = [make(database, tenant, f"Agent {index}") for index in range(101)]

    listed = told(runner, "list", "--tenant", tenant, "--json")["data"]
    found = run(runner, "list", "--tenant", tenant, "--keyword", "agent 10")

    assert [agent["id"] for agent in listed] == made[::-1]
    lines = found.stdout.splitlines()
    assert lines[0].split() == ["ID", "NAME", "VERSION", "SOURCE", "STATUS", "UPDATED_AT"]
    assert [line.split()[0] for line in lines[1:]] == [made[100], made[10]]


def test_an_agent_is_shown_with_its_versions(runner: FlaskCliRunner, tenant: str, database: Database) -> None:
    agent_id = make(database, tenant)
    second = save(database, tenant, agent_id, "second")

    shown = told(runner, "show", agent_id, "--tenant", tenant, "--json")
    table = run(runner, "show", agent_id, "--tenant", tenant).stdout

    assert shown["id"] == agent_id
    assert [version["version"] for version in shown["versions"]] == [2, 1]
    assert f"2        {second}  yes" in table


def test_an_exported_agent_is_imported_elsewhere(
    runner: FlaskCliRunner, tenant: str, database: Database, tmp_path: Path
) -> None:
    agent_id, other, file = make(database, tenant), new_id(), tmp_path / "ada.json"
    first = AgentService(database).get_agent(tenant, agent_id).active_config_snapshot_id or ""
    save(database, tenant, agent_id, "second")

    document = told(runner, "export", agent_id, "--tenant", tenant)
    written = run(runner, "export", agent_id, "--tenant", tenant, "--version-id", first, "--output", str(file))
    from_file = told(runner, "import", str(file), "--tenant", other, "--json")
    from_input = told(runner, "import", "-", "--tenant", other, "--name", "Grace", "--json", given=json.dumps(document))

    assert (written.exit_code, written.stdout) == (0, "")
    assert from_file["name"] == "Ada"
    assert from_file["active_config_snapshot"]["digest"] == json.loads(file.read_text())["digest"]
    assert (
        from_input["active_config_snapshot"]["digest"] == document["digest"] != json.loads(file.read_text())["digest"]
    )
    into = told(runner, "import", str(file), "--tenant", other, "--agent", from_input["id"], "--json")
    assert into["active_config_snapshot"]["version"] == 2


def test_a_version_is_restored(runner: FlaskCliRunner, tenant: str, database: Database) -> None:
    agent_id = make(database, tenant)
    first = AgentService(database).get_agent(tenant, agent_id).active_config_snapshot_id or ""
    save(database, tenant, agent_id, "second")

    stale = run(runner, "restore", agent_id, first, "--tenant", tenant, "--if-active", first)
    restored = told(runner, "restore", agent_id, first, "--tenant", tenant, "--json")

    assert (stale.exit_code, stale.stdout) == (1, "")
    assert "If-Match" in stale.stderr
    assert restored["active_config_snapshot_id"] == first


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "x"),
        ("show", "01a1f94a-3a0e-7e3d-b37d-a61260b77010"),
        ("export", "x"),
        ("restore", "x", "y"),
        ("import", "-"),
        ("import", "-", "--name", " "),
        ("list", "--tenant", "no tenant"),
        ("export", "x", "--tag", "a", "--version-id", "b"),
    ],
)
def test_a_refused_command_says_why_in_one_line(runner: FlaskCliRunner, arguments: tuple[str, ...]) -> None:
    result = run(runner, *arguments, given="{}")

    assert result.exit_code in (1, 2)
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert result.stdout == ""
