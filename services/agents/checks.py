"""Checks whether a version can be run in its tenant."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from errors import AgentCredentialNotFound, GreenrunError, InvalidComposition
from models import Agent, AgentConfigSnapshot, Credential
from services.agents.lookup import find_version
from services.credential_types import is_credential_name
from services.souls import AgentSoulConfig, credential_names
from services.souls.publishing import check_tool_names, require_model
from services.souls.secret_scan import secret_problems


def check_restorable(session: Session, agent: Agent, version: AgentConfigSnapshot) -> None:
    """Raises what keeps the version from being run, unless the active one cannot run either.

    So nobody turns a working agent into one that does not work. Raises AgentModelNotConfigured,
    AgentToolNameDuplicated, AgentCredentialNotFound, and InvalidComposition for what has since become known as a
    secret.
    """
    problem = _problem(session, version)
    if problem is None:
        return
    active = agent.active_config_snapshot_id
    if active is not None and _problem(session, find_version(session, agent, active)) is None:
        raise problem


def check_credentials(session: Session, tenant_id: str, soul: AgentSoulConfig) -> None:
    """Raises AgentCredentialNotFound when the Soul names a credential that the tenant does not have."""
    names = credential_names(soul)
    possible = [name for name in names if is_credential_name(name)]
    wanted = select(Credential.name).where(Credential.tenant_id == tenant_id, Credential.name.in_(possible))
    there = set(session.scalars(wanted)) if possible else set()
    if missing := [name for name in names if name not in there]:
        raise AgentCredentialNotFound(f"the agent names the credential '{missing[0]}', which is not there")


def _problem(session: Session, version: AgentConfigSnapshot) -> GreenrunError | None:
    soul = AgentSoulConfig.from_stored(version.config_snapshot)
    try:
        require_model(soul)
        check_tool_names(soul)
        check_credentials(session, version.tenant_id, soul)
    except GreenrunError as error:
        return error
    problems = secret_problems(version.config_snapshot, name=AgentSoulConfig.document_name)
    return InvalidComposition(problems[0].message) if problems else None
