"""Exports versions as documents, and imports them as untrusted input."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from models import Agent
from models.enums import AgentSource, RevisionOperation
from runtime.protocol.ids import new_id
from services.agents.checks import check_credentials
from services.agents.descriptions import AgentDescription
from services.agents.lookup import describe_agent, find_agent, find_version, lock_for_change
from services.agents.requests import CreateAgentRequest
from services.agents.roster import add_with_version
from services.agents.tags import find_tag
from services.agents.writer import write_version
from services.database import Database
from services.idempotency import claim_of, once
from services.souls import AgentSoulConfig, PortableAgent, PortableVersion, export_version, read_portable
from services.souls.node_job import contact_problems
from services.souls.problems import malformed, refuse_request


class TransferService:
    """Exports and imports versions of agents.

    Its methods raise DatabaseUnavailable and AgentNotFound besides the errors they name.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def export_agent(
        self, tenant_id: str, agent_id: str, *, version_id: str | None = None, tag: str | None = None
    ) -> dict[str, Any]:
        """Returns a version as a document: the active one, unless a version or a tag is named.

        Raises AgentVersionNotFound, AgentTagNotFound and AgentExportRefused.
        """
        with self._database.reading() as session:
            agent = find_agent(session, tenant_id, agent_id)
            version = find_version(session, agent, version_id_of(session, agent, version_id=version_id, tag=tag))
        portable = PortableAgent.model_construct(
            name=agent.name,
            description=agent.description,
            icon_type=agent.icon_type.value if agent.icon_type else None,
            icon=agent.icon,
            icon_background=agent.icon_background,
        )
        return export_version(
            portable, version=version.version, soul=version.config_snapshot, exported_at=datetime.now(UTC)
        )

    def import_agent(
        self,
        tenant_id: str,
        document: bytes,
        *,
        created_by: str | None,
        name: str | None = None,
        agent_id: str | None = None,
        if_match: Collection[str] | None = None,
        idempotency_key: str | None = None,
    ) -> AgentDescription:
        """Creates an agent from a document, or the next version of the agent ``agent_id``.

        ``name`` replaces the name in the document. The credentials it refers to must exist in this tenant. Raises
        AgentNameTaken, AgentArchived, PreconditionFailed, AgentCredentialNotFound, IdempotencyKeyReused, and what
        ``read_portable`` raises.
        """
        portable = read_portable(document)
        wanted = _wanted_of(portable, name)
        made, operation = new_id(), RevisionOperation.IMPORT_PACKAGE

        def make(session: Session) -> AgentDescription:
            _check_references(session, tenant_id, portable.soul)
            if agent_id is None:
                source = AgentSource.IMPORTED
                return add_with_version(
                    session, tenant_id, wanted, agent_id=made, source=source, actor=created_by, operation=operation
                )
            agent = lock_for_change(session, tenant_id, agent_id, if_match=if_match)
            write_version(session, agent, portable.soul.as_json(), operation=operation, actor=created_by)
            return describe_agent(session, agent)

        def again(session: Session, earlier: str) -> AgentDescription:
            return describe_agent(session, find_agent(session, tenant_id, agent_id or earlier))

        claim = claim_of(wanted, idempotency_key, scope=f"imports to {agent_id or 'the roster'}")
        return once(self._database, tenant_id, claim, made, make, again)


def version_id_of(session: Session, agent: Agent, *, version_id: str | None, tag: str | None) -> str | None:
    """Returns the id of the version that is named, or of the active one. Raises AgentTagNotFound."""
    if tag is not None:
        return find_tag(session, agent, tag).snapshot_id
    return agent.active_config_snapshot_id if version_id is None else version_id


def _wanted_of(portable: PortableVersion, name: str | None) -> CreateAgentRequest:
    """Returns the agent in a document, within the bounds of every agent. Raises MalformedRequest."""
    given = {**portable.agent.model_dump(), **({"name": name} if name is not None else {})}
    try:
        return CreateAgentRequest.model_validate({**given, "agent_soul": portable.soul})
    except ValidationError as error:
        raise malformed(error, *(("body", "agent") if name is None else ("query",))) from None


def _check_references(session: Session, tenant_id: str, soul: AgentSoulConfig) -> None:
    """Checks that what a document refers to exists in the tenant that imports it."""
    if problems := list(contact_problems(soul.human.contacts, "human", "contacts", tenant_id=tenant_id)):
        refuse_request(problems, "body", "soul")
    check_credentials(session, tenant_id, soul)
