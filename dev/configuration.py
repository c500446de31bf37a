"""What dev/start adds to the settings the user chose."""

import os

from pydantic import ValidationError

from dev.errors import LaunchError
from dev.state import StateFolder
from settings import ENV_PREFIX, Settings

DEMO_LLM = '{"type": "greenrun.demo_llm", "config": {}}'
# Slowed down, so that a person can see it stream.
SLOW_DEMO_LLM = '{"type": "greenrun.demo_llm", "config": {"delay_ms": 50}}'


LOOPBACK_NAMES = "localhost,127.0.0.1,[::1]"


class UserSettings:
    """What the user chose, in the environment or a .env file, read just as the server reads it.

    Attributes:
        grace_seconds: how long active runs may go on at a stop.
        database_url: where the database is, when the user has one.

    Raises:
        LaunchError: a setting is wrong.
    """

    def __init__(self) -> None:
        try:
            settings = Settings()
        except ValidationError as error:
            raise LaunchError(f"the settings are wrong:\n{error}") from None
        self.grace_seconds = settings.shutdown_grace_seconds
        self.database_url = settings.database_url
        self._chosen = {name for name in settings.model_fields_set if getattr(settings, name) is not None}
        # Also those that are not the server's settings (yet): they must not be overwritten either.
        variables = {name.upper() for name, value in os.environ.items() if value}
        self._chosen |= {name.removeprefix(ENV_PREFIX).lower() for name in variables if name.startswith(ENV_PREFIX)}

    def has(self, name: str) -> bool:
        """Whether the user chose this one, named without the prefix and in lower case."""
        return name in self._chosen


def serve_environment(
    settings: UserSettings, state: StateFolder, redis_url: str | None, *, is_public: bool = False
) -> dict[str, str]:
    """Return gunicorn's environment: ours, and a default for what the user has not set.

    Args:
        redis_url: the private Redis, or None when the user has one.
        is_public: whether other machines can reach it. Then ``/runs`` asks for a token, ours if the user has none.
    """
    defaults = {
        "default_llm": DEMO_LLM,
        "admin_token": state.admin_token(),
        "secret_keys": state.secret_keys(),
        "database_url": state.database_url,
    }
    if is_public:
        if needs_api_token(settings):
            defaults["api_token"] = state.api_token()
    else:  # a page of any other name that leads to this machine is none of ours
        defaults["allowed_hosts"] = LOOPBACK_NAMES
    ours = {name: value for name, value in defaults.items() if not settings.has(name)}
    if redis_url is not None:
        ours["redis_url"] = redis_url
    return {**os.environ, **_variables(ours)}


def needs_api_token(settings: UserSettings) -> bool:
    """Whether the user has set no tokens for ``/runs``."""
    return not settings.has("api_token") and not settings.has("api_token_file")


def demo_environment(state: StateFolder, redis_url: str) -> dict[str, str]:
    """Return gunicorn's environment for a demo, which uses nothing of the user's: no Redis, no model, no key."""
    ours = {
        "redis_url": redis_url,
        "default_llm": SLOW_DEMO_LLM,
        "admin_token": state.admin_token(),
        "api_token": state.admin_token(),
        "secret_keys": state.secret_keys(),
        "database_url": state.database_url,
    }
    others = {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}
    return {**others, **_variables(ours)}


def _variables(settings: dict[str, str]) -> dict[str, str]:
    return {f"{ENV_PREFIX}{name.upper()}": value for name, value in settings.items()}
