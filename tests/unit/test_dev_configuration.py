"""Which settings dev/start adds, and which it leaves to the user."""

import os
from pathlib import Path

import pytest

from dev.configuration import DEMO_LLM, LOOPBACK_NAMES, UserSettings, demo_environment, serve_environment
from dev.errors import LaunchError
from dev.state import StateFolder
from dev.web_server import Address

PRIVATE = "unix:///private.sock"


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("DIFY_AGENT_"):
            monkeypatch.delenv(name)
    return tmp_path


def test_a_fresh_machine_gets_the_private_redis_the_demo_model_and_secrets(state: StateFolder) -> None:
    environment = serve_environment(UserSettings(), state, PRIVATE)

    assert environment["DIFY_AGENT_REDIS_URL"] == PRIVATE
    assert environment["DIFY_AGENT_DEFAULT_LLM"] == DEMO_LLM
    assert environment["DIFY_AGENT_ADMIN_TOKEN"] == state.admin_token()
    assert environment["DIFY_AGENT_SECRET_KEYS"] == state.secret_keys()
    assert environment["DIFY_AGENT_DATABASE_URL"] == state.database_url


def test_a_server_of_this_machine_alone_is_called_by_its_names(state: StateFolder) -> None:
    environment = serve_environment(UserSettings(), state, PRIVATE, is_public=False)

    assert environment["DIFY_AGENT_ALLOWED_HOSTS"] == LOOPBACK_NAMES
    assert "DIFY_AGENT_API_TOKEN" not in environment


def test_a_server_that_other_machines_can_reach_asks_for_a_token(state: StateFolder) -> None:
    environment = serve_environment(UserSettings(), state, PRIVATE, is_public=True)

    assert environment["DIFY_AGENT_API_TOKEN"] == state.api_token()
    assert "DIFY_AGENT_ALLOWED_HOSTS" not in environment


@pytest.mark.parametrize("name", ["DIFY_AGENT_API_TOKEN", "DIFY_AGENT_API_TOKEN_FILE"])
def test_a_token_that_the_user_has_set_is_the_only_one(
    name: str, state: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokens").write_text("mine")
    monkeypatch.setenv(name, str(tmp_path / "tokens"))

    environment = serve_environment(UserSettings(), state, PRIVATE, is_public=True)

    assert environment.get("DIFY_AGENT_API_TOKEN", "") != state.api_token()


@pytest.mark.parametrize(
    ("host", "is_public"),
    [("127.0.0.1", False), ("localhost", False), ("::1", False), ("192.0.2.1", True), ("::", True)],
)
def test_a_server_that_listens_beyond_loopback_is_reachable_by_others(host: str, is_public: bool) -> None:
    assert Address(host, 5050).is_public is is_public


def test_what_the_environment_sets_is_left_alone(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = '{"type": "another.llm"}'
    monkeypatch.setenv("DIFY_AGENT_DEFAULT_LLM", llm)
    monkeypatch.setenv("DIFY_AGENT_ADMIN_TOKEN", "mine")

    environment = serve_environment(UserSettings(), state, PRIVATE)

    assert environment["DIFY_AGENT_DEFAULT_LLM"] == llm
    assert environment["DIFY_AGENT_ADMIN_TOKEN"] == "mine"


def test_what_a_dotenv_file_sets_is_left_to_the_server_to_read(state: StateFolder, folder: Path) -> None:
    (folder / ".env").write_text('DIFY_AGENT_REDIS_URL=redis://mine:1/0\nDIFY_AGENT_DEFAULT_LLM={"type": "a.b"}\n')

    settings = UserSettings()
    environment = serve_environment(settings, state, None)

    assert settings.has("redis_url")
    assert "DIFY_AGENT_REDIS_URL" not in environment
    assert "DIFY_AGENT_DEFAULT_LLM" not in environment


def test_an_empty_setting_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFY_AGENT_REDIS_URL", "")

    assert not UserSettings().has("redis_url")


def test_a_variable_of_another_program_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "of something else")

    assert not UserSettings().has("admin_token")


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFY_AGENT_SHUTDOWN_GRACE_SECONDS", "soon")

    with pytest.raises(LaunchError, match=r"(?i)shutdown_grace_seconds"):
        UserSettings()


def test_the_demo_uses_nothing_of_the_users(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFY_AGENT_REDIS_URL", "redis://mine:1/0")
    monkeypatch.setenv("DIFY_AGENT_DEFAULT_LLM", '{"type": "a.paid_one"}')
    monkeypatch.setenv("DIFY_AGENT_PLUGIN_DAEMON_API_KEY", "secret")

    environment = demo_environment(state, PRIVATE)

    assert environment["DIFY_AGENT_REDIS_URL"] == PRIVATE
    assert "greenrun.demo_llm" in environment["DIFY_AGENT_DEFAULT_LLM"]
    assert "DIFY_AGENT_PLUGIN_DAEMON_API_KEY" not in environment
