"""The database of dev/start: it is migrated automatically, and has one key and one agent to try things with."""

from app_config import database_config
from dev.errors import LaunchError
from dev.state import StateFolder
from dev.terminal import say
from errors import GreenrunError
from services import migrations
from services.agents.requests import CreateAgentRequest
from services.agents.roster import AgentService
from services.api_keys import ApiKeyService
from services.database import Database
from services.key_types import CreateKeyRequest
from services.tenants import DEFAULT_TENANT
from settings import Settings

KEY_NAME = "dev/start"

DEMO_AGENT = {
    "name": "Demo agent",
    "description": "Answers offline, so that you can try what agents do.",
    "icon_type": "emoji",
    "icon": "🧭",
    "agent_soul": {
        "prompt": {"system_prompt": "You are concise."},
        "model": {
            "plugin_id": "greenrun/demo",
            "model_provider": "greenrun",
            "model": "demo",
            "model_settings": {"delay_ms": 20},
        },
    },
}


def migrate(url: str) -> None:
    """Migrates a database to the present schema. Raises LaunchError when it cannot be reached or migrated."""
    database = _database(url)
    try:
        with database.migrating() as connection:
            migrations.upgrade(connection, told=lambda step: say(f"Database: {step}"))
    except (GreenrunError, migrations.MigrationRefused) as error:
        raise LaunchError(f"the database cannot be migrated: {error}") from error
    finally:
        database.close()


def workspace_key(state: StateFolder) -> str:
    """Returns the key of the private database, which is created on first use. The database must be migrated."""

    def make() -> str:
        database = _database(state.database_url)
        try:
            wanted = CreateKeyRequest.model_validate({"kind": "workspace", "name": KEY_NAME})
            return ApiKeyService(database).create_key(DEFAULT_TENANT, wanted, created_by=None).key
        finally:
            database.close()

    return state.workspace_key(make)


def demo_agent(state: StateFolder) -> str | None:
    """Returns the id of the private database's demo agent, which is created if it never had any agent.

    Returns None when the agent was renamed or archived. The database must be migrated.
    """
    database = _database(state.database_url)
    try:
        agents, wanted = AgentService(database), CreateAgentRequest.model_validate(DEMO_AGENT)
        if not agents.has_agents(DEFAULT_TENANT):
            return agents.create_agent(DEFAULT_TENANT, wanted, created_by=None).id
        found = agents.list_agents(DEFAULT_TENANT, page=1, limit=100, keyword=wanted.name).data
        return next((agent.id for agent in found if agent.name == wanted.name), None)
    finally:
        database.close()


def _database(url: str) -> Database:
    return Database(database_config(Settings(database_url=url)))
