"""``/agents``: the agents of a tenant's roster, and runs of them."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, Field

from blueprints.callers import current_caller
from blueprints.idempotency import parse_idempotency_key
from blueprints.paging import PageQuery, parse_query
from blueprints.parsing import parse_body, read_body
from blueprints.preconditions import parse_if_match, tagged
from services.agents.requests import ChangeAgentRequest, CreateAgentRequest, RunAgentRequest
from services.agents.roster import AgentService
from services.agents.runs import AgentRunService
from services.agents.texts import AgentName, ShortLine
from services.agents.transfer import TransferService


class AgentQuery(PageQuery):
    """A page of agents, or of those whose names contain the keyword."""

    keyword: ShortLine | None = None


class InviteQuery(AgentQuery):
    """As ``AgentQuery``, and the app whose use of each agent is looked up."""

    app_id: ShortLine | None = None


class ImportQuery(BaseModel):
    """What an imported document becomes: a new agent with this name, or a version of this agent."""

    name: AgentName | None = None
    agent_id: str | None = Field(default=None, max_length=36)


def agents_blueprint(agents: AgentService, transfer: TransferService, agent_runs: AgentRunService) -> Blueprint:
    """Returns the routes of agents, for the operator and for keys of a workspace."""
    blueprint = Blueprint("agents", __name__, url_prefix="/agents")

    @blueprint.post("")
    def create_agent() -> tuple[Response, int]:
        """Creates an agent with its first version."""
        caller, wanted = current_caller(), parse_body(request, CreateAgentRequest)
        key = parse_idempotency_key(request)
        made = agents.create_agent(caller.tenant_id, wanted, created_by=caller.actor, idempotency_key=key)
        return tagged(made.as_json(), made.active_config_snapshot_id), 201

    @blueprint.get("")
    def list_agents() -> Response:
        """Lists active agents, the most recently changed first."""
        query = parse_query(request, AgentQuery)
        found = agents.list_agents(
            current_caller().tenant_id, page=query.page, limit=query.limit, keyword=query.keyword
        )
        return jsonify(found.as_json())

    @blueprint.get("/invite-options")
    def list_invite_options() -> Response:
        """Lists active agents, and where an app uses them."""
        query = parse_query(request, InviteQuery)
        found = agents.list_invitable(
            current_caller().tenant_id, page=query.page, limit=query.limit, keyword=query.keyword, app_id=query.app_id
        )
        return jsonify(found.as_json())

    @blueprint.get("/<agent_id>")
    def get_agent(agent_id: str) -> Response:
        """Returns an agent, archived or not."""
        found = agents.get_agent(current_caller().tenant_id, agent_id)
        return tagged(found.as_json(), found.active_config_snapshot_id)

    @blueprint.patch("/<agent_id>")
    def change_agent(agent_id: str) -> Response:
        """Changes the name, description or looks of an agent."""
        caller, wanted = current_caller(), parse_body(request, ChangeAgentRequest)
        changed = agents.change_agent(
            caller.tenant_id, agent_id, wanted, changed_by=caller.actor, if_match=parse_if_match(request)
        )
        return tagged(changed.as_json(), changed.active_config_snapshot_id)

    @blueprint.delete("/<agent_id>")
    def archive_agent(agent_id: str) -> tuple[str, int]:
        """Archives an agent, which removes it from the roster."""
        caller = current_caller()
        agents.archive_agent(caller.tenant_id, agent_id, archived_by=caller.actor, if_match=parse_if_match(request))
        return "", 204

    @blueprint.post("/import")
    def import_agent() -> tuple[Response, int]:
        """Creates an agent, or a version of one, from an exported document."""
        caller, query = current_caller(), parse_query(request, ImportQuery)
        made = transfer.import_agent(
            caller.tenant_id,
            read_body(request),
            created_by=caller.actor,
            name=query.name,
            agent_id=query.agent_id,
            if_match=parse_if_match(request),
            idempotency_key=parse_idempotency_key(request),
        )
        return tagged(made.as_json(), made.active_config_snapshot_id), 201

    @blueprint.post("/<agent_id>/runs")
    def run_agent(agent_id: str) -> tuple[Response, int]:
        """Starts a run of a version of an agent."""
        caller, wanted = current_caller(), parse_body(request, RunAgentRequest)
        key = parse_idempotency_key(request)
        record = agent_runs.run_agent(caller.tenant_id, agent_id, wanted, user_id=caller.actor, idempotency_key=key)
        return jsonify(run_id=record.run_id, status=record.status), 202

    return blueprint
