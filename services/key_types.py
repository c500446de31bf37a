"""API keys as callers request them and as they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from models import ApiKey
from models.enums import KeyKind
from runtime.protocol.clock import wire_time

MAX_OVERLAP_SECONDS = 7 * 24 * 3600
DEFAULT_OVERLAP_SECONDS = 24 * 3600

# No control characters, which PostgreSQL refuses in part and a terminal would interpret; and not only spaces.
_PLAIN = r"[^\x00-\x1f\x7f]"
Name = Annotated[str, StringConstraints(max_length=255, pattern=rf"^{_PLAIN}*[^\x00-\x1f\x7f\s]{_PLAIN}*$")]


def _in_the_future(value: datetime) -> datetime:
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies beyond the end of time") from None
    if moment <= datetime.now(UTC):
        raise ValueError("must lie in the future")
    return moment


class CreateKeyRequest(BaseModel):
    """A key to create. A key of an app is for one agent, and a key of a workspace for none in particular."""

    model_config = ConfigDict(extra="forbid")

    kind: KeyKind
    agent_id: str | None = None
    name: Name | None = None
    expires_at: Annotated[AwareDatetime, AfterValidator(_in_the_future)] | None = None

    @model_validator(mode="after")
    def _names_an_agent_or_not(self) -> Self:
        if (self.kind is KeyKind.APP) != (self.agent_id is not None):
            raise ValueError("a key of kind app needs an agent_id, and a key of another kind takes none")
        return self


class RotateKeyRequest(BaseModel):
    """How long the key that is replaced stays valid."""

    model_config = ConfigDict(extra="forbid")

    overlap_seconds: int = Field(default=DEFAULT_OVERLAP_SECONDS, ge=0, le=MAX_OVERLAP_SECONDS, strict=True)


class KeyStatus(StrEnum):
    ACTIVE = "active"
    RETIRING = "retiring"
    """Replaced by another, and valid until it expires."""
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class KeyDescription:
    """A key's description, without the key itself."""

    id: str
    kind: KeyKind
    prefix: str
    tenant_id: str
    agent_id: str | None
    name: str | None
    created_at: datetime
    expires_at: datetime | None
    created_by: str | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    replaced_by: str | None

    @classmethod
    def of(cls, row: ApiKey) -> Self:
        return cls(**{name: getattr(row, name) for name in cls.__slots__})

    @property
    def status(self) -> KeyStatus:
        if self.revoked_at is not None:
            return KeyStatus.REVOKED
        if self.expires_at is not None and self.expires_at <= datetime.now(UTC):
            return KeyStatus.EXPIRED
        return KeyStatus.ACTIVE if self.replaced_by is None else KeyStatus.RETIRING

    def as_json(self) -> dict[str, Any]:
        return {**{name: _plain(getattr(self, name)) for name in self.__slots__}, "status": self.status}


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just created: the only time that it is shown."""

    key: str
    description: KeyDescription

    def as_json(self) -> dict[str, Any]:
        told = ("id", "kind", "key", "prefix", "tenant_id", "agent_id", "name", "created_at", "expires_at")
        values = {**self.description.as_json(), "key": self.key}
        return {name: values[name] for name in told}


def _plain(value: object) -> object:
    return wire_time(value) if isinstance(value, datetime) else value
