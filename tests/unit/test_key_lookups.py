"""What a key looks like, and how the database is asked for it."""

from __future__ import annotations

import pytest

from models.enums import KeyKind
from services.key_secrets import PREFIXES, may_be_key, new_secret
from tests.support.patched import run_scenario, scenarios

LOOKUPS = "tests.unit.scenarios.key_lookups"


@pytest.mark.parametrize("scenario", scenarios(LOOKUPS))
def test_key_lookups(scenario: str) -> None:
    run_scenario(LOOKUPS, scenario)


@pytest.mark.parametrize("kind", list(PREFIXES))
def test_a_new_key_holds_its_checksum(kind: KeyKind) -> None:
    key = new_secret(kind).key

    assert may_be_key(key)
    changed = "A" if key[20] != "A" else "B"
    assert not may_be_key(key[:20] + changed + key[21:])


@pytest.mark.parametrize("prefix", PREFIXES.values())
def test_a_key_of_an_earlier_version_needs_none(prefix: str) -> None:
    assert may_be_key(prefix + "A" * 48)


@pytest.mark.parametrize("text", ["", "ws", "xs-" + "A" * 48, "A" * 48, "\udcff"])
def test_a_token_without_a_known_prefix_is_no_key(text: str) -> None:
    assert not may_be_key(text)
