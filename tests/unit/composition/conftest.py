"""Fixtures of the composition's tests."""

from __future__ import annotations

import pytest

from tests.unit.composition.fakes import NoteLayer


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The notes of the layers of this test."""
    fresh: list[str] = []
    monkeypatch.setattr(NoteLayer, "notes", fresh)
    return fresh
