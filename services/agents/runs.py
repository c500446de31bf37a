"""Runs of agents: a version is turned into a composition, and this into a run."""

from __future__ import annotations

from runtime.layers.dify_identity import ExecutionContextConfig
from runtime.protocol.records import RunRecord
from runtime.protocol.requests import CreateRunRequest
from services.agents.lookup import find_agent, find_version, require_active
from services.agents.requests import RunAgentRequest
from services.agents.transfer import version_id_of
from services.credentials import CredentialService
from services.database import Database
from services.idempotency import claim_of, scope_of
from services.runs import RunService
from services.souls import AgentSoulConfig, composition_of, credential_names


class AgentRunService:
    """Starts runs of agents."""

    def __init__(self, database: Database, credentials: CredentialService, runs: RunService) -> None:
        self._database = database
        self._credentials = credentials
        self._runs = runs

    def run_agent(
        self,
        tenant_id: str,
        agent_id: str,
        wanted: RunAgentRequest,
        *,
        user_id: str | None,
        idempotency_key: str | None = None,
    ) -> RunRecord:
        """Starts a run of a version of an agent. It keeps that version, whatever happens to the agent.

        Raises AgentNotFound, AgentArchived, AgentVersionNotFound, AgentTagNotFound, DatabaseUnavailable, and what
        ``CredentialService.resolve``, ``composition_of`` and ``RunService.create_run`` raise.
        """
        claim = claim_of(wanted, idempotency_key, scope=scope_of("agent run", tenant_id, agent_id))
        with self._database.reading() as session:
            agent = find_agent(session, tenant_id, agent_id)
            require_active(agent)
            version_id = version_id_of(session, agent, version_id=wanted.version_id, tag=wanted.tag)
            version = find_version(session, agent, version_id)
            soul = AgentSoulConfig.from_stored(version.config_snapshot)
            values = self._credentials.resolve(session, tenant_id, credential_names(soul))
        context = ExecutionContextConfig(
            tenant_id=tenant_id,
            invoke_from="service-api",
            user_id=user_id,
            app_id=agent.app_id,
            agent_id=agent.id,
            agent_config_version_id=version.id,
            agent_config_version_kind="snapshot",
        )
        composition = composition_of(
            soul, query=wanted.query, inputs=wanted.inputs, context=context, credentials=values
        )
        return self._runs.create_run(CreateRunRequest(composition=composition), tenant_id=tenant_id, claim=claim)
