"""``/credentials``: what a tenant's agents use models and tools with. Values are stored and never returned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Blueprint, Request, Response, jsonify, request

from blueprints.callers import current_caller
from blueprints.paging import parse_page
from blueprints.parsing import parse_body, refuse
from errors import InvalidRequest
from runtime.protocol.redaction import REDACTED
from services.credential_types import PutCredentialRequest
from services.credentials import CredentialService


def credentials_blueprint(credentials: CredentialService) -> Blueprint:
    """Returns the routes below ``/credentials``, for the operator and for keys of a workspace."""
    blueprint = Blueprint("credentials", __name__, url_prefix="/credentials")

    @blueprint.put("/<name>")
    def put_credential(name: str) -> tuple[Response, int]:
        """Creates a credential, or replaces its values."""
        caller = current_caller()
        with _nothing_shown_back():
            wanted = parse_body(request, PutCredentialRequest)
        stored = credentials.put_credential(caller.tenant_id, name, wanted, changed_by=caller.actor)
        return jsonify(stored.description.as_json()), 201 if stored.is_new else 200

    @blueprint.get("")
    def list_credentials() -> Response:
        """Lists the tenant's credentials, without their values."""
        page = parse_page(request)
        return jsonify(
            credentials.list_credentials(current_caller().tenant_id, page=page.page, limit=page.limit).as_json()
        )

    @blueprint.delete("/<name>")
    def delete_credential(name: str) -> tuple[str, int]:
        """Deletes a credential that no active agent needs."""
        caller, force = current_caller(), _is_forced(request)
        credentials.delete_credential(caller.tenant_id, name, deleted_by=caller.actor, force=force)
        return "", 204

    return blueprint


@contextmanager
def _nothing_shown_back() -> Iterator[None]:
    """Reports a refused body without showing any of it: values may have any name, and may stand in the wrong place."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest([{**item, "input": REDACTED} for item in error.items]) from None


def _is_forced(request: Request) -> bool:
    given = request.args.get("force", "false")
    if given not in ("true", "false"):
        refuse("bool_parsing", ["query", "force"], "Input should be true or false", given=given[:100])
    return given == "true"
