"""Encrypting credentials, and what is shown of them."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from errors import CredentialsUnavailable, CredentialUnreadable
from services.credential_cipher import CredentialCipher
from services.credential_marks import marks_of
from services.stream_tokens import StreamTokens

VALUES = {"api_key": "sk-0123456789abcdef", "nested": {"ü": [1, None, 2.5]}}
OF = {"tenant_id": "t", "name": "my-openai"}


def new_key() -> str:
    return Fernet.generate_key().decode()


def cipher(*keys: str) -> CredentialCipher:
    return CredentialCipher([SecretStr(key) for key in keys])


def test_an_encrypted_value_can_be_decrypted_and_shows_nothing() -> None:
    ring = cipher(new_key())

    sealed = ring.seal(VALUES, **OF)

    assert ring.unseal(sealed, **OF) == VALUES
    assert "0123456789abcdef" not in sealed
    assert b"0123456789abcdef".hex() not in base64.urlsafe_b64decode(sealed).hex()
    assert ring.seal(VALUES, **OF) != sealed, "equal values must not look alike"


def test_any_fernet_can_decrypt_it_with_the_key_of_the_ring() -> None:
    key = new_key()

    opened = json.loads(Fernet(key).decrypt(cipher(key, new_key()).seal(VALUES, **OF)))

    assert opened == {**OF, "values": VALUES}


def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    old, new = new_key(), new_key()
    sealed = cipher(old).seal(VALUES, **OF)

    assert cipher(new, old).unseal(sealed, **OF) == VALUES
    assert not cipher(new, old).has_newest_key(sealed)
    assert cipher(old, new).has_newest_key(sealed)
    assert cipher(new, old).has_newest_key(cipher(new, old).seal(VALUES, **OF))


@pytest.mark.parametrize("of", [{**OF, "tenant_id": "other"}, {**OF, "name": "other"}])
def test_the_row_of_another_tenant_or_name_cannot_be_decrypted(of: dict[str, str]) -> None:
    ring = cipher(new_key())
    sealed = ring.seal(VALUES, **of)

    with pytest.raises(CredentialUnreadable):
        ring.unseal(sealed, **OF)


def test_a_value_that_no_key_can_decrypt_is_reported_without_any_of_it() -> None:
    sealed = cipher(new_key()).seal(VALUES, **OF)
    ring = cipher(new_key(), new_key())

    for damaged in (sealed, sealed[:-4] + "AAA=", sealed[:40], "", "no token", "ü"):
        with pytest.raises(CredentialUnreadable, match="'my-openai'") as caught:
            ring.unseal(damaged, **OF)
        assert caught.value.__cause__ is None
        assert not damaged or damaged not in caught.value.message


def test_without_a_key_nothing_is_encrypted_or_decrypted() -> None:
    sealed = cipher(new_key()).seal(VALUES, **OF)

    with pytest.raises(CredentialsUnavailable, match="is not set"):
        cipher().seal(VALUES, **OF)
    with pytest.raises(CredentialsUnavailable):
        cipher().unseal(sealed, **OF)


@pytest.mark.parametrize("wrong", ["ring-key-of-this-test", "c2hvcnQ=", "ü" * 44, "A" * 43])
def test_an_invalid_key_is_only_named_by_its_place(wrong: str) -> None:
    with pytest.raises(CredentialsUnavailable, match="key 2 of DIFY_AGENT_SECRET_KEYS") as caught:
        cipher(new_key(), wrong).seal(VALUES, **OF)

    assert wrong not in caught.value.message
    assert StreamTokens([SecretStr(wrong)]).issue("run", ttl_seconds=1).token, "stream tokens take any key"


@pytest.mark.parametrize(
    ("values", "last4", "hashed"),
    [
        ({"api_key": "sk-0123456789"}, "6789", "sk-0123456789"),
        ({"base_url": "https://example.com", "openai_api_key": "sk-0123456789"}, "6789", "sk-0123456789"),
        ({"secret_key": "bbbbbbbbbbbb", "access_key": "aaaaaaaaaaa1"}, "aaa1", "aaaaaaaaaaa1\nbbbbbbbbbbbb"),
        ({"endpoint": "https://x", "user": "somebody else"}, "", "https://x\nsomebody else"),
        ({"api_key": "short-key-1"}, "", "short-key-1"),
        ({"private_key": "-----PEM-----\nabcdefgh\n"}, "efgh", "-----PEM-----\nabcdefgh\n"),
        ({"token": "0123456789\u0000ab"}, "", "0123456789\u0000ab"),
        ({"token": 1234567890123}, "", '{"token":1234567890123}'),
    ],
)
def test_what_is_shown_of_a_credential(values: dict[str, Any], last4: str, hashed: str) -> None:
    marks = marks_of(values)

    assert (marks.last4, marks.fingerprint) == (last4, hashlib.sha256(hashed.encode()).hexdigest()[:8])
