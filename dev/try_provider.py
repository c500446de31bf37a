"""What dev/try-provider does once .venv exists: tries a model with ten small requests, and shows which ones hold."""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from dev.errors import LaunchError, StopRequested
from dev.fresh_server import fresh_server
from dev.launcher import INTERRUPTED
from dev.run_client import RunClient
from dev.stop_signals import StopSignals
from dev.terminal import say
from dev.trial import NoModel, NotHeld, Trial
from dev.trial_checks import BOXES, CHECKS
from dev.web_server import Address
from settings import PROVIDERS

KEY_VARIABLE = "GREENRUN_TRY_API_KEY"
FAMILIES = ("openai", "openai-responses", "anthropic", "google")
ALL_HOLD, NOT_ALL_HOLD, NOT_TRIED = 0, 1, 2

SERVER = {
    "wire_dialect": "current",
    "delta_merging": "off",
    "allow_private_urls": "true",
    "allowed_providers": ",".join(PROVIDERS),
    "mcp_commands": json.dumps({BOXES: [sys.executable, "-m", "dev.trial_boxes"]}),
}
"""Of our own server: every chunk is an event, and the model's server may be on this machine."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when all hold, 1 when some do not, 2 when nothing could be tried, 130 after Ctrl-C."""
    options = _options(arguments)
    key = _api_key()
    signals = StopSignals()
    signals.install()
    config = _config(options, key)
    try:
        with (
            fresh_server(Address("127.0.0.1", 0), signals, settings=SERVER) as server,
            RunClient(server.url, server.token) as client,
        ):
            say(f"\n{config['model']} at {options.url or 'the address of its provider'}\n")
            trial = Trial(client, config, thinking=options.thinking, seconds=options.timeout)
            held = _try_all(trial)
    except LaunchError as error:
        print(f"dev/try-provider: {error}", file=sys.stderr)
        return NOT_TRIED
    except StopRequested:
        return INTERRUPTED
    say(f"\n{held} of {len(CHECKS)} hold.")
    return ALL_HOLD if held == len(CHECKS) else NOT_ALL_HOLD


def _try_all(trial: Trial) -> int:
    """Prints the table, a row as each request is done. Returns how many hold."""
    held = 0
    without_model = False
    width = max(map(len, CHECKS))
    for name, check in CHECKS.items():
        if without_model:
            verdict, told = "-", "not tried"
        else:
            try:
                verdict, told = "yes", check(trial)
                held += 1
            except NotHeld as problem:
                verdict, told = "NO", str(problem)
                without_model = isinstance(problem, NoModel)
        say(f"  {name:{width}}  {verdict:3}  {told}")
    return held


def _config(options: argparse.Namespace, key: str) -> dict[str, Any]:
    """Returns the config of the layer ``greenrun.llm``."""
    config: dict[str, Any] = {**options.config, "model": f"{options.family}:{options.model}"}
    if options.url is not None:
        config["base_url"] = options.url
    if key:
        config["credentials"] = {"api_key": key}
    return config


def _api_key() -> str:
    """Returns the key from the environment, which it is removed from, or asks for it; empty for none."""
    key = os.environ.pop(KEY_VARIABLE, None)
    if key is None and sys.stdin.isatty():
        key = getpass.getpass("API key (empty for none): ")
    return (key or "").strip()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev/try-provider",
        description="Make ten small requests to a model server, through a Greenrun that is started for it, and print "
        f"what holds. The API key is asked for, or taken from {KEY_VARIABLE}.",
    )
    parser.add_argument("family", choices=FAMILIES, help="whose API the server speaks")
    parser.add_argument("model", help="the model's name on that server")
    parser.add_argument(
        "--url", help="where the API is, such as http://localhost:11434/v1 (default: the provider's own)"
    )
    parser.add_argument(
        "--thinking", type=_object, default={}, metavar="JSON", help="what to add to the body to make the model think"
    )
    parser.add_argument(
        "--config", type=_object, default={}, metavar="JSON", help="more of the config of greenrun.llm; never a key"
    )
    parser.add_argument(
        "--timeout", type=float, default=120, metavar="SECONDS", help="for each request (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    if "credentials" in options.config or "fallback_models" in options.config:
        parser.error(f"--config takes neither credentials nor fallback_models; the key goes into {KEY_VARIABLE}")
    return options


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError
    return value


if __name__ == "__main__":
    sys.exit(main())
