"""Who calls: the operator, a workspace or the app of one agent, and for which tenant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from flask import Request
from pydantic import SecretStr

from blueprints.auth import bearer_of, matching_digest
from errors import InvalidRequest, KeyNotAllowed, TenantNotAllowed, Unauthorized
from services.api_keys import ApiKeyService
from services.tenants import DEFAULT_TENANT, TENANT_PATTERN

TENANT_HEADER = "X-Tenant-Id"
USER_HEADER = "X-User-Id"


class CallerKind(StrEnum):
    OPERATOR = "operator"
    WORKSPACE = "workspace"
    APP = "app"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and for which tenant: nothing of another tenant is there for them."""

    tenant_id: str
    kind: CallerKind
    key_id: str | None = None
    """None for the operator."""
    agent_id: str | None = None
    """The one agent that an app's key opens; None for the others, to whom all of their tenant are open."""
    user_id: str | None = None
    """For whom a trusted caller, the operator, says to call."""

    @property
    def actor(self) -> str | None:
        """What ``created_by`` and its like say: the user, else the key; None for the operator alone."""
        return self.user_id or self.key_id


def require_caller(
    request: Request, keys: ApiKeyService, admin_tokens: Sequence[SecretStr], *, allow_app: bool = False
) -> Caller:
    """Who calls. Apps are let in only where ``allow_app`` says so.

    Raises Unauthorized without a valid token or key, KeyNotAllowed for an app elsewhere, TenantNotAllowed when a key
    asks for another tenant, InvalidRequest for headers that name nobody, and DatabaseUnavailable.
    """
    if matching_digest(request, admin_tokens) is not None:
        tenant_id = named_tenant(request) or DEFAULT_TENANT
        return Caller(tenant_id, CallerKind.OPERATOR, user_id=_named(request, USER_HEADER))
    holder = keys.find_holder(bearer_of(request))
    if holder is None:
        raise Unauthorized
    if request.headers.get(TENANT_HEADER, holder.tenant_id) != holder.tenant_id:
        raise TenantNotAllowed
    kind = CallerKind(holder.kind.value)
    if kind is CallerKind.APP and not allow_app:
        raise KeyNotAllowed
    return Caller(holder.tenant_id, kind, key_id=holder.key_id, agent_id=holder.agent_id)


def named_tenant(request: Request) -> str | None:
    """The tenant that the operator acts for; None when he names none. Raises InvalidRequest."""
    return _named(request, TENANT_HEADER)


def _named(request: Request, header: str) -> str | None:
    """The id that a header names; None without it."""
    given = request.headers.get(header)
    if given is not None and not TENANT_PATTERN.fullmatch(given):
        message = "Value error, takes 1 to 64 of A-Z a-z 0-9 . _ : @ - and begins with a letter or a digit"
        raise InvalidRequest([{"type": "value_error", "loc": ["header", header], "msg": message, "input": given[:100]}])
    return given
