"""The caller of a request: the operator, a workspace, the app of one agent, or a reader with a stream token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from flask import Request, g
from pydantic import SecretStr

from blueprints.auth import STREAM_TOKEN, bearer_of, has_stream_token, matching_digest
from blueprints.parsing import refuse_value
from errors import KeyNotAllowed, ParameterRefused, TenantNotAllowed, Unauthorized
from services.api_keys import ApiKeyService
from services.chat.apps import App, AppService
from services.key_secrets import PREFIXES
from services.run_access import EVERY_RUN, RUNS_WITHOUT_TENANT, RunAccess
from services.stream_tokens import StreamTokens
from services.tenants import DEFAULT_TENANT, TENANT_PATTERN, TENANT_RULE

TENANT_HEADER = "X-Tenant-Id"
USER_HEADER = "X-User-Id"
KEY_PREFIXES = tuple(PREFIXES.values())

APP_PARAMETER = "app_id"
HEADER_WRONG = "Authorization header must be provided and start with 'Bearer'"
APP_MISSING = "Arg app_id must be provided: this key opens every app of its workspace"


class CallerKind(StrEnum):
    OPERATOR = "operator"
    WORKSPACE = "workspace"
    APP = "app"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request, and their tenant. They see nothing of other tenants."""

    tenant_id: str
    kind: CallerKind
    key_id: str | None = None
    """None for the operator."""
    agent_id: str | None = None
    """The one agent that an app's key gives access to; None for other callers, who may use every agent of their
    tenant."""
    user_id: str | None = None
    """The user on whose behalf the operator, a trusted caller, makes the request."""

    @property
    def actor(self) -> str | None:
        """The value for ``created_by`` and its like: the user, else the key; None for the operator without a user."""
        return self.user_id or self.key_id


@dataclass(frozen=True, slots=True)
class RunCaller:
    """A caller that may see runs."""

    access: RunAccess
    tenant_id: str | None = None
    """The tenant of the runs that they start, and of the feed for which they may issue tokens; None for the
    operator's."""


WITHOUT_KEY = RunCaller(RUNS_WITHOUT_TENANT)


@dataclass(frozen=True, slots=True)
class Callers:
    """Identifies callers by the tokens and headers of their requests. One per application.

    Besides what it names itself, each method raises Unauthorized without a valid token or key, TenantNotAllowed when a
    key is used for another tenant, InvalidRequest for headers that hold no valid id, and DatabaseUnavailable.
    """

    keys: ApiKeyService
    apps: AppService
    stream_tokens: StreamTokens
    run_tokens: Sequence[SecretStr] = field(repr=False)
    """Tokens for ``/runs`` alone. With none, ``/runs`` is open to everybody."""
    admin_tokens: Sequence[SecretStr] = field(repr=False)
    """The operator's tokens."""

    def of_workspace(self, request: Request) -> Caller:
        """Returns the operator or a workspace. Raises KeyNotAllowed for an app."""
        caller = self.of_workspace_or_app(request)
        if caller.kind is CallerKind.APP:
            raise KeyNotAllowed
        return caller

    def of_workspace_or_app(self, request: Request) -> Caller:
        """Returns the operator, a workspace or an app."""
        if matching_digest(request, self.admin_tokens) is not None:
            tenant_id = _named(request, TENANT_HEADER) or DEFAULT_TENANT
            return Caller(tenant_id, CallerKind.OPERATOR, user_id=_named(request, USER_HEADER))
        holder = self.keys.find_holder(bearer_of(request))
        if holder is None:
            raise Unauthorized
        if request.headers.get(TENANT_HEADER, holder.tenant_id) != holder.tenant_id:
            raise TenantNotAllowed
        kind = CallerKind(holder.kind.value)
        return Caller(holder.tenant_id, kind, key_id=holder.key_id, agent_id=holder.agent_id)

    def of_runs(self, request: Request) -> RunCaller:
        """Returns the caller of ``/runs``. Without ``run_tokens`` everybody is admitted, except with an invalid key.

        A stream token, if given, is all that counts: a bad one is refused even where everybody is admitted. Raises
        InvalidToken, and KeyNotAllowed for an app.
        """
        if has_stream_token(request):
            self.stream_tokens.check_run(request.args[STREAM_TOKEN], (request.view_args or {}).get("run_id", ""))
            return RunCaller(EVERY_RUN)  # the token is for this one run, which its issuer could see
        if matching_digest(request, self.admin_tokens) is not None:
            return RunCaller(EVERY_RUN, _named(request, TENANT_HEADER))
        if matching_digest(request, self.run_tokens) is not None:
            return WITHOUT_KEY
        if bearer_of(request).startswith(KEY_PREFIXES):
            tenant_id = self.of_workspace(request).tenant_id
            tenants = {tenant_id} if self.run_tokens else {tenant_id, None}
            return RunCaller(RunAccess(frozenset(tenants)), tenant_id)
        if self.run_tokens:
            raise Unauthorized
        return WITHOUT_KEY

    def of_feed(self, request: Request) -> RunCaller:
        """Returns the reader of the feed, who sees all runs as the operator, and otherwise those of their tenant.

        A stream token, if given, is all that counts. Raises InvalidToken, and KeyNotAllowed for an app.
        """
        if has_stream_token(request):
            return _reader(self.stream_tokens.check_feed(request.args[STREAM_TOKEN]))
        caller = self.of_workspace(request)
        return _reader(None if caller.kind is CallerKind.OPERATOR else caller.tenant_id)

    def of_app(self, request: Request, *, is_checked_later: bool = False) -> App:
        """Returns the app of an app's key, or the one that ``app_id`` names, for keys of a whole workspace.

        With ``is_checked_later`` the agent of an app's key is not looked up, since it is loaded later anyway. Raises
        ParameterRefused when no app is named, AppForbidden and ItemNotFound.
        """
        if not bearer_of(request):
            raise Unauthorized(HEADER_WRONG)
        caller = self.of_workspace_or_app(request)
        if is_checked_later and caller.agent_id is not None:
            return App(caller.tenant_id, caller.agent_id, caller.key_id)
        named = caller.agent_id or request.args.get(APP_PARAMETER)
        if not named:
            raise ParameterRefused(APP_MISSING, params=APP_PARAMETER)
        return self.apps.open_app(caller.tenant_id, named, key_id=caller.key_id)


def current_caller() -> Caller:
    """Returns the caller of the current request."""
    caller: Caller = g.caller
    return caller


def current_run_caller() -> RunCaller:
    """As ``current_caller``, for the routes that read runs."""
    caller: RunCaller = g.caller
    return caller


def current_app() -> App:
    """Returns the app that the current request is for."""
    app: App = g.caller
    return app


def _reader(tenant_id: str | None) -> RunCaller:
    return RunCaller(EVERY_RUN if tenant_id is None else RunAccess(frozenset({tenant_id})), tenant_id)


def _named(request: Request, header: str) -> str | None:
    """Returns the id in a header; None without the header. Raises InvalidRequest."""
    given = request.headers.get(header)
    if given is not None and not TENANT_PATTERN.fullmatch(given):
        refuse_value(TENANT_RULE, ["header", header], given=given[:100])
    return given
