"""The commands ``flask --app app keys`` and ``flask --app app audit``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import Result
from flask.testing import FlaskCliRunner

from app import create_app
from models import Agent
from models.enums import AgentScope, AgentSource, KeyKind
from runtime.protocol.ids import new_id
from services.api_keys import ApiKeyService
from services.database import Database
from services.key_types import CreateKeyRequest
from settings import Settings


@pytest.fixture
def runner(database_url: str) -> FlaskCliRunner:
    return create_app(Settings(database_url=database_url)).test_cli_runner()


@pytest.fixture
def tenant() -> str:
    return new_id()


def run(runner: FlaskCliRunner, *arguments: str) -> Result:
    return runner.invoke(args=["keys", *arguments])


def told(runner: FlaskCliRunner, *arguments: str) -> Any:
    result = run(runner, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_key_is_made_listed_rotated_and_revoked(runner: FlaskCliRunner, tenant: str, database: Database) -> None:
    made = told(runner, "create", "--kind", "workspace", "--tenant", tenant, "--name", "Reporting")
    keys = ApiKeyService(database)

    holder = keys.find_holder(made["key"])
    assert holder is not None
    assert (holder.key_id, holder.tenant_id) == (made["id"], tenant)

    new = told(runner, "rotate", made["id"], "--tenant", tenant, "--overlap-seconds", "60")
    listed = told(runner, "list", "--tenant", tenant)["data"]
    assert [(row["id"], row["status"]) for row in listed] == [(new["id"], "active"), (made["id"], "retiring")]
    assert new["key"] not in json.dumps(listed)

    revoked = run(runner, "revoke", new["id"], "--tenant", tenant)
    assert (revoked.exit_code, revoked.stdout) == (0, f"Revoked {new['id']}.\n")
    assert ApiKeyService(database).find_holder(new["key"]) is None


def test_revoking_a_key_says_how_many_keys_it_has_made(runner: FlaskCliRunner, tenant: str, database: Database) -> None:
    first = told(runner, "create", "--kind", "workspace", "--tenant", tenant)
    made = ApiKeyService(database).create_key(tenant, CreateKeyRequest(kind=KeyKind.WORKSPACE), created_by=first["id"])

    alone = run(runner, "revoke", first["id"], "--tenant", tenant)
    both = run(runner, "revoke", first["id"], "--tenant", tenant, "--with-made")

    assert "made with it and stay valid: 1." in alone.stdout
    assert both.stdout == f"Revoked {first['id']}.\n"
    listed = told(runner, "list", "--tenant", tenant)["data"]
    assert {row["id"]: row["status"] for row in listed} == {first["id"]: "revoked", made.description.id: "revoked"}


def test_the_audit_trail_is_printed_for_programs_and_for_people(runner: FlaskCliRunner, tenant: str) -> None:
    key = told(runner, "create", "--kind", "workspace", "--tenant", tenant)
    run(runner, "revoke", key["id"], "--tenant", tenant)

    for_programs = runner.invoke(args=["audit", "list", "--tenant", tenant, "--json"])
    for_people = runner.invoke(args=["audit", "list", "--tenant", tenant, "--limit", "1"])

    entries = json.loads(for_programs.stdout)["data"]
    assert [entry["action"] for entry in entries] == ["key_revoked", "key_created"]
    assert for_people.stdout.splitlines()[1].split()[1:] == ["key_revoked", "operator", f"id={key['id']}"]


def test_create_prints_what_the_route_answers(runner: FlaskCliRunner, tenant: str) -> None:
    made = told(runner, "create", "--kind", "workspace", "--tenant", tenant, "--expires-at", "2099-01-31T00:00:00Z")

    assert set(made) == {
        "id", "kind", "key", "prefix", "tenant_id", "agent_id", "name", "created_at", "expires_at",
    }  # fmt: skip
    assert made["tenant_id"] == tenant
    assert made["expires_at"] == "2099-01-31T00:00:00.000000Z"


def test_the_key_of_an_app_is_for_its_agent(runner: FlaskCliRunner, tenant: str, database: Database) -> None:
    agent = Agent(tenant_id=tenant, name="Ada", scope=AgentScope.ROSTER, source=AgentSource.ROSTER)
    with database.transaction() as session:
        session.add(agent)

    made = told(runner, "create", "--kind", "app", "--tenant", tenant, "--agent", agent.id)

    assert (made["agent_id"], made["key"][:4]) == (agent.id, "app-")


def test_people_get_the_key_and_a_table(runner: FlaskCliRunner, tenant: str) -> None:
    made = run(runner, "create", "--kind", "workspace", "--tenant", tenant, "--name", "Reporting")
    listed = run(runner, "list", "--tenant", tenant)

    assert made.stdout.startswith("ws-")
    lines = listed.stdout.splitlines()
    assert lines[0].split()[:4] == ["ID", "KIND", "PREFIX", "NAME"]
    assert "Reporting" in lines[1]
    assert made.stdout.splitlines()[0] not in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["create", "--kind", "app"], 1, "needs an agent_id"),
        (["create", "--kind", "app", "--agent", "01a1f94a-3a0e-7e3d-b37d-a61260b77010"], 1, "agent not found"),
        (["create", "--kind", "nonsense"], 2, "nonsense"),
        (["create", "--kind", "workspace", "--expires-at", "2020-01-01T00:00:00Z"], 1, "must lie in the future"),
        (["create", "--kind", "workspace", "--tenant", "../x"], 2, "takes 1 to 64 of"),
        (["rotate", "x"], 1, "key not found"),
        (["rotate", "x", "--overlap-seconds", "604801"], 2, "604800"),
        (["revoke", "01a1f94a-3a0e-7e3d-b37d-a61260b77010"], 1, "key not found"),
    ],
)
def test_an_error_is_printed_in_one_line(
    runner: FlaskCliRunner, arguments: list[str], exit_code: int, says: str
) -> None:
    result = run(runner, *arguments)

    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert says in result.stderr


def test_without_migrations_the_command_says_what_to_do(empty_database_url: str) -> None:
    runner = create_app(Settings(database_url=empty_database_url)).test_cli_runner()

    result = run(runner, "list")

    assert result.exit_code == 1
    assert "flask --app app db upgrade" in result.stderr
