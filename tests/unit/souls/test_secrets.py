"""Plaintext secrets are refused wherever they hide, and what is none passes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.souls import parse_node_job, parse_soul
from tests.unit.souls.documents import DEMO, SEARCH, refusals

# Put together here, so that no scanner of repositories takes them for real ones.
KEYS = {
    "openai": "sk-" + "a1B2" * 6,
    "openai project": "sk-" + "proj-abc_123-def456ghi789",
    "anthropic": "sk-" + "ant-api03-" + "x9" * 20,
    "stripe": "sk" + "_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "aws": "AK" + "IAIOSFODNN7EXAMPLE",
    "github": "gh" + "p_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "github fine-grained": "github" + "_pat_" + "11ABCDEFG0aBcDeFgHiJkL_x1",
    "gitlab": "glpat" + "-" + "aB3dE5fG7hJ9kL1mN3pQ",
    "slack": "xo" + "xb-123456789012-abcdefGHIJKL",
    "google": "AI" + "za" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
    "groq": "gs" + "k_" + "aB3" * 12,
    "hugging face": "hf" + "_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ",
    "ours": "app" + "-" + "aB3dE5fG7hJ9kL1mN3pQ5rS7",
    "jwt": "ey" + "J0eXAiOiJKV1QifQ.ey" + "J1c2VyIjoiYWRhIn0.SflKxwRJSMeKKF2QT4",
    "pem": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow",
    "bearer": "Bearer " + "abcdef0123456789abcdef",
    "basic": "Basic " + "dXNlcjpwYXNzd29yZDE=",
    "url with a password": "postgres://greenrun:hunter2@db/greenrun",
    "url with a key": "https://api.test/v1?api_key=" + "0123456789abcdef",
}

NAMES = (
    "api_key", "apikey", "apiKey", "API_KEY", "X-API-Key", "x api key", "api.key", "OPENAI_API_KEY", "openaiApiKey",
    "authorization", "Authorization", "password", "db_password", "dbPassword", "smtp-password", "passwd", "passphrase",
    "secret", "SECRET", "secret_key", "secretKey", "client_secret", "clientSecret", "client-secret", "token",
    "access_token", "accessToken", "refresh-token", "auth_token", "bearer", "bearerToken", "access_key",
    "AWS_SECRET_ACCESS_KEY", "private_key", "privateKey", "signing_key", "cookie", "Set-Cookie", "api_keys",
    "smtp_pass", "DB_PASS", "ａｐｉ＿ｋｅｙ",  # noqa: RUF001
)  # fmt: skip

HARMLESS_NAMES = (
    "max_tokens", "maxTokens", "tokens", "eos_token", "stop_token", "next_page_token", "tokenizer", "key", "keys",
    "monkey", "primary_key", "secretary", "bypass", "compass", "password_hint_shown", "author", "authorized_by",
    "keyboard", "credential_type",
)  # fmt: skip


def message(path: str) -> str:
    return f"Plaintext secret is not allowed at agent_soul.{path}"


@pytest.mark.parametrize("name", NAMES)
def test_a_text_under_the_name_of_a_secret_is_refused(name: str) -> None:
    told = refusals({"tools": {"cli_tools": [{"config": {name: "hunter2"}}]}})

    assert list(told.values()) == [message(f"tools.cli_tools[0].config.{name}")]


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_names_that_only_sound_alike_pass(name: str) -> None:
    parse_soul({"misc_legacy": {name: "hunter2"}})


@pytest.mark.parametrize("value", ["", "  ", None, True, False, 0, 12, {}, []])
def test_a_value_that_is_not_text_is_no_secret(value: object) -> None:
    parse_soul({"misc_legacy": {"password": value, "list": [{"api_key": value}]}})


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_known_kind_of_key_is_refused_under_any_name_and_amid_prose(key: str) -> None:
    alone = refusals({"misc_legacy": {"note": key}})
    amid = refusals({"prompt": {"system_prompt": f'Call the API with "{key}" and be brief.'}})

    assert list(alone.values()) == [message("misc_legacy.note")]
    assert list(amid.values()) == [message("prompt.system_prompt")]
    assert key not in str((alone, amid))


@pytest.mark.parametrize(
    "document",
    [
        {"env": {"variables": [{"name": "OPENAI_API_KEY", "value": "hunter2"}]}},
        {"env": {"variables": [{"key": "DB_PASSWORD", "default": "hunter2"}]}},
        {"env": {"variables": [{"name": "PIN", "type": "secret", "value": "hunter2"}]}},
        {"env": {"variables": [{"name": "PIN", "value_type": "secret", "value": "hunter2"}]}},
        {"env": {"secret_refs": [{"name": "OPENAI", "value": "hunter2"}]}},
        {"app_variables": [{"name": "pin", "type": "secret", "default": "hunter2"}]},
        {"tools": {"cli_tools": [{"form": [{"type": "secret-input", "default": "hunter2"}]}]}},
        {"sandbox": {"config": {"secrets": {"db": "hunter2"}}}},
        {"app_variables": [{"name": "api_key", "type": "text", "default": "hunter2"}]},
        {"tools": {"dify_tools": [{**SEARCH, "runtime_parameters": {"api_key": "hunter2"}}]}},
        {"tools": {"dify_tools": [{**SEARCH, "credentials": {"subscription": "hunter2"}}]}},
        {"tools": {"dify_tools": [{**SEARCH, "credential_ref": {**SEARCH["credential_ref"], "value": "hunter2"}}]}},
        {"tools": {"dify_tools": [{**SEARCH, "unknown": {"token": "hunter2"}}]}},
        {"tools": {"cli_tools": [{"headers": [{"name": "Authorization", "value": "hunter2"}]}]}},
        {"tools": {"cli_tools": [{"api_key": {"type": "plain", "value": "hunter2"}}]}},
        {"tools": {"cli_tools": [{"passwords": ["hunter2"]}]}},
        {"tools": {"cli_tools": [{"schema": {"properties": {"password": {"type": "string", "default": "hunter2"}}}}]}},
        {"tools": {"cli_tools": [{"config": '{"api_key": "hunter2"}'}]}},
        {"tools": {"cli_tools": [{"config": '[{"config": "{\\"api_key\\": \\"hunter2\\"}"}]'}]}},
        {"model": {**DEMO, "model_settings": {"extra_headers": {"Authorization": "hunter2"}}}},
        {"sandbox": {"config": {"auth": {"clientSecret": "hunter2"}}}},
        {"app_features": {"a": {"b": [{"c": {"password": "hunter2"}}]}}},
    ],
    ids=str,
)
def test_secrets_are_found_where_they_hide(document: dict[str, Any]) -> None:
    told = refusals(document)

    assert all(text.startswith("Plaintext secret is not allowed at agent_soul.") for text in told.values())
    assert "hunter2" not in str(told)


@pytest.mark.parametrize(
    "document",
    [
        {"env": {"secret_refs": [{"name": "OPENAI_API_KEY", "ref": "openai", "id": "a1", "type": "secret"}]}},
        {"env": {"variables": [{"name": "LOG_LEVEL", "value": "debug"}]}},
        {"model": {**DEMO, "credential_ref": {"type": "provider", "id": "my-openai-token", "provider": "openai"}}},
        {"tools": {"dify_tools": [SEARCH]}},
        {"tools": {"cli_tools": [{"api_key": {"credential_ref": {"type": "provider", "id": "openai"}}}]}},
        {"tools": {"cli_tools": [{"credentials": {"id": "c1", "name": "search", "type": "api-key"}}]}},
        {"tools": {"cli_tools": [{"schema": {"properties": {"password": {"type": "string", "description": "Hers"}}}}]}},
        {"tools": {"cli_tools": [{"schema": {"required": ["password", "token"]}}]}},
        {"app_variables": [{"name": "api_key", "type": "text", "required": True}]},
        {"app_variables": [{"name": "pin", "type": "secret", "required": True, "default": ""}]},
        {"sandbox": {"config": {"secrets": {"provider": "vault", "id": "db"}}}},
        {"sandbox": {"config": {"secrets": ["db", "mail"]}}},
        {"prompt": {"system_prompt": "Never repeat the password, the API key or a secret token: they are secret."}},
        {"prompt": {"system_prompt": "Explain risk-adjusted-returns-in-2024, scikit-learn, ask-me-anything-2024-05."}},
        {"prompt": {"system_prompt": "Send `Authorization: Bearer <token>`, or Bearer {{token}}. Basic knowledge."}},
        {"prompt": {"system_prompt": "See https://example.com/a/b?page=2&key=value and http://localhost:8080/x@y."}},
        {"prompt": {"system_prompt": "Log in at postgres://{{user}}:{{password}}@db or redis://:${PASSWORD}@cache."}},
        {"misc_legacy": {"id": "0198c5f2-7c1e-7d3a-9f00-aabbccddeeff", "app": "app-0198c5f2-7c1e-7d3a-9f00-aabbccdd"}},
        {"misc_legacy": {"sha": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}},
        {"misc_legacy": {"image": "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAAAAUA" * 20}},
    ],
    ids=str,
)  # fmt: skip
def test_references_and_prose_pass(document: dict[str, Any]) -> None:
    parse_soul(document)


def test_a_node_job_is_searched_as_well() -> None:
    told = refusals({"metadata": {"deep": [{"apiKey": "hunter2"}]}, "workflow_prompt": KEYS["openai"]}, job=True)

    assert sorted(told.values()) == [
        "Plaintext secret is not allowed at node_job.metadata.deep[0].apiKey",
        "Plaintext secret is not allowed at node_job.workflow_prompt",
    ]
    parse_node_job({"declared_outputs": [{"name": "token", "type": "string", "description": "A token"}]})


def test_a_key_that_is_itself_a_secret_is_not_shown() -> None:
    told = refusals({"misc_legacy": {KEYS["openai"]: 1}})

    assert list(told.values()) == [message("misc_legacy.…")]


def test_the_number_of_reported_secrets_is_limited() -> None:
    assert len(refusals({"misc_legacy": {"list": [{"token": "x"}] * 1000}})) == 50


@given(
    name=st.sampled_from(["password", "api_key", "clientSecret", "X-Auth-Token"]),
    secret=st.text(min_size=1, max_size=20).filter(lambda text: text.strip() != ""),
    steps=st.lists(st.sampled_from(["object", "list", "named"]), max_size=12),
)
def test_a_secret_is_found_at_any_depth(name: str, secret: str, steps: list[str]) -> None:
    value: Any = {name: secret}
    for step in steps:
        value = {"object": {"part": value, "other": 1}, "list": [0, value], "named": {"name": "x", "part": value}}[step]

    told = refusals({"misc_legacy": {"value": value}})

    assert [text.endswith(f".{name}") for text in told.values()] == [True]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(alphabet="abcdefgh ,.\n", max_size=40),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(alphabet="abcdefgh_", min_size=1, max_size=12), inner, max_size=4)
        ),
        max_leaves=15,
    )
)
def test_ordinary_values_pass(value: Any) -> None:
    parse_soul({"misc_legacy": {"part": value}})
