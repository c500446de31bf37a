"""``/keys``: API keys of a tenant."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response, g, jsonify, request
from pydantic import BaseModel, SecretStr

from blueprints.errors import register_error_handlers
from blueprints.identity import Caller, require_caller
from blueprints.paging import parse_page, parse_query
from blueprints.parsing import BodyLimits, limit_body, parse_body, parse_optional_body
from errors import MalformedRequest
from services.api_keys import ApiKeyService
from services.key_types import CreateKeyRequest, RotateKeyRequest


class RevokeQuery(BaseModel):
    """Whether the keys that were made with a key end with it."""

    with_made: bool = False


def keys_blueprint(keys: ApiKeyService, *, admin_tokens: Sequence[SecretStr], body_limits: BodyLimits) -> Blueprint:
    """The routes below ``/keys``, for the operator and for keys of a workspace."""
    blueprint = Blueprint("keys", __name__, url_prefix="/keys")
    register_error_handlers(blueprint, malformed=MalformedRequest)

    @blueprint.before_request
    def admit() -> None:
        limit_body(request, body_limits)
        g.caller = require_caller(request, keys, admin_tokens)

    @blueprint.post("")
    def create_key() -> tuple[Response, int]:
        """Make a key, and tell it this once."""
        caller = _caller()
        wanted = parse_body(request, CreateKeyRequest)
        return jsonify(keys.create_key(caller.tenant_id, wanted, created_by=caller.actor).as_json()), 201

    @blueprint.get("")
    def list_keys() -> Response:
        """The tenant's keys, without the keys themselves."""
        page = parse_page(request)
        return jsonify(keys.list_keys(_caller().tenant_id, page=page.page, limit=page.limit).as_json())

    @blueprint.post("/<key_id>/rotate")
    def rotate_key(key_id: str) -> tuple[Response, int]:
        """Make a key in the place of another."""
        caller = _caller()
        overlap = parse_optional_body(request, RotateKeyRequest).overlap_seconds
        made = keys.rotate_key(caller.tenant_id, key_id, overlap_seconds=overlap, created_by=caller.actor)
        return jsonify(made.as_json()), 201

    @blueprint.delete("/<key_id>")
    def revoke_key(key_id: str) -> tuple[str, int]:
        """End a key, and those that were made with it where that is asked for."""
        caller = _caller()
        with_made = parse_query(request, RevokeQuery).with_made
        keys.revoke_key(caller.tenant_id, key_id, revoked_by=caller.actor, with_made=with_made)
        return "", 204

    return blueprint


def _caller() -> Caller:
    caller: Caller = g.caller
    return caller
