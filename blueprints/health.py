"""``/health`` and ``/ready``, for load balancers and orchestrators. Neither needs a key."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from services.health import HealthService


def health_blueprint(health: HealthService) -> Blueprint:
    """Returns the routes for the liveness and readiness of this worker."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/health")
    def get_health() -> Response:
        """Answers as long as the process lives."""
        return jsonify(status="ok")

    @blueprint.get("/ready")
    def get_readiness() -> tuple[Response, int]:
        """Answers whether new runs would be accepted, and if not, why."""
        reasons = health.problems()
        status = "not_ready" if reasons else "ready"
        return jsonify(status=status, reasons=reasons), 503 if reasons else 200

    return blueprint
