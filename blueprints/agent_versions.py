"""``/agents/{agent_id}/versions`` and ``/agents/{agent_id}/tags``: the versions of agents, and names for them."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, Field

from blueprints.callers import current_caller
from blueprints.idempotency import parse_idempotency_key
from blueprints.paging import MAX_PAGE, parse_query
from blueprints.parsing import parse_body
from blueprints.preconditions import parse_if_match, tagged
from services.agents.history import MAX_VERSIONS_LISTED, VersionService
from services.agents.requests import CreateVersionRequest, PutTagRequest
from services.agents.tags import TagService
from services.agents.transfer import TransferService


class VersionQuery(BaseModel):
    """A page of versions; by default as long as a page may be."""

    page: int = Field(default=1, ge=1, le=MAX_PAGE)
    limit: int = Field(default=MAX_VERSIONS_LISTED, ge=1, le=MAX_VERSIONS_LISTED)


class RestoreQuery(BaseModel):
    """Whether to check a restore without making it."""

    dry_run: bool = False


def agent_versions_blueprint(versions: VersionService, tags: TagService, transfer: TransferService) -> Blueprint:
    """Returns the routes of versions and tags, for the operator and for keys of a workspace."""
    blueprint = Blueprint("agent_versions", __name__, url_prefix="/agents/<agent_id>")

    @blueprint.get("/versions")
    def list_versions(agent_id: str) -> Response:
        """Lists the versions of an agent, the latest first."""
        query = parse_query(request, VersionQuery)
        found = versions.list_versions(current_caller().tenant_id, agent_id, page=query.page, limit=query.limit)
        return jsonify(found.as_json())

    @blueprint.post("/versions")
    def create_version(agent_id: str) -> tuple[Response, int]:
        """Stores a version and makes it the active one."""
        caller, wanted = current_caller(), parse_body(request, CreateVersionRequest)
        made = versions.create_version(
            caller.tenant_id,
            agent_id,
            wanted,
            created_by=caller.actor,
            if_match=parse_if_match(request),
            idempotency_key=parse_idempotency_key(request),
        )
        return tagged(made.as_json(), made.id), 201

    @blueprint.get("/versions/<version_id>")
    def get_version(agent_id: str, version_id: str) -> Response:
        """Returns a version with its Soul and history."""
        return jsonify(versions.get_version(current_caller().tenant_id, agent_id, version_id).as_json())

    @blueprint.post("/versions/<version_id>/restore")
    def restore_version(agent_id: str, version_id: str) -> Response:
        """Makes a version the active one again."""
        caller, query = current_caller(), parse_query(request, RestoreQuery)
        active = versions.restore_version(
            caller.tenant_id,
            agent_id,
            version_id,
            restored_by=caller.actor,
            if_match=parse_if_match(request),
            only_checks=query.dry_run,
        )
        answer = {"result": "success", "active_config_snapshot_id": active}
        return jsonify(answer) if query.dry_run else tagged(answer, active)

    @blueprint.get("/versions/<version_id>/diff/<other_id>")
    def diff_versions(agent_id: str, version_id: str, other_id: str) -> Response:
        """Returns what changed from one version to another."""
        return jsonify(versions.diff_versions(current_caller().tenant_id, agent_id, version_id, other_id))

    @blueprint.get("/versions/<version_id>/export")
    def export_version(agent_id: str, version_id: str) -> Response:
        """Returns a version as a document that can be imported elsewhere."""
        return jsonify(transfer.export_agent(current_caller().tenant_id, agent_id, version_id=version_id))

    @blueprint.get("/tags")
    def list_tags(agent_id: str) -> Response:
        """Lists all tags of an agent."""
        found = tags.list_tags(current_caller().tenant_id, agent_id)
        return jsonify(data=[tag.as_json() for tag in found])

    @blueprint.put("/tags/<tag>")
    def put_tag(agent_id: str, tag: str) -> Response:
        """Creates or moves a tag."""
        caller, wanted = current_caller(), parse_body(request, PutTagRequest)
        made = tags.put_tag(caller.tenant_id, agent_id, tag, wanted.version_id, updated_by=caller.actor)
        return jsonify(made.as_json())

    @blueprint.delete("/tags/<tag>")
    def delete_tag(agent_id: str, tag: str) -> tuple[str, int]:
        """Deletes a tag."""
        tags.delete_tag(current_caller().tenant_id, agent_id, tag)
        return "", 204

    return blueprint
