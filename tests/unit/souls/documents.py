"""Souls and node jobs for tests."""

from __future__ import annotations

from typing import Any

import pytest

from errors import MalformedRequest
from services.souls import parse_node_job, parse_soul

DEMO: dict[str, Any] = {"plugin_id": "greenrun/demo", "model_provider": "greenrun", "model": "demo"}
SEARCH: dict[str, Any] = {
    "provider_id": "langgenius/google/google",
    "tool_name": "google_search",
    "credential_ref": {"type": "tool", "id": "search-key"},
}


def refusals(document: object, *, job: bool = False) -> dict[str, str]:
    """The message at each place where a Soul, or a node job, is refused."""
    with pytest.raises(MalformedRequest) as caught:
        parse_node_job(document) if job else parse_soul(document)
    return {".".join(map(str, item["loc"])): item["msg"] for item in caught.value.items}


def with_output(**output: Any) -> dict[str, Any]:
    """A node job with one declared output."""
    return {"declared_outputs": [{"name": "report", "type": "string", **output}]}
