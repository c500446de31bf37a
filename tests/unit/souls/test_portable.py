"""Exported versions, and what an import refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from errors import AgentExportRefused, DigestMismatch, MalformedRequest, RequestTooLarge
from services.souls import (
    PortableAgent,
    PortableVersion,
    digest_of,
    export_version,
    parse_portable,
    parse_soul,
    read_portable,
)
from services.souls.bounds import MAX_DEPTH
from services.souls.portable import MAX_DOCUMENT_BYTES
from tests.unit.souls.documents import DEMO, SEARCH

SOUL: dict[str, Any] = {
    "model": {**DEMO, "credential_ref": {"type": "provider", "id": "openai"}, "model_settings": {"delay_ms": 10}},
    "prompt": {"system_prompt": "Be kind, and brief: café."},
    "tools": {"dify_tools": [SEARCH]},
}


def document(soul: dict[str, Any] | None = None) -> dict[str, Any]:
    return export_version(
        PortableAgent(name="Ada", description="Helps", icon_type="emoji", icon="🤖"),
        version=3,
        soul=parse_soul(SOUL if soul is None else soul).as_json(),
        exported_at=datetime(2026, 6, 1, 12, tzinfo=UTC),
    )


def refusals(value: object) -> list[list[str | int]]:
    """Where a document is refused."""
    with pytest.raises(MalformedRequest) as caught:
        parse_portable(value)
    return [item["loc"] for item in caught.value.items]


def text_refusal(data: bytes) -> str:
    with pytest.raises(MalformedRequest) as caught:
        read_portable(data)
    return str(caught.value.items[0]["msg"])


def test_an_exported_version_says_what_it_is() -> None:
    made = document()

    assert made["format"] == "agent-version/1"
    assert made["exported_at"] == "2026-06-01T12:00:00.000000Z"
    assert made["agent"] == {
        "name": "Ada",
        "description": "Helps",
        "icon_type": "emoji",
        "icon": "🤖",
        "icon_background": None,
    }
    assert made["version"] == 3
    assert made["soul"] == parse_soul(SOUL).as_json()
    assert made["digest"] == digest_of(made["soul"])


@pytest.mark.parametrize("indent", [None, 2])
def test_an_export_can_be_imported_however_it_is_formatted(indent: int | None) -> None:
    data = json.dumps(document(), indent=indent, sort_keys=indent is not None, ensure_ascii=indent is None).encode()

    imported = read_portable(data)

    assert isinstance(imported, PortableVersion)
    assert imported.soul == parse_soul(SOUL)
    assert imported.agent.name == "Ada"
    assert digest_of(imported.soul.as_json()) == imported.digest


def test_the_deepest_soul_survives_export_and_import() -> None:
    deep: dict[str, Any] = {}
    for _ in range(MAX_DEPTH - 2):
        deep = {"a": deep}
    made = document({"misc_legacy": deep})

    assert read_portable(json.dumps(made).encode()).soul.misc_legacy == deep


def test_a_soul_with_one_byte_changed_is_refused() -> None:
    data = json.dumps(document()).encode()
    for before, after in [
        (b"Be kind", b"Be kinD"),
        (b'"enabled": true', b'"enabled":false'),
        (b'"delay_ms": 10', b'"delay_ms": 11'),
    ]:
        assert data.count(before) == 1

        with pytest.raises(DigestMismatch):
            read_portable(data.replace(before, after))


def test_every_changed_byte_is_noticed_or_changes_nothing_of_the_soul() -> None:
    data = json.dumps(document(), ensure_ascii=False).encode()
    soul = parse_soul(SOUL)

    for position in range(0, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 1
        try:
            imported = read_portable(bytes(changed))
        except (DigestMismatch, MalformedRequest):
            continue
        assert imported.soul == soul


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda made: made.update(format="agent-version/2"), ["body", "format"]),
        (lambda made: made.pop("format"), ["body", "format"]),
        (lambda made: made.update(tenant_id="t2"), ["body", "tenant_id"]),
        (lambda made: made["agent"].update(id="a1"), ["body", "agent", "id"]),
        (lambda made: made["agent"].update(name="  "), ["body", "agent", "name"]),
        (lambda made: made["agent"].update(name="n" * 256), ["body", "agent", "name"]),
        (lambda made: made["agent"].update(icon_type="gif"), ["body", "agent", "icon_type"]),
        (lambda made: made.update(version=0), ["body", "version"]),
        (lambda made: made.update(version="1"), ["body", "version"]),
        (lambda made: made.update(exported_at="yesterday"), ["body", "exported_at"]),
        (lambda made: made.update(exported_at="2026-06-01T12:00:00"), ["body", "exported_at"]),
        (lambda made: made.update(soul=[]), ["body", "soul"]),
        (lambda made: made.pop("digest"), ["body", "digest"]),
        (lambda made: made.update(digest=7), ["body", "digest"]),
    ],
)
def test_a_document_of_another_form_is_refused_with_its_place(
    change: Callable[[dict[str, Any]], object], place: list[str]
) -> None:
    made = document()
    change(made)

    assert place in refusals(made)


@pytest.mark.parametrize("digest", ["md5:0", "sha256:" + "0" * 64, ""])
def test_another_digest_is_a_mismatch(digest: str) -> None:
    with pytest.raises(DigestMismatch):
        parse_portable({**document(), "digest": digest})


@pytest.mark.parametrize(
    ("soul", "place"),
    [
        ({"surprise": 1}, ["body", "soul", "surprise"]),
        ({"misc_legacy": {"password": "hunter2"}}, ["body", "soul", "misc_legacy", "password"]),
    ],
)
def test_an_invalid_soul_is_refused_even_with_the_right_digest(soul: dict[str, Any], place: list[str]) -> None:
    assert refusals({**document(), "soul": soul, "digest": digest_of(soul)}) == [place]


@pytest.mark.parametrize("value", [None, [], "x", 7, {}])
def test_a_value_that_is_no_document_is_refused(value: object) -> None:
    assert refusals(value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"\xff", "not UTF-8"),
        (b"{", "not valid JSON"),
        (b'{"format": 1, "format": 1}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b"[" * 10_000 + b"]" * 10_000, "nested deeper"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested deeper"),
    ],
)
def test_bytes_that_are_no_document_are_refused(data: bytes, message: str) -> None:
    assert message in text_refusal(data)


def test_a_decoded_document_that_is_too_deep_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(10_000):
        deep = {"a": deep}

    assert refusals({**document(), "soul": deep}) == [["body", "soul"]]


def test_a_document_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(RequestTooLarge):
        read_portable(b" " * (MAX_DOCUMENT_BYTES + 1))
    with pytest.raises(RequestTooLarge):
        read_portable(b"[" + b"1," * 1_000_000 + b"1]")


def test_a_stored_version_with_a_secret_is_not_exported() -> None:
    soul = parse_soul({}).as_json()
    soul["misc_legacy"] = {"password": "hunter2"}

    with pytest.raises(AgentExportRefused) as caught:
        export_version(PortableAgent(name="Ada"), version=1, soul=soul, exported_at=datetime.now(UTC))

    assert caught.value.message == "Plaintext secret is not allowed at agent_soul.misc_legacy.password"


def test_an_agent_with_a_secret_in_its_description_is_not_exported() -> None:
    agent = PortableAgent(name="API key", description="Mine is sk-" + "a1B2" * 6)

    with pytest.raises(AgentExportRefused) as caught:
        export_version(agent, version=1, soul=parse_soul({}).as_json(), exported_at=datetime.now(UTC))

    assert caught.value.message == "Plaintext secret is not allowed at agent.description"
