"""``/health`` and ``/ready``: for load balancers and orchestrators. Neither needs a key."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from blueprints.errors import register_error_handlers
from errors import StorageUnavailable
from runtime.runtime import Runtime
from services.database import Database


def health_blueprint(runtime: Runtime, database: Database) -> Blueprint:
    """Liveness and readiness of this worker."""
    blueprint = Blueprint("health", __name__)
    register_error_handlers(blueprint)

    @blueprint.get("/health")
    def get_health() -> Response:
        """The process lives."""
        return jsonify(status="ok")

    @blueprint.get("/ready")
    def get_readiness() -> tuple[Response, int]:
        """Whether new runs would be accepted, and why not."""
        runtime.start()
        reasons = []
        if runtime.is_draining:
            reasons.append("draining")
        try:
            runtime.runs.ping()
        except StorageUnavailable:
            reasons.append("redis_unreachable")
        if database.is_in_use and (problem := database.problem()):
            reasons.append(problem)
        status = "not_ready" if reasons else "ready"
        return jsonify(status=status, reasons=reasons), 503 if reasons else 200

    return blueprint
