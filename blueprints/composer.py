"""``/apps/{app_id}/…/agent-composer``: what Dify's editors of workflow nodes and Agent Apps read and save."""

from __future__ import annotations

import re

from flask import Blueprint, Response, jsonify, request

from blueprints.callers import current_caller
from blueprints.idempotency import parse_idempotency_key
from blueprints.parsing import parse_body, refuse_value
from services.composer.places import AppPlace, NodePlace
from services.composer.requests import ComposerSaveRequest, ComposerVariant, ImpactRequest, SaveToRosterRequest
from services.composer.service import ComposerService
from services.tenants import TENANT_PATTERN, TENANT_RULE

NODE = "/workflows/draft/nodes/<node_id>/agent-composer"
APP = "/agent-composer"

_NODE_ID = re.compile(r"[^\x00-\x1f\x7f]{1,255}")


def composer_blueprint(composer: ComposerService) -> Blueprint:
    """Returns the composer's routes, for the operator and for keys of a workspace."""
    blueprint = Blueprint("composer", __name__, url_prefix="/apps/<app_id>")

    @blueprint.get(NODE)
    def get_node(app_id: str, node_id: str) -> Response:
        """Returns the state of a node."""
        return jsonify(composer.get_node(_node_place(app_id, node_id)))

    @blueprint.put(NODE)
    def save_node(app_id: str, node_id: str) -> Response:
        """Saves a node."""
        place = _node_place(app_id, node_id)
        wanted = parse_body(request, ComposerSaveRequest)
        key = parse_idempotency_key(request, wanted.idempotency_key)
        return jsonify(composer.save_node(place, wanted, key=key, actor=current_caller().actor))

    @blueprint.post(f"{NODE}/save-to-roster")
    def save_node_to_roster(app_id: str, node_id: str) -> Response:
        """Adds a node's own agent to the roster."""
        place = _node_place(app_id, node_id)
        wanted = parse_body(request, SaveToRosterRequest)
        key = parse_idempotency_key(request, wanted.idempotency_key)
        return jsonify(composer.save_node_to_roster(place, wanted, key=key, actor=current_caller().actor))

    @blueprint.post(f"{NODE}/validate")
    def validate_node(app_id: str, node_id: str) -> Response:
        """Checks a save of a node without making it."""
        tenant_id = _node_place(app_id, node_id).tenant_id
        wanted = parse_body(request, ComposerSaveRequest)
        return jsonify(composer.validate(tenant_id, wanted, ComposerVariant.WORKFLOW))

    @blueprint.get(f"{NODE}/candidates")
    def list_node_candidates(app_id: str, node_id: str) -> Response:
        """Lists what a node's agent and job may refer to."""
        _node_place(app_id, node_id)
        return jsonify(composer.candidates(ComposerVariant.WORKFLOW))

    @blueprint.post(f"{NODE}/impact")
    def get_impact(app_id: str, node_id: str) -> Response:
        """Lists the nodes that run a version."""
        _node_place(app_id, node_id)
        return jsonify(composer.impact(current_caller().tenant_id, parse_body(request, ImpactRequest)))

    @blueprint.get(APP)
    def get_app(app_id: str) -> Response:
        """Returns the state of an Agent App."""
        return jsonify(composer.get_app(_app_place(app_id)))

    @blueprint.put(APP)
    def save_app(app_id: str) -> Response:
        """Saves an Agent App."""
        place = _app_place(app_id)
        wanted = parse_body(request, ComposerSaveRequest)
        key = parse_idempotency_key(request, wanted.idempotency_key)
        return jsonify(composer.save_app(place, wanted, key=key, actor=current_caller().actor))

    @blueprint.post(f"{APP}/validate")
    def validate_app(app_id: str) -> Response:
        """Checks a save of an Agent App without making it."""
        tenant_id = _app_place(app_id).tenant_id
        wanted = parse_body(request, ComposerSaveRequest)
        return jsonify(composer.validate(tenant_id, wanted, ComposerVariant.AGENT_APP))

    @blueprint.get(f"{APP}/candidates")
    def list_app_candidates(app_id: str) -> Response:
        """Lists what an Agent App's agent may refer to."""
        _app_place(app_id)
        return jsonify(composer.candidates(ComposerVariant.AGENT_APP))

    return blueprint


def _app_place(app_id: str) -> AppPlace:
    """Raises InvalidRequest."""
    return AppPlace(current_caller().tenant_id, _checked_id(app_id, "path", "app_id"))


def _node_place(app_id: str, node_id: str) -> NodePlace:
    """Returns the node of the draft that ``?workflow_id=`` names, or else of the app's own. Raises InvalidRequest."""
    app = _app_place(app_id)
    workflow_id = _checked_id(request.args.get("workflow_id", app_id), "query", "workflow_id")
    if not _NODE_ID.fullmatch(node_id):
        refuse_value("takes 1 to 255 characters, and no control characters", ["path", "node_id"], given=node_id[:100])
    return NodePlace(app.tenant_id, app.app_id, workflow_id, node_id)


def _checked_id(text: str, source: str, name: str) -> str:
    if not TENANT_PATTERN.fullmatch(text):
        refuse_value(TENANT_RULE, [source, name], given=text[:100])
    return text
