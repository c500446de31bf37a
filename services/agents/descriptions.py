"""Describes agents and versions for callers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Select, select

from models import Agent, AgentConfigRevision, AgentConfigSnapshot
from models.enums import (
    AgentKind,
    AgentScope,
    AgentSource,
    AgentStatus,
    IconType,
    RevisionOperation,
)
from runtime.protocol.clock import wire_time
from services.souls.digest import DIGEST_PREFIX


class _Told:
    """A dataclass whose JSON is an object of its fields."""

    __slots__ = ()

    def as_json(self) -> dict[str, Any]:
        return {name: _plain(getattr(self, name)) for name in self.__match_args__}  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class VersionDescription(_Told):
    """A version without its Soul."""

    id: str
    agent_id: str
    version: int
    digest: str
    summary: str | None
    version_note: str | None
    created_by: str | None
    created_at: datetime

    @classmethod
    def select(cls) -> Select[tuple[Any, ...]]:
        """Returns a query for the columns of a description, without the Soul, which may be large."""
        return select(*(getattr(AgentConfigSnapshot, name) for name in cls.__match_args__))

    @classmethod
    def of(cls, row: Any) -> Self:
        values = {name: getattr(row, name) for name in cls.__match_args__}
        return cls(**{**values, "digest": DIGEST_PREFIX + values["digest"]})


@dataclass(frozen=True, slots=True)
class RevisionDescription(_Told):
    """One step of an agent's history."""

    id: str
    previous_snapshot_id: str | None
    current_snapshot_id: str
    revision: int
    operation: RevisionOperation
    summary: str | None
    version_note: str | None
    created_by: str | None
    created_at: datetime

    @classmethod
    def of(cls, row: AgentConfigRevision) -> Self:
        return cls(**{name: getattr(row, name) for name in cls.__match_args__})


@dataclass(frozen=True, slots=True)
class VersionDetail:
    """A version with its Soul and the revisions that made it the active one, the latest first."""

    version: VersionDescription
    soul: dict[str, Any]
    revisions: list[RevisionDescription]

    def as_json(self) -> dict[str, Any]:
        revisions = [revision.as_json() for revision in self.revisions]
        return {**self.version.as_json(), "config_snapshot": self.soul, "revisions": revisions}


@dataclass(frozen=True, slots=True)
class AgentDescription(_Told):
    """An agent, with its active version but without that version's Soul."""

    id: str
    name: str
    description: str
    icon_type: IconType | None
    icon: str | None
    icon_background: str | None
    agent_kind: AgentKind
    scope: AgentScope
    source: AgentSource
    app_id: str | None
    workflow_id: str | None
    workflow_node_id: str | None
    active_config_snapshot_id: str | None
    active_config_snapshot: VersionDescription | None
    status: AgentStatus
    created_by: str | None
    updated_by: str | None
    archived_by: str | None
    archived_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Agent, active: VersionDescription | None) -> Self:
        names = [name for name in cls.__match_args__ if name != "active_config_snapshot"]
        return cls(active_config_snapshot=active, **{name: getattr(row, name) for name in names})


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return wire_time(value)
    return value.as_json() if isinstance(value, _Told) else value
