"""``/structured-output``: answers of any model, checked without a run."""

from __future__ import annotations

import json
from dataclasses import asdict

from flask import Blueprint, Response, request

from blueprints.parsing import parse_body
from services.structured_output import ValidateOutputRequest, Verdict, validate_output


def structured_output_blueprint() -> Blueprint:
    """Returns the routes below ``/structured-output``, for the operator and for keys of a workspace."""
    blueprint = Blueprint("structured_output", __name__, url_prefix="/structured-output")

    @blueprint.post("/validate")
    def validate_structured_output() -> Response:
        """Checks an output against a schema."""
        verdict = validate_output(parse_body(request, ValidateOutputRequest))
        return Response(_answer(verdict), content_type="application/json")

    return blueprint


def _answer(verdict: Verdict) -> bytes:
    """Returns JSON in which the value's JSON is embedded as it is: parsing a large one would hold up other requests."""
    answer = {
        "valid": json.dumps(verdict.is_valid),
        "value": verdict.value,
        "source": json.dumps(verdict.source),
        "repairs": json.dumps([asdict(repair) for repair in verdict.repairs]),
        "errors": json.dumps([asdict(error) for error in verdict.errors]),
    }
    members = ", ".join(f'"{key}": {text}' for key, text in answer.items() if text is not None)
    return f"{{{members}}}\n".encode()
