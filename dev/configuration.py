"""The settings that dev/start adds to those that the user chose."""

import os

from pydantic import ValidationError

from dev.errors import LaunchError
from dev.state import StateFolder
from settings import ENV_PREFIX, Settings

DEMO_LLM = '{"type": "greenrun.demo_llm", "config": {}}'
# Slow enough for a person to see it stream.
SLOW_DEMO_LLM = '{"type": "greenrun.demo_llm", "config": {"delay_ms": 50}}'


LOOPBACK_NAMES = "localhost,127.0.0.1,[::1]"


class UserSettings:
    """The settings that the user chose, in the environment or a .env file, read exactly as the server reads them.

    ``grace_seconds`` is how long active runs may go on at a stop. ``database_url`` is the address of the user's
    database, if they have one. Raises LaunchError when a setting is wrong.
    """

    def __init__(self) -> None:
        try:
            settings = Settings()
        except ValidationError as error:
            raise LaunchError(f"the settings are wrong:\n{error}") from None
        self.grace_seconds = settings.shutdown_grace_seconds
        self.database_url = settings.database_url
        self._chosen = {name for name in settings.model_fields_set if getattr(settings, name) is not None}
        # This includes names that are not (yet) settings of the server: they must not be overwritten either.
        variables = {name.upper() for name, value in os.environ.items() if value}
        self._chosen |= {name.removeprefix(ENV_PREFIX).lower() for name in variables if name.startswith(ENV_PREFIX)}

    def has(self, name: str) -> bool:
        """Returns whether the user chose this setting, named without the prefix and in lower case."""
        return name in self._chosen


def serve_environment(
    settings: UserSettings, state: StateFolder, redis_url: str | None, *, is_public: bool = False
) -> dict[str, str]:
    """Returns gunicorn's environment: our values, and a default for each setting that the user has not set.

    ``redis_url`` is that of the private Redis, or None when the user has their own. ``is_public`` says whether other
    machines can reach the server. Then ``/runs`` requires a token, which is ours if the user has none.
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
    else:  # a page with any other host name that leads to this machine is not ours
        defaults["allowed_hosts"] = LOOPBACK_NAMES
    ours = {name: value for name, value in defaults.items() if not settings.has(name)}
    if redis_url is not None:
        ours["redis_url"] = redis_url
    return {**os.environ, **_variables(ours)}


def needs_api_token(settings: UserSettings) -> bool:
    """Returns whether the user has set no tokens for ``/runs``."""
    return not settings.has("api_token") and not settings.has("api_token_file")


def demo_environment(state: StateFolder, redis_url: str, **settings: str) -> dict[str, str]:
    """Returns gunicorn's environment for a demo, which uses nothing of the user's: no Redis, no model, no key.

    ``settings`` are added to what all demos have.
    """
    ours = {
        "redis_url": redis_url,
        "default_llm": SLOW_DEMO_LLM,
        "admin_token": state.admin_token(),
        "api_token": state.admin_token(),
        "secret_keys": state.secret_keys(),
        "database_url": state.database_url,
    }
    others = {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}
    return {**others, **_variables({**ours, **settings})}


def _variables(settings: dict[str, str]) -> dict[str, str]:
    return {f"{ENV_PREFIX}{name.upper()}": value for name, value in settings.items()}
