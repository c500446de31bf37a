"""The page on Souls says what the models are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from services.souls import AgentSoulConfig, PortableVersion, WorkflowNodeJobConfig, parse_portable, parse_soul

PAGE = (Path(__file__).parents[3] / "docs" / "agents-soul.md").read_text()
EXAMPLES = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for part in models_in(field.annotation):
            yield from keys(part)


@pytest.mark.parametrize("model", [AgentSoulConfig, WorkflowNodeJobConfig])
def test_every_key_is_named(model: type[BaseModel]) -> None:
    assert [key for key in keys(model) if f"`{key}`" not in PAGE] == []


def test_the_examples_are_taken() -> None:
    soul, exported = EXAMPLES

    assert parse_soul(soul).model is not None
    assert isinstance(parse_portable(exported), PortableVersion)
