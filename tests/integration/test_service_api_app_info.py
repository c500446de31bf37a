"""What an app shows about itself below ``/v1``, on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from models import Agent, ApiKey
from services.database import Database
from tests.support.agent_client import AgentClient, soul
from tests.support.service_api import AppClient, checked_error

SWITCHES = [
    "suggested_questions_after_answer",
    "speech_to_text",
    "text_to_speech",
    "retriever_resource",
    "annotation_reply",
    "more_like_this",
    "sensitive_word_avoidance",
    "file_upload",
]
FEATURES: dict[str, Any] = {
    "opening_statement": "Where to, {{name}}?",
    "suggested_questions": ["Rome?", "Oslo?"],
    "suggested_questions_after_answer": {"enabled": True},
    "text_to_speech": {"enabled": False, "voice": "v1", "language": "en"},
    "unknown": {"enabled": True},
}
VARIABLES = [
    {"name": "city", "type": "text", "required": True},
    {"name": "plan", "type": "paragraph", "default": "none"},
    {"name": "days", "type": "number", "default": 3},
    {"name": "pets", "type": "boolean"},
    {"name": "kind", "type": "select"},
    {"name": "more", "type": "made-up"},
]


def test_an_app_without_features_has_all_parameters_turned_off(app: AppClient) -> None:
    told = app.json("GET", "/v1/parameters")

    assert {name: told.pop(name) for name in SWITCHES} == {name: {"enabled": False} for name in SWITCHES}
    assert set(told.pop("system_parameters").values()) == {0}
    assert told == {"opening_statement": "", "suggested_questions": [], "user_input_form": []}


def test_parameters_are_those_of_the_soul(roster: AgentClient) -> None:
    app = AppClient(roster, app_features=FEATURES, app_variables=VARIABLES)

    told = app.get("/parameters")

    assert told["opening_statement"] == "Where to, {{name}}?"
    assert told["suggested_questions"] == ["Rome?", "Oslo?"]
    assert told["suggested_questions_after_answer"] == {"enabled": True}
    assert told["text_to_speech"] == {"enabled": False, "voice": "v1", "language": "en"}
    assert told["speech_to_text"] == {"enabled": False}
    assert "unknown" not in told


def test_the_form_asks_for_the_app_variables(roster: AgentClient) -> None:
    told = AppClient(roster, app_variables=VARIABLES).get("/parameters")["user_input_form"]

    assert told[0] == {"text-input": {"label": "city", "variable": "city", "required": True, "default": ""}}
    assert [next(iter(field)) for field in told] == [
        "text-input",
        "paragraph",
        "number",
        "checkbox",
        "text-input",
        "made-up",
    ]
    assert [next(iter(field.values()))["default"] for field in told] == ["", "none", 3, "", "", ""]


@pytest.mark.parametrize("wrong", [5, [], "yes", None, {"enabled": "yes"}, {"enabled": 1}])
def test_malformed_features_are_ignored(roster: AgentClient, wrong: Any) -> None:
    features = {"opening_statement": 5, "suggested_questions": wrong, "speech_to_text": wrong}

    told = AppClient(roster, app_features=features).get("/parameters")

    assert told["opening_statement"] == ""
    assert told["suggested_questions"] == []
    assert told["speech_to_text"]["enabled"] is False


def test_parameters_follow_the_active_version(roster: AgentClient, app: AppClient) -> None:
    body = {"agent_soul": soul(app_features={"opening_statement": "Now?"})}
    roster.json("POST", f"/agents/{app.agent_id}/versions", 201, json=body)

    assert app.get("/parameters")["opening_statement"] == "Now?"


def test_an_agent_that_was_never_published_has_no_parameters(app: AppClient, database: Database) -> None:
    with database.transaction() as session:
        session.get_one(Agent, app.agent_id).active_config_snapshot_id = None

    app.error("GET", "/parameters", 400, "app_unavailable")
    assert app.get("/info")["mode"] == "agent"
    assert app.get("/site")["title"]


def test_info_and_site_describe_the_agent(roster: AgentClient, app: AppClient) -> None:
    changed = {
        "name": "Ada 🧭",
        "description": "Plans\ntrips",
        "icon_type": "emoji",
        "icon": "🧭",
        "icon_background": "#fff",
    }
    roster.json("PATCH", f"/agents/{app.agent_id}", json=changed)

    info, site = app.get("/info"), app.get("/site")

    assert info == {"name": "Ada 🧭", "description": "Plans\ntrips", "tags": [], "mode": "agent", "author_name": ""}
    told = {key: site[key] for key in ("title", "description", "icon_type", "icon", "icon_background")}
    assert told == {"title": "Ada 🧭", **{key: value for key, value in changed.items() if key != "name"}}
    assert site["default_language"] == "en-US"


def test_meta_has_the_icons_of_tools(app: AppClient) -> None:
    assert app.get("/meta") == {"tool_icons": {}}


@pytest.mark.parametrize("path", ["parameters", "info", "meta", "site"])
def test_the_user_and_unknown_parameters_are_ignored(app: AppClient, path: str) -> None:
    assert app.json("GET", f"/v1/{path}", params={"user": "x" * 300, "limit": "no"}) == app.json("GET", f"/v1/{path}")


def test_with_a_revoked_key_an_app_shows_nothing(roster: AgentClient, app: AppClient, database: Database) -> None:
    with database.reading() as session:
        assert session.get_one(ApiKey, app.app.key_id).agent_id == app.agent_id
    fresh = AppClient(roster)
    assert roster.call("DELETE", f"/keys/{fresh.app.key_id}").status_code == 204

    checked_error(fresh.call("GET", "/v1/info"), 401, "unauthorized")
