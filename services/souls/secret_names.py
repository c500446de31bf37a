"""The names under which secrets are stored, in every spelling."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_LAST_WORDS = frozenset(
    {"authorization", "bearer", "cookie", "jwt", "pass", "passphrase", "passwd", "password", "pwd", "secret", "token"}
)
"""A name that ends with one of these words is that of a secret: ``refresh_token``, ``smtp-password``."""

_ENDINGS = (
    "accesskey",
    "accesstoken",
    "accountkey",
    "apikey",
    "apikeys",
    "apisecret",
    "apitoken",
    "authkey",
    "authtoken",
    "bearertoken",
    "clientsecret",
    "encryptionkey",
    "passphrase",
    "password",
    "passwords",
    "privatekey",
    "refreshtoken",
    "secretkey",
    "sessiontoken",
    "signingkey",
    "subscriptionkey",
)
"""The same for words that are written together; ``x-api-key`` ends like this too."""

_HARMLESS = frozenset(
    f"{what}_token"
    for what in (
        "bos", "cls", "continuation", "end", "eos", "image", "mask", "max", "min", "next", "next_page", "pad", "page",
        "sep", "special", "start", "stop", "unk",
    )
)  # fmt: skip
"""Tokens of texts and of pages, which are not secret."""

_REFERENCES = frozenset({"credential_ref", "credential_refs", "secret_ref", "secret_refs"})
"""Names of references to secrets: an object below them may have a name and an id, but no value."""

_CREDENTIALS = frozenset({"credential", "credentials", "secrets"})

_SAFE_IN_CREDENTIALS = frozenset(
    {"description", "id", "kind", "label", "name", "provider", "provider_id", "ref", "scope", "title", "type"}
)

_VALUE_NAMES = frozenset(
    {
        "const", "content", "contents", "data", "default", "default_value", "plain", "plain_text", "plaintext", "raw",
        "raw_value", "val", "value", "values",
    }
)  # fmt: skip

_SECRET_TYPES = frozenset({"password", "secret", "secret_input"})

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_LETTER = re.compile(r"[\W_]+")

MAX_NAME_CHARS = 100
"""Longer keys are not names."""


@lru_cache(maxsize=4096)
def normalised(name: str) -> str:
    """Returns the name in lower case, with ``_`` between its words.

    ``X-API-Key``, ``xApiKey`` and ``x api key`` all become ``x_api_key``.
    """
    if len(name) > MAX_NAME_CHARS:
        return ""
    plain = unicodedata.normalize("NFKC", name)
    return _NO_LETTER.sub("_", _HUMP.sub("_", plain)).strip("_").lower()


def names_secret(name: str) -> bool:
    """Whether a value with this name is a secret."""
    words = normalised(name)
    if words in _HARMLESS:
        return False
    return words.rpartition("_")[2] in _LAST_WORDS or words.replace("_", "").endswith(_ENDINGS)


def names_reference(name: str) -> bool:
    """Whether a value with this name refers to a secret and must not be one."""
    return normalised(name) in _REFERENCES


def names_credentials(name: str) -> bool:
    """Whether an object with this name holds credentials, under names of their own."""
    return normalised(name) in _CREDENTIALS


def is_safe_in_credentials(name: str) -> bool:
    """Whether this key of an object of credentials only identifies them."""
    words = normalised(name)
    return words in _SAFE_IN_CREDENTIALS or words.removeprefix("credential_") in _SAFE_IN_CREDENTIALS


def names_value(name: str) -> bool:
    """Whether this is the key under which an object that describes something has its value."""
    return normalised(name) in _VALUE_NAMES


def is_secret_type(name: str) -> bool:
    """Whether something of this type, such as a variable or a field of a form, has a secret as its value."""
    return normalised(name) in _SECRET_TYPES
