"""``/v1/form/human_input``: the forms in which people answer the questions of agents."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from blueprints.callers import current_app
from blueprints.paging import parse_query
from blueprints.service_api.bodies import parse_service_body
from services.chat.requests import OfUser, SubmitFormRequest
from services.sessions.forms import FormAddress, FormService

SUCCESS = "success"


def add_form_routes(blueprint: Blueprint, forms: FormService) -> None:
    @blueprint.get("/form/human_input/<form_token>")
    def show_form(form_token: str) -> Response:
        """Returns what a person is asked."""
        user = parse_query(request, OfUser).user
        return jsonify(forms.describe(_address(form_token, user)))

    @blueprint.post("/form/human_input/<form_token>")
    def submit_form(form_token: str) -> Response:
        """Submits the answer; the conversation continues with a new message, whose id is returned."""
        wanted = parse_service_body(request, SubmitFormRequest)
        message_id = forms.submit(_address(form_token, wanted.user), wanted.action, wanted.values)
        return jsonify(result=SUCCESS, message_id=message_id)


def _address(form_token: str, user: str | None) -> FormAddress:
    app = current_app()
    return FormAddress(app.tenant_id, app.agent_id, form_token, user)
