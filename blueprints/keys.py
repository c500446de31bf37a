"""``/keys``: API keys of a tenant."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel

from blueprints.callers import current_caller
from blueprints.paging import parse_page, parse_query
from blueprints.parsing import parse_body, parse_optional_body
from services.api_keys import ApiKeyService
from services.key_types import CreateKeyRequest, RotateKeyRequest


class RevokeQuery(BaseModel):
    """Whether the keys that were created with a key are revoked with it."""

    with_made: bool = False


def keys_blueprint(keys: ApiKeyService) -> Blueprint:
    """Returns the routes below ``/keys``, for the operator and for keys of a workspace."""
    blueprint = Blueprint("keys", __name__, url_prefix="/keys")

    @blueprint.post("")
    def create_key() -> tuple[Response, int]:
        """Creates a key, and shows it this once."""
        caller = current_caller()
        wanted = parse_body(request, CreateKeyRequest)
        return jsonify(keys.create_key(caller.tenant_id, wanted, created_by=caller.actor).as_json()), 201

    @blueprint.get("")
    def list_keys() -> Response:
        """Lists the tenant's keys, without the keys themselves."""
        page = parse_page(request)
        return jsonify(keys.list_keys(current_caller().tenant_id, page=page.page, limit=page.limit).as_json())

    @blueprint.post("/<key_id>/rotate")
    def rotate_key(key_id: str) -> tuple[Response, int]:
        """Creates a key that replaces another."""
        caller = current_caller()
        overlap = parse_optional_body(request, RotateKeyRequest).overlap_seconds
        made = keys.rotate_key(caller.tenant_id, key_id, overlap_seconds=overlap, created_by=caller.actor)
        return jsonify(made.as_json()), 201

    @blueprint.delete("/<key_id>")
    def revoke_key(key_id: str) -> tuple[str, int]:
        caller = current_caller()
        with_made = parse_query(request, RevokeQuery).with_made
        keys.revoke_key(caller.tenant_id, key_id, revoked_by=caller.actor, with_made=with_made)
        return "", 204

    return blueprint
