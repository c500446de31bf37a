"""The tables that decide what is written for clients agree with the libraries of their versions."""

from __future__ import annotations

import re

import pytest

from runtime.protocol.client_models import SCHEMAS
from tests.clients.pydantic_ai.environments import REQUIREMENTS, VERSIONS, Libraries
from tests.clients.pydantic_ai.schemas import schema_text


@pytest.mark.parametrize("version", VERSIONS)
def test_a_table_is_what_its_library_reads(libraries: Libraries, version: str) -> None:
    assert (SCHEMAS / f"{version}.json").read_text() == schema_text(libraries.ask(version, "schema"))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_requirement_is_pinned_with_hashes_and_names_no_registry(version: str) -> None:
    text = (REQUIREMENTS / f"{version}.txt").read_text()
    entries = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.lstrip().startswith("#")]

    assert f"pydantic-ai-slim=={version} " in text
    assert all(re.match(r"[a-z0-9._-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert not re.search(r"https?://|^-", text, re.MULTILINE)


def test_there_is_a_table_and_an_environment_for_every_version() -> None:
    assert sorted(path.stem for path in SCHEMAS.iterdir()) == sorted(VERSIONS)
    assert sorted(path.stem for path in REQUIREMENTS.iterdir()) == sorted(VERSIONS)
