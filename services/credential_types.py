"""Credentials as callers send them and as they are shown."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, Secret, StringConstraints

from models import Credential
from runtime.protocol.clock import wire_time
from services.key_types import Name
from services.souls.bounds import MAX_KEY_CHARS, bound_problem
from services.souls.secret_shapes import shows_secret

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,254}")
NAME_RULE = "takes 1 to 255 of A-Z a-z 0-9 . _ : @ -, begins with a letter or a digit, and is no secret itself"

MAX_VALUES = 100
MAX_VALUES_BYTES = 65_536


def is_credential_name(text: str) -> bool:
    """Whether a credential can have this name."""
    return NAME_PATTERN.fullmatch(text) is not None


def is_new_credential_name(text: str) -> bool:
    """Whether a new credential may have this name.

    Names are shown, and so must not contain what belongs into the values.
    """
    return is_credential_name(text) and not shows_secret(text)


def _shows_no_secret(text: str) -> str:
    if shows_secret(text):
        raise ValueError("looks like a secret, which belongs into values")
    return text


def _fits(values: dict[str, JsonValue]) -> dict[str, JsonValue]:
    problem = bound_problem(values)
    if problem is not None:
        raise ValueError(problem.message)
    if len(json.dumps(values).encode()) > MAX_VALUES_BYTES:
        raise ValueError(f"is larger than {MAX_VALUES_BYTES:,} bytes")
    if all(value in (None, "") for value in values.values()):
        raise ValueError("holds no value")
    return values


ValueName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_KEY_CHARS)]
Values = Annotated[dict[ValueName, JsonValue], Field(max_length=MAX_VALUES), AfterValidator(_fits)]


class PutCredentialRequest(BaseModel):
    """A credential to store: its provider, and its values, such as ``api_key``."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    provider: Annotated[Name, AfterValidator(_shows_no_secret)]
    values: Secret[Values]


@dataclass(frozen=True, slots=True)
class CredentialDescription:
    """A credential without its values."""

    name: str
    provider: str
    last4: str
    fingerprint: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Credential) -> Self:
        return cls(**{name: getattr(row, name) for name in cls.__slots__})

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "provider": self.provider,
            "last4": self.last4 or None,
            "fingerprint": self.fingerprint,
            "created_at": wire_time(self.created_at),
            "updated_at": wire_time(self.updated_at),
        }


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """A credential that has just been stored."""

    description: CredentialDescription
    is_new: bool


@dataclass(slots=True)
class RekeyReport:
    """The outcome of re-encrypting all that is stored encrypted with the newest key."""

    renewed: int
    unchanged: int
    """How many were encrypted with it already."""
    unreadable: list[tuple[str, str]]
    """Tenant and name of the credentials, or id of the sessions, that no key decrypts. They are left unchanged."""

    def as_json(self) -> dict[str, Any]:
        unreadable = [{"tenant_id": tenant_id, "name": name} for tenant_id, name in self.unreadable]
        return {"renewed": self.renewed, "unchanged": self.unchanged, "unreadable": unreadable}
