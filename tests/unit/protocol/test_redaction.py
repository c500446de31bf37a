"""Credentials are found in a text also where programs have escaped or encoded them."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.protocol.redaction import REDACTED, Redactor

SECRET = 'sk+canary/"ä"\\&=7f3a9 <x>'


@pytest.mark.parametrize(
    "spelt",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        json.dumps({"message": json.dumps({"key": SECRET})}),
        repr(SECRET),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").replace("%2B", "%2b").replace("%2F", "%2f").replace("%5C", "%5c").replace("%3D", "%3d")
        .replace("%C3%A4", "%c3%a4").replace("%3C", "%3c").replace("%3E", "%3e"),
        quote_plus(SECRET),
        html.escape(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
    ],
)  # fmt: skip
def test_a_secret_is_found_in_each_of_its_spellings(spelt: str) -> None:
    cleaned = Redactor([SECRET]).clean(f"refused: {spelt}!")

    assert REDACTED in cleaned
    assert "canary" not in cleaned
    assert "7f3a9" not in cleaned


@given(st.text(st.characters(codec="utf-8"), min_size=12), st.binary(max_size=5), st.binary(max_size=5))
def test_a_secret_is_found_at_any_offset_in_base64(secret: str, before: bytes, behind: bytes) -> None:
    encoded = base64.b64encode(before + secret.encode() + behind).decode()

    assert REDACTED in Redactor([secret]).clean(encoded)


def test_the_key_behind_a_scheme_is_a_secret_by_itself() -> None:
    assert Redactor(["Bearer canary-key"]).clean("no such key: canary-key") == f"no such key: {REDACTED}"


def test_a_secret_too_short_to_tell_from_ordinary_text_stays() -> None:
    assert Redactor(["abc", ""]).clean("abc") == "abc"


def test_a_secret_within_another_leaves_no_rest() -> None:
    assert Redactor(["canary", "canary-long"]).clean("canary-long") == REDACTED
