"""What an app says about itself: what to show before the first question, and what input it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from errors import AppForbidden, AppUnavailable
from models import Agent, AgentConfigSnapshot
from services.chat.apps import App
from services.chat.openings import opening_of
from services.database import Database
from services.souls import AgentSoulConfig
from services.souls.soul import AppVariable

MODE = "agent"
LANGUAGE = "en-US"
SUGGESTED_AFTER_ANSWER = "suggested_questions_after_answer"

SWITCHES = (
    SUGGESTED_AFTER_ANSWER,
    "speech_to_text",
    "text_to_speech",
    "retriever_resource",
    "annotation_reply",
    "more_like_this",
    "sensitive_word_avoidance",
    "file_upload",
)
"""The features that are objects with an ``enabled`` switch."""

SIZE_LIMITS = (
    "file_size_limit",
    "image_file_size_limit",
    "audio_file_size_limit",
    "video_file_size_limit",
    "workflow_file_upload_limit",
)

CONTROLS: Mapping[str, str] = {
    **dict.fromkeys(("string", "text", "text-input", "secret", "select"), "text-input"),
    "paragraph": "paragraph",
    **dict.fromkeys(("number", "integer", "float"), "number"),
    **dict.fromkeys(("boolean", "checkbox"), "checkbox"),
    **dict.fromkeys(("object", "json", "json_object"), "json_object"),
}
"""The form control for each type of app variable. A Soul has no options to select from, so any text is accepted."""


class AppInfoService:
    """Describes apps, from their agents and active versions.

    Its methods raise DatabaseUnavailable besides the errors they name.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def parameters(self, app: App) -> dict[str, Any]:
        """Returns what a client needs to open a chat. Raises AppUnavailable."""
        soul = self._soul(app)
        features = soul.app_features
        questions = features.get("suggested_questions")
        return {
            "opening_statement": opening_of(features),
            "suggested_questions": [one for one in questions if isinstance(one, str)]
            if isinstance(questions, list)
            else [],
            **{name: _switch(features, name) for name in SWITCHES},
            "user_input_form": [_control(variable) for variable in soul.app_variables],
            "system_parameters": dict.fromkeys(SIZE_LIMITS, 0),
        }

    def info(self, app: App) -> dict[str, Any]:
        """Returns the app's name and description."""
        with self._database.reading() as session:
            agent = _agent(session, app)
        return {
            "name": agent.name,
            "description": agent.description,
            "tags": [],
            "mode": MODE,
            "author_name": "",
        }

    def meta(self, app: App) -> dict[str, Any]:
        """Returns the icons of its tools, of which a Soul has none."""
        del app
        return {"tool_icons": {}}

    def site(self, app: App) -> dict[str, Any]:
        """Returns how a page that shows the app should look."""
        with self._database.reading() as session:
            agent = _agent(session, app)
        return {
            "title": agent.name,
            "chat_color_theme": None,
            "chat_color_theme_inverted": False,
            "icon_type": agent.icon_type,
            "icon": agent.icon,
            "icon_background": agent.icon_background,
            "icon_url": None,
            "description": agent.description,
            "copyright": None,
            "privacy_policy": None,
            "custom_disclaimer": "",
            "default_language": LANGUAGE,
            "show_workflow_steps": False,
            "use_icon_as_answer_icon": False,
        }

    def _soul(self, app: App) -> AgentSoulConfig:
        with self._database.reading() as session:
            version_id = _agent(session, app).active_config_snapshot_id
            wanted = select(AgentConfigSnapshot.config_snapshot).where(AgentConfigSnapshot.id == version_id)
            stored = session.scalar(wanted) if version_id is not None else None
        if stored is None:
            raise AppUnavailable
        return AgentSoulConfig.from_stored(stored)


def suggests_questions(soul: Mapping[str, Any]) -> bool:
    """Whether a stored Soul wants questions to be suggested after answers."""
    features = soul.get("app_features")
    return bool(_switch(features, SUGGESTED_AFTER_ANSWER)["enabled"]) if isinstance(features, dict) else False


def _agent(session: Session, app: App) -> Agent:
    agent = session.scalar(select(Agent).where(Agent.id == app.agent_id, Agent.tenant_id == app.tenant_id))
    if agent is None:
        raise AppForbidden
    return agent


def _switch(features: Mapping[str, JsonValue], name: str) -> dict[str, JsonValue]:
    """Returns a feature as the Soul has it, with an ``enabled`` that is a boolean."""
    value = features.get(name)
    kept = value if isinstance(value, dict) else {}
    return {**kept, "enabled": kept.get("enabled") is True}


def _control(variable: AppVariable) -> dict[str, Any]:
    control = CONTROLS.get(variable.type, variable.type)
    told = {"label": variable.name, "variable": variable.name, "required": variable.required}
    return {control: {**told, "default": "" if variable.default is None else variable.default}}
