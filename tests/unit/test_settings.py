"""The settings: where they come from and which values they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from runtime.llm.providers import FAMILIES
from settings import PROVIDERS, Settings

TENANT_LIMITS = ("ACTIVE_RUNS", "WAITING_RUNS", "RUNS_PER_MINUTE", "STREAMS")


@pytest.fixture(autouse=True)
def clean_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_environment_wins_over_env_files_and_the_nearer_file_over_difys(
    clean_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clean_place / "dify-agent").mkdir()
    (clean_place / "dify-agent/.env").write_text(
        "DIFY_AGENT_REDIS_PREFIX=far\nDIFY_AGENT_LOG_LEVEL=ERROR\nDIFY_AGENT_MAX_ACTIVE_RUNS=7\nOTHER=ignored\n"
    )
    (clean_place / ".env").write_text("DIFY_AGENT_REDIS_PREFIX=near\nDIFY_AGENT_LOG_LEVEL=WARNING\n")
    monkeypatch.setenv("DIFY_AGENT_REDIS_PREFIX", "environment")

    settings = Settings()

    assert settings.redis_prefix == "environment"
    assert settings.log_level == "WARNING"
    assert settings.max_active_runs == 7


def test_the_later_names_of_the_transport_settings_work_and_the_older_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFY_AGENT_OUTBOUND_HTTP_READ_TIMEOUT", "1")
    monkeypatch.setenv("DIFY_AGENT_OUTBOUND_HTTP_MAX_CONNECTIONS", "2")
    monkeypatch.setenv("DIFY_AGENT_PLUGIN_DAEMON_MAX_CONNECTIONS", "3")

    settings = Settings()

    assert settings.plugin_daemon_read_timeout == 1
    assert settings.plugin_daemon_max_connections == 3


@pytest.mark.parametrize("name", ["PLUGIN_DAEMON", "OUTBOUND_HTTP"])
def test_the_pool_timeout_counts_only_when_it_is_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert Settings().plugin_daemon_pool_timeout == 10
    assert Settings().explicit_pool_timeout is None

    monkeypatch.setenv(f"DIFY_AGENT_{name}_POOL_TIMEOUT", "10")

    assert Settings().explicit_pool_timeout == 10


def test_tokens_are_a_list_and_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFY_AGENT_API_TOKEN", "first-token, second-token")
    monkeypatch.setenv("DIFY_AGENT_DEFAULT_LLM", '{"type": "x", "config": {"api_key": "third-token"}}')
    monkeypatch.setenv("DIFY_AGENT_REDIS_URL", "redis://:fourth-token@localhost/0")

    settings = Settings()

    assert [token.get_secret_value() for token in settings.api_tokens] == ["first-token", "second-token"]
    assert "-token" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_TOKEN", ","),
        ("REDIS_URL", "http://localhost"),
        ("RUN_RETENTION_SECONDS", "0"),
        ("SHUTDOWN_GRACE_SECONDS", "-1"),
        ("PLUGIN_DAEMON_MAX_CONNECTIONS", "0"),
        ("PLUGIN_DAEMON_READ_TIMEOUT", "-1"),
        ("WIRE_DIALECT", "2020-01-01"),
        ("EVENT_LOOP", "uvloop"),
        ("MAX_ACTIVE_RUNS", "many"),
        ("MAX_SESSION_QUEUE", "0"),
        ("MAX_SESSION_QUEUE", "many"),
        *((f"MAX_TENANT_{name}", value) for name in TENANT_LIMITS for value in ("-1", "1.5", "many", "10/50")),
        ("DEFAULT_LLM", '{"config": {}}'),
        ("ALLOWED_PROVIDERS", "openai,nobody"),
        ("ALLOWED_PROVIDERS", "[openai]"),
        ("ALLOW_PRIVATE_URLS", "perhaps"),
        ("SECRET_KEYS", " , "),
        ("CORS_ORIGINS", "app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com/"),
        ("CORS_ORIGINS", "https://App.example.com"),
        ("CORS_ORIGINS", "*,https://app.example.com"),
        ("CORS_ORIGINS", "https://*.example.com"),
        ("CORS_ORIGINS", "null"),
    ],
)
def test_a_value_that_cannot_work_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"DIFY_AGENT_{name}", value)

    with pytest.raises(ValidationError) as refused:
        Settings()

    assert name.lower() in str(refused.value).lower()


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFY_AGENT_REDIS_PREFIX", "")

    assert Settings().redis_prefix == "dify-agent"


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("openai", {"openai"}),
        ("openai, google", {"openai", "google"}),
        ('["anthropic"]', {"anthropic"}),
        ("[]", set()),
    ],
)
def test_allowed_providers_are_names_between_commas_or_a_json_list(
    monkeypatch: pytest.MonkeyPatch, value: str, names: set[str]
) -> None:
    monkeypatch.setenv("DIFY_AGENT_ALLOWED_PROVIDERS", value)

    assert Settings().allowed_provider_names == names


def test_every_provider_is_allowed_by_default() -> None:
    assert {family.name for family in FAMILIES.values()} == set(PROVIDERS) == Settings().allowed_provider_names


def test_nobody_is_the_operator_until_there_is_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().admin_tokens == []

    monkeypatch.setenv("DIFY_AGENT_ADMIN_TOKEN", "first-token, second-token")

    assert [token.get_secret_value() for token in Settings().admin_tokens] == ["first-token", "second-token"]
    assert "first-token" not in repr(Settings())


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("", set()),
        (" * ", {"*"}),
        ("https://app.example.com", {"https://app.example.com"}),
        ("http://localhost:3000, https://app.example.com,", {"http://localhost:3000", "https://app.example.com"}),
        ("http://[::1]:3000", {"http://[::1]:3000"}),
        ("chrome-extension://abcdef", {"chrome-extension://abcdef"}),
    ],
)
def test_origins_are_a_list_or_a_star(monkeypatch: pytest.MonkeyPatch, value: str, origins: set[str]) -> None:
    monkeypatch.setenv("DIFY_AGENT_CORS_ORIGINS", value)

    assert Settings().allowed_origins == origins


@pytest.mark.parametrize("url", ["unix:///run/redis.sock", "redis://localhost:6379/1"])
def test_a_cluster_has_no_unix_socket_and_no_databases(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DIFY_AGENT_REDIS_URL", url)
    assert not Settings().redis_cluster
    monkeypatch.setenv("DIFY_AGENT_REDIS_CLUSTER", "true")

    with pytest.raises(ValidationError, match="DIFY_AGENT_REDIS_CLUSTER takes"):
        Settings()


def test_the_key_ring_keeps_its_order_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFY_AGENT_SECRET_KEYS", "newest-key, older-key")

    settings = Settings()

    assert [key.get_secret_value() for key in settings.key_ring] == ["newest-key", "older-key"]
    assert "-key" not in repr(settings)
