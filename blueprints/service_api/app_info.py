"""``/v1/parameters``, ``/v1/info``, ``/v1/meta`` and ``/v1/site``: what an app says about itself."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from blueprints.callers import current_app
from services.chat.app_info import AppInfoService


def add_app_info_routes(blueprint: Blueprint, app_info: AppInfoService) -> None:
    @blueprint.get("/parameters")
    def show_parameters() -> Response:
        """Returns what a client needs to open a chat."""
        return jsonify(app_info.parameters(current_app()))

    @blueprint.get("/info")
    def show_info() -> Response:
        """Returns the app's name and description."""
        return jsonify(app_info.info(current_app()))

    @blueprint.get("/meta")
    def show_meta() -> Response:
        """Returns the icons of its tools."""
        return jsonify(app_info.meta(current_app()))

    @blueprint.get("/site")
    def show_site() -> Response:
        """Returns how a page that shows it should look."""
        return jsonify(app_info.site(current_app()))
