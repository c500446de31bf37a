"""What the tables hold and refuse, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from models import Agent, AgentConfigSnapshot, AgentRuntimeSession, AgentTag, ApiKey
from models.enums import AgentScope, AgentSource, AgentStatus, KeyKind, SessionOwner
from runtime.protocol.ids import is_id, new_id
from services.database import Database

NAMED_BY_DIFY = {
    "agents": {
        "agent_tenant_updated_at_idx": ["tenant_id", "updated_at"],
        "agent_tenant_scope_idx": ["tenant_id", "scope"],
        "agent_tenant_workflow_id_idx": ["tenant_id", "workflow_id"],
        "agent_tenant_app_id_idx": ["tenant_id", "app_id"],
        "agent_active_config_snapshot_id_idx": ["active_config_snapshot_id"],
    },
    "agent_config_snapshots": {
        "agent_config_snapshot_tenant_agent_created_at_idx": ["tenant_id", "agent_id", "created_at"],
        "agent_config_snapshot_tenant_created_at_idx": ["tenant_id", "created_at"],
    },
    "agent_config_revisions": {
        "agent_config_revision_tenant_agent_created_at_idx": ["tenant_id", "agent_id", "created_at"],
        "agent_config_revision_tenant_current_snapshot_created_at_idx": [
            "tenant_id",
            "current_snapshot_id",
            "created_at",
        ],
    },
    "workflow_agent_node_bindings": {
        "workflow_agent_node_binding_agent_idx": ["tenant_id", "agent_id"],
        "workflow_agent_node_binding_current_snapshot_idx": ["tenant_id", "current_snapshot_id"],
        "workflow_agent_node_binding_app_idx": ["tenant_id", "app_id"],
        "workflow_agent_node_binding_workflow_version_idx": ["tenant_id", "workflow_id", "workflow_version"],
    },
    "agent_runtime_sessions": {
        "workflow_agent_runtime_session_scope_unique": [
            "tenant_id",
            "workflow_run_id",
            "node_id",
            "binding_id",
            "agent_id",
        ],
        "workflow_agent_runtime_session_lookup_idx": ["tenant_id", "workflow_run_id", "node_id", "status"],
        "workflow_agent_runtime_session_backend_run_idx": ["backend_run_id"],
    },
}
UNIQUE_BY_DIFY = {
    "agent_config_snapshots": {"agent_config_snapshot_agent_version_unique": ["agent_id", "version"]},
    "agent_config_revisions": {"agent_config_revision_agent_revision_unique": ["agent_id", "revision"]},
    "workflow_agent_node_bindings": {
        "workflow_agent_node_binding_node_version_unique": ["tenant_id", "workflow_id", "workflow_version", "node_id"]
    },
}


@pytest.fixture
def tenant() -> str:
    return new_id()


def agent(tenant: str, **values: Any) -> Agent:
    given = {"name": "Ada", "scope": AgentScope.ROSTER, "source": AgentSource.ROSTER, **values}
    return Agent(tenant_id=tenant, **given)


def session_of(tenant: str, **values: Any) -> AgentRuntimeSession:
    given = {"agent_id": "a", "agent_config_snapshot_id": "s", "session_snapshot": {}, **values}
    return AgentRuntimeSession(tenant_id=tenant, **given)


def refuses(database: Database, *rows: object) -> bool:
    try:
        with database.transaction() as session:
            session.add_all(rows)
    except IntegrityError:
        return True
    return False


def stored_agent(database: Database, tenant: str, **values: Any) -> Agent:
    row = agent(tenant, **values)
    with database.transaction() as session:
        session.add(row)
    return row


@pytest.mark.parametrize("table", NAMED_BY_DIFY)
def test_indexes_have_the_names_and_columns_that_dify_uses(database: Database, table: str) -> None:
    with database.reading() as session:
        found = {
            str(index["name"]): index["column_names"] for index in inspect(session.connection()).get_indexes(table)
        }

    assert {name: found.get(name) for name in NAMED_BY_DIFY[table]} == NAMED_BY_DIFY[table]


@pytest.mark.parametrize("table", UNIQUE_BY_DIFY)
def test_unique_constraints_have_the_names_and_columns_that_dify_uses(database: Database, table: str) -> None:
    with database.reading() as session:
        constraints = inspect(session.connection()).get_unique_constraints(table)
    found = {str(constraint["name"]): constraint["column_names"] for constraint in constraints}

    assert {name: found.get(name) for name in UNIQUE_BY_DIFY[table]} == UNIQUE_BY_DIFY[table]


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [
        ({}, {}, True),
        ({}, {"name": "ada"}, False),
        ({}, {"name": "Ada "}, False),
        ({"status": AgentStatus.ARCHIVED}, {}, False),
        ({"scope": AgentScope.WORKFLOW_ONLY}, {}, False),
        ({"scope": AgentScope.WORKFLOW_ONLY}, {"scope": AgentScope.WORKFLOW_ONLY}, False),
    ],
)
def test_a_name_is_unique_among_the_active_agents_of_a_roster(
    database: Database, tenant: str, first: dict[str, Any], second: dict[str, Any], is_refused: bool
) -> None:
    stored_agent(database, tenant, **first)

    assert refuses(database, agent(tenant, **second)) is is_refused
    assert not refuses(database, agent(new_id())), "another tenant's names are no matter"


def test_an_archived_agent_frees_its_name(database: Database, tenant: str) -> None:
    row = stored_agent(database, tenant)

    with database.transaction() as session:
        session.merge(row).status = AgentStatus.ARCHIVED

    assert not refuses(database, agent(tenant))


@pytest.mark.parametrize(
    ("column", "table"), [("scope", "agents"), ("status", "agents"), ("icon_type", "agents"), ("source", "agents")]
)
def test_the_database_itself_refuses_a_value_outside_an_enum(
    database: Database, tenant: str, column: str, table: str
) -> None:
    row = stored_agent(database, tenant)

    with pytest.raises(IntegrityError), database.transaction() as session:
        session.execute(text(f"UPDATE {table} SET {column} = 'nonsense' WHERE id = :id"), {"id": row.id})


def test_rows_get_an_id_and_times_with_a_zone(database: Database, tenant: str) -> None:
    begun = datetime.now(UTC)

    made = stored_agent(database, tenant)

    with database.reading() as session:
        found = session.get_one(Agent, made.id)
    assert is_id(found.id)
    assert found.created_at.tzinfo is UTC
    assert begun <= found.created_at <= datetime.now(UTC)
    assert found.updated_at >= found.created_at


def test_a_time_of_another_zone_is_stored_in_utc(database: Database, tenant: str) -> None:
    noon = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))

    row = stored_agent(database, tenant, archived_at=noon)

    with database.reading() as session:
        stored = session.execute(text("SELECT archived_at FROM agents WHERE id = :id"), {"id": row.id}).scalar_one()
        assert str(stored) == "2026-01-01 06:30:00.123456"
        assert session.get_one(Agent, row.id).archived_at == noon


def test_a_time_without_a_zone_is_refused(database: Database, tenant: str) -> None:
    with pytest.raises(StatementError, match="may mean anything"):
        stored_agent(database, tenant, archived_at=datetime(2026, 1, 1))


def test_a_version_needs_its_agent_and_is_unique(database: Database, tenant: str) -> None:
    owner = stored_agent(database, tenant)

    def version(agent_id: str) -> AgentConfigSnapshot:
        return AgentConfigSnapshot(tenant_id=tenant, agent_id=agent_id, version=1, config_snapshot={}, digest="0" * 64)

    assert refuses(database, version(new_id()))
    assert not refuses(database, version(owner.id))
    assert refuses(database, version(owner.id))


def test_json_comes_back_as_it_was(database: Database, tenant: str) -> None:
    owner = stored_agent(database, tenant)
    soul = {"b": 1, "a": [1.5, True, None, "\u0000 \U0001f9d1\u200d\U0001f680"], "": {"10": 10**30}}
    row = AgentConfigSnapshot(tenant_id=tenant, agent_id=owner.id, version=1, config_snapshot=soul, digest="0" * 64)

    assert not refuses(database, row)

    with database.reading() as session:
        found = session.get_one(AgentConfigSnapshot, row.id).config_snapshot
    assert found == soul
    assert list(found) == ["b", "a", ""]


def test_a_tag_points_to_one_version(database: Database, tenant: str) -> None:
    owner = stored_agent(database, tenant)
    version = AgentConfigSnapshot(tenant_id=tenant, agent_id=owner.id, version=1, config_snapshot={}, digest="0" * 64)
    assert not refuses(database, version)

    def tag() -> AgentTag:
        return AgentTag(tenant_id=tenant, agent_id=owner.id, tag="stable", snapshot_id=version.id)

    assert not refuses(database, tag())
    assert refuses(database, tag())


def test_a_session_is_unique_for_a_node_and_for_a_conversation(database: Database, tenant: str) -> None:
    node = {"owner_type": SessionOwner.WORKFLOW_RUN, "workflow_run_id": "r", "node_id": "n", "binding_id": "b"}
    talk = {"owner_type": SessionOwner.CONVERSATION, "conversation_id": "c"}

    assert not refuses(database, session_of(tenant, **node), session_of(tenant, **talk))

    assert refuses(database, session_of(tenant, **node))
    assert refuses(database, session_of(tenant, **talk))
    assert not refuses(database, session_of(tenant, **{**node, "node_id": "m"}))
    assert not refuses(database, session_of(tenant, **talk, agent_config_snapshot_id="t"))


@pytest.mark.parametrize("owner", list(SessionOwner))
def test_a_session_without_its_owner_is_refused(database: Database, tenant: str, owner: SessionOwner) -> None:
    assert refuses(database, session_of(tenant, owner_type=owner))


def test_only_the_key_of_an_app_has_an_agent(database: Database, tenant: str) -> None:
    owner = stored_agent(database, tenant)

    def key(kind: KeyKind, agent_id: str | None) -> ApiKey:
        return ApiKey(tenant_id=tenant, kind=kind, agent_id=agent_id, digest=new_id(), prefix="x")

    assert not refuses(database, key(KeyKind.APP, owner.id))
    assert not refuses(database, key(KeyKind.WORKSPACE, None))
    assert refuses(database, key(KeyKind.APP, None))
    assert refuses(database, key(KeyKind.WORKSPACE, owner.id))


def test_every_table_with_rows_of_tenants_has_a_tenant_id(database: Database) -> None:
    with database.reading() as session:
        found = inspect(session.connection())
        tables = [table for table in found.get_table_names() if table != "alembic_version"]
        without = [t for t in tables if "tenant_id" not in {str(column["name"]) for column in found.get_columns(t)}]

    assert len(tables) == 14
    assert without == []
    assert isinstance(session, Session)
