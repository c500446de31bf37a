"""Encrypts and decrypts the values of credentials."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from errors import CredentialsUnavailable, CredentialUnreadable

if TYPE_CHECKING:
    from cryptography.fernet import Fernet


class CredentialCipher:
    """Encrypts with the first key of a ring, and decrypts with any of them.

    The encrypted text includes whose credential it is: a row that somebody has copied to another tenant cannot be
    decrypted there.

    All methods raise CredentialsUnavailable when the ring has no key, or an invalid one.
    """

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        self._keys = list(keys)

    def check_ring(self) -> None:
        """Checks that the ring has valid keys, without encrypting anything."""
        _ = self._ring

    def seal(self, values: Mapping[str, Any], *, tenant_id: str, name: str) -> str:
        """Encrypts the values of a credential."""
        text = json.dumps({"tenant_id": tenant_id, "name": name, "values": dict(values)}, ensure_ascii=False)
        return self._ring[0].encrypt(text.encode()).decode()

    def unseal(self, sealed: str, *, tenant_id: str, name: str) -> dict[str, Any]:
        """Decrypts the values of a credential. Raises CredentialUnreadable."""
        sealed_for = self._decrypted(sealed, name)
        if (sealed_for["tenant_id"], sealed_for["name"]) != (tenant_id, name):
            raise _unreadable(name)
        return dict(sealed_for["values"])

    def has_newest_key(self, sealed: str) -> bool:
        """Whether the first key of the ring decrypts it."""
        return _opened(sealed, self._ring[0]) is not None

    def _decrypted(self, sealed: str, name: str) -> dict[str, Any]:
        for key in self._ring:
            text = _opened(sealed, key)
            if text is not None:
                decrypted: dict[str, Any] = json.loads(text)
                return decrypted
        raise _unreadable(name)

    @cached_property
    def _ring(self) -> list[Fernet]:
        # Imported here: it takes 8 MB, which a worker without credentials does not need.
        from cryptography.fernet import Fernet

        if not self._keys:
            raise CredentialsUnavailable
        ring = []
        for place, key in enumerate(self._keys, 1):
            try:
                ring.append(Fernet(key.get_secret_value()))
            except ValueError:
                raise CredentialsUnavailable(
                    f"key {place} of DIFY_AGENT_SECRET_KEYS is not 32 bytes in URL-safe base64, as credentials need it"
                ) from None
        return ring


def _opened(sealed: str, key: Fernet) -> bytes | None:
    from cryptography.fernet import InvalidToken

    try:
        return key.decrypt(sealed.encode())
    except InvalidToken:
        return None


def _unreadable(name: str) -> CredentialUnreadable:
    return CredentialUnreadable(
        f"no key of DIFY_AGENT_SECRET_KEYS opens the credential '{name}': "
        "add the key that it was stored with, or store it again"
    )
