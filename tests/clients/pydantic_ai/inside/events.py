"""Reads stream events as Dify's client of a date does: its models forbid unknown keys at every depth."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_ai.messages import AgentStreamEvent


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    data: AgentStreamEvent


def unread(events: list[object]) -> list[list[str]]:
    """For each event, the problems in reading it; empty when there are none."""
    return [_problems(event) for event in events]


def _problems(event: object) -> list[str]:
    try:
        Strict.model_validate_json(json.dumps({"data": event}))
    except ValidationError as error:
        return [f"{'.'.join(map(str, one['loc'][1:]))}: {one['type']}" for one in error.errors(include_url=False)]
    return []
