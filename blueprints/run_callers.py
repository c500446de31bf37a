"""Who calls ``/runs``: which runs are there for him, and whose those are that he starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Request
from pydantic import SecretStr

from blueprints.auth import STREAM_TOKEN, bearer_of, has_stream_token, matching_digest
from blueprints.identity import named_tenant, require_caller
from errors import Unauthorized
from services.api_keys import ApiKeyService
from services.key_secrets import PREFIXES
from services.run_access import EVERY_RUN, RUNS_WITHOUT_TENANT, RunAccess
from services.stream_tokens import StreamTokens

KEY_PREFIXES = tuple(PREFIXES.values())


@dataclass(frozen=True, slots=True)
class RunCaller:
    """Somebody whom ``/runs`` lets in."""

    access: RunAccess
    tenant_id: str | None = None
    """Of the runs that he starts."""


WITHOUT_KEY = RunCaller(RUNS_WITHOUT_TENANT)


def require_run_caller(
    request: Request,
    keys: ApiKeyService,
    stream_tokens: StreamTokens,
    *,
    tokens: Sequence[SecretStr],
    admin_tokens: Sequence[SecretStr],
) -> RunCaller:
    """Who calls; with no ``tokens`` everybody may pass, save with a key that is not valid.

    A stream token that is given counts alone: a bad one is refused also where everybody may pass. Raises InvalidToken,
    Unauthorized, and what ``require_caller`` raises.
    """
    if has_stream_token(request):
        stream_tokens.check_run(request.args[STREAM_TOKEN], (request.view_args or {})["run_id"])
        return RunCaller(EVERY_RUN)  # it opens this one, which its maker could see
    if matching_digest(request, admin_tokens) is not None:
        return RunCaller(EVERY_RUN, named_tenant(request))
    if matching_digest(request, tokens) is not None:
        return WITHOUT_KEY
    if bearer_of(request).startswith(KEY_PREFIXES):
        tenant_id = require_caller(request, keys, admin_tokens).tenant_id
        tenants = {tenant_id} if tokens else {tenant_id, None}
        return RunCaller(RunAccess(frozenset(tenants)), tenant_id)
    if tokens:
        raise Unauthorized
    return WITHOUT_KEY
