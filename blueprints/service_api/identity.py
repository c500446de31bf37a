"""For which app a request of the service API is, by the key that it brings."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Request, g
from pydantic import SecretStr

from blueprints.identity import require_caller
from errors import ParameterRefused, Unauthorized
from services.api_keys import ApiKeyService
from services.chat.apps import App, AppService

APP_PARAMETER = "app_id"
HEADER_WRONG = "Authorization header must be provided and start with 'Bearer'"
APP_MISSING = "Arg app_id must be provided: this key opens every app of its workspace"


def require_app(
    request: Request,
    keys: ApiKeyService,
    apps: AppService,
    admin_tokens: Sequence[SecretStr],
    *,
    is_checked_later: bool = False,
) -> App:
    """The app of an app's key, or the one that somebody names whose key opens a whole workspace, in ``app_id``.

    With ``is_checked_later`` the agent of an app's key is not looked up, since it is loaded later anyway.

    Raises Unauthorized, ParameterRefused when no app is named, AppForbidden, ItemNotFound, DatabaseUnavailable, and
    what ``require_caller`` raises.
    """
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        raise Unauthorized(HEADER_WRONG)
    caller = require_caller(request, keys, admin_tokens, allow_app=True)
    if is_checked_later and caller.agent_id is not None:
        return App(caller.tenant_id, caller.agent_id, caller.key_id)
    named = caller.agent_id or request.args.get(APP_PARAMETER)
    if not named:
        raise ParameterRefused(APP_MISSING, params=APP_PARAMETER)
    return apps.open_app(caller.tenant_id, named, key_id=caller.key_id)


def current_app() -> App:
    """The app that this request was let in for."""
    app: App = g.app
    return app
