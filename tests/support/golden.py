"""Requests exactly as Dify's releases send them, and the JSON schemas of the answers that they accept.

``tests/golden/<date>/`` has one file per request: the source of its body, and method, path, headers and body as
sent. ``schemas/`` beside them is named by Dify's models.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import requests
from jsonschema import Draft202012Validator

from tests.support.client import DEADLINE_SECONDS

FOLDER = Path(__file__).parents[1] / "golden"
RUN_ID = "00000000-0000-4000-8000-000000000015"
"""The run that the files read and cancel."""

EVENT_MODELS = {
    "run_started": "RunStartedEvent",
    "pydantic_ai_event": "PydanticAIStreamRunEvent",
    "run_succeeded": "RunSucceededEvent",
    "run_failed": "RunFailedEvent",
    "run_cancelled": "RunCancelledEvent",
}


@dataclass(frozen=True)
class Golden:
    """One request of the release of one date."""

    date: str
    name: str

    def __str__(self) -> str:
        return f"{self.date}/{self.name}"

    @cached_property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((FOLDER / self.date / f"{self.name}.json").read_text())
        return content

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = self.content["body"]
        return body

    def layer(self, name: str) -> dict[str, Any] | None:
        return next((layer for layer in self.body["composition"]["layers"] if layer["name"] == name), None)

    @property
    def is_cleanup(self) -> bool:
        return "cleanup" in self.name

    def send(self, url: str, *, run_id: str = RUN_ID) -> requests.Response:
        """Sends the request unchanged, except for the run id where it names a run."""
        data = None if self.content["body"] is None else json.dumps(self.content["body"])
        address = url + self.content["path"].replace(RUN_ID, run_id)
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                self.content["method"], address, data=data, headers=self.content["headers"], timeout=DEADLINE_SECONDS
            )


def run_requests(*dates: str) -> list[Golden]:
    """The requests of these dates that start runs."""
    found = [Golden(date, path.stem) for date in dates for path in sorted((FOLDER / date).glob("*.json"))]
    return [golden for golden in found if golden.content["path"] == "/runs"]


def knows(date: str, model: str) -> bool:
    """Whether the release of this date has a model of this name."""
    return (FOLDER / date / "schemas" / f"{model}.json").exists()


@cache
def _validator(date: str, model: str) -> Draft202012Validator:
    schema = json.loads((FOLDER / date / "schemas" / f"{model}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def check(date: str, model: str, value: Any) -> None:
    """Fails unless the model of the release accepts the value."""
    problems = [f"{error.json_path}: {error.message[:500]}" for error in _validator(date, model).iter_errors(value)]
    assert problems == [], f"{model} of {date}: {value}"


def check_event(date: str, event: dict[str, Any]) -> None:
    check(date, EVENT_MODELS[event["type"]], event)
