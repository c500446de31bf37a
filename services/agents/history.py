"""Versions of agents: listing, reading, saving, restoring and comparing them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import AgentConfigRevision, AgentConfigSnapshot
from models.enums import RevisionOperation
from runtime.protocol.ids import new_id
from services.agents.checks import check_restorable
from services.agents.descriptions import RevisionDescription, VersionDescription, VersionDetail
from services.agents.lookup import find_agent, find_version, lock_for_change
from services.agents.requests import CreateVersionRequest
from services.agents.writer import restore_version, write_version
from services.database import Database
from services.idempotency import claim_of, once
from services.pages import NumberedPage, counted, window
from services.souls import AgentSoulConfig, soul_diff

MAX_VERSIONS_LISTED = 1000
MAX_REVISIONS_TOLD = 1000
"""The most revisions shown of one version: the latest ones."""

OPERATIONS = {
    "save_as_new_version": RevisionOperation.SAVE_NEW_VERSION,
    "save_to_current_version": RevisionOperation.SAVE_CURRENT_VERSION,
}


class VersionService:
    """Lists, saves, restores and compares versions, which are never changed or deleted.

    Its methods raise DatabaseUnavailable and AgentNotFound besides the errors they name.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_versions(
        self, tenant_id: str, agent_id: str, *, page: int = 1, limit: int = MAX_VERSIONS_LISTED
    ) -> NumberedPage[VersionDescription]:
        """Returns a page of an agent's versions, the latest first."""
        with self._database.reading() as session:
            agent = find_agent(session, tenant_id, agent_id)
            mine = (AgentConfigSnapshot.tenant_id == tenant_id, AgentConfigSnapshot.agent_id == agent.id)
            wanted = VersionDescription.select().where(*mine).order_by(AgentConfigSnapshot.version.desc())
            found = [VersionDescription.of(row) for row in session.execute(window(wanted, page=page, limit=limit))]
            total = counted(session, AgentConfigSnapshot, *mine)
            return NumberedPage.of(found, page=page, limit=limit, total=total)

    def get_version(self, tenant_id: str, agent_id: str, version_id: str) -> VersionDetail:
        """Returns a version with its Soul and history. Raises AgentVersionNotFound."""
        with self._database.reading() as session:
            version = find_version(session, find_agent(session, tenant_id, agent_id), version_id)
            wanted = (
                select(AgentConfigRevision)
                .where(
                    AgentConfigRevision.tenant_id == tenant_id, AgentConfigRevision.current_snapshot_id == version.id
                )
                .order_by(AgentConfigRevision.revision.desc())
                .limit(MAX_REVISIONS_TOLD)
            )
            revisions = [RevisionDescription.of(row) for row in session.scalars(wanted)]
            return VersionDetail(VersionDescription.of(version), version.config_snapshot, revisions)

    def create_version(
        self,
        tenant_id: str,
        agent_id: str,
        wanted: CreateVersionRequest,
        *,
        created_by: str | None,
        if_match: Collection[str] | None = None,
        idempotency_key: str | None = None,
    ) -> VersionDescription:
        """Stores a version and makes it the active one, or returns the one that the idempotency key has created.

        Raises AgentArchived, PreconditionFailed and IdempotencyKeyReused.
        """
        made = new_id()

        def make(session: Session) -> VersionDescription:
            agent = lock_for_change(session, tenant_id, agent_id, if_match=if_match)
            version = write_version(
                session,
                agent,
                wanted.agent_soul.as_json(),
                operation=OPERATIONS[wanted.save_strategy],
                actor=created_by,
                summary=wanted.summary,
                version_note=wanted.version_note,
                version_id=made,
            )
            return VersionDescription.of(version)

        def again(session: Session, earlier: str) -> VersionDescription:
            return VersionDescription.of(find_version(session, find_agent(session, tenant_id, agent_id), earlier))

        claim = claim_of(wanted, idempotency_key, scope=f"versions of {agent_id}")
        return once(self._database, tenant_id, claim, made, make, again)

    def restore_version(
        self,
        tenant_id: str,
        agent_id: str,
        version_id: str,
        *,
        restored_by: str | None,
        if_match: Collection[str] | None = None,
        only_checks: bool = False,
    ) -> str:
        """Makes a version the active one again, and returns its id.

        No new version is created. If it is active already, nothing happens. Raises AgentVersionNotFound, AgentArchived,
        PreconditionFailed, and what ``check_restorable`` raises.
        """
        with self._database.transaction() as session:
            agent = lock_for_change(session, tenant_id, agent_id, if_match=if_match)
            version = find_version(session, agent, version_id)
            if version.id != agent.active_config_snapshot_id:
                check_restorable(session, agent, version)
                if not only_checks:
                    restore_version(session, agent, version, actor=restored_by)
            return version.id

    def diff_versions(self, tenant_id: str, agent_id: str, old_id: str, new_id: str) -> dict[str, Any]:
        """Returns what changed from one version to another. Raises AgentVersionNotFound."""
        with self._database.reading() as session:
            agent = find_agent(session, tenant_id, agent_id)
            old, new = find_version(session, agent, old_id), find_version(session, agent, new_id)
        souls = [AgentSoulConfig.from_stored(version.config_snapshot) for version in (old, new)]
        return {
            "from": VersionDescription.of(old).as_json(),
            "to": VersionDescription.of(new).as_json(),
            "changes": soul_diff(*souls),
        }
