"""What dev/start does once .venv exists: serves until it is stopped, or shows the demo."""

import argparse
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from dev.configuration import UserSettings, needs_api_token, serve_environment
from dev.database import demo_agent, migrate, workspace_key
from dev.demo import PROMPT, RUN, show_run
from dev.errors import LaunchError, StopRequested
from dev.fresh_server import fresh_server
from dev.private_redis import PrivateRedis, private_redis
from dev.state import StateFolder
from dev.stop_signals import POLL_SECONDS, StopSignals
from dev.terminal import say
from dev.web_server import MARGIN_SECONDS, Address, WebServer, web_server

CHECKOUT = Path(__file__).parent.parent
INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C


def main() -> int:
    """Returns the exit code: 0 after an ordinary stop, 1 when something went wrong, 130 for an interrupted demo."""
    options = _options()
    signals = StopSignals()
    signals.install()
    try:
        if options.demo:
            demo(Address(options.host, options.port), options.workers, signals)
        else:
            serve(Address(options.host, options.port), options.workers, signals)
    except LaunchError as error:
        print(f"dev/start: {error}", file=sys.stderr)
        return 1
    except StopRequested:
        return INTERRUPTED if options.demo else 0
    return 0


def serve(address: Address, workers: int, signals: StopSignals) -> None:
    """Serves with the state folder of the checkout until a signal comes.

    Raises LaunchError when it cannot start, or when a part of it ended by itself.
    """
    state = StateFolder(CHECKOUT / ".greenrun")
    settings = UserSettings()
    grace = settings.grace_seconds
    with state.locked(), ExitStack() as running:
        redis = None
        if not settings.has("redis_url"):
            say("Starting a private Redis ...")
            redis = running.enter_context(private_redis(state, signals, grace + MARGIN_SECONDS))
        has_own_database = not settings.has("database_url")
        state.forget_lost_database()
        say("Bringing the database up to date ...")
        migrate(state.database_url if has_own_database else settings.database_url)
        key = workspace_key(state) if has_own_database else None
        agent_id = demo_agent(state) if has_own_database else None
        url = redis.url if redis else None
        environment = serve_environment(settings, state, url, is_public=address.is_public)
        say("Starting gunicorn ...")
        server = running.enter_context(
            web_server(
                address,
                workers=workers,
                environment=environment,
                log=state.server_log,
                signals=signals,
                grace=grace,
                keep_fds=(redis.lease,) if redis else (),
            )
        )
        say(_welcome(server, state, settings, redis, key, agent_id))
        _watch(server, redis, signals)
        say(f"\nStopping: active runs may take up to {grace:.0f} s; Ctrl-C again hurries.")
    say(server.new_log_text() + "Stopped.")


def demo(address: Address, workers: int, signals: StopSignals) -> None:
    """Starts with a fresh state on a free port, shows one run streaming, and stops everything.

    Raises LaunchError when anything is not as promised, and StopRequested when a signal came.
    """
    with fresh_server(address, signals, workers=workers) as server:
        show_run(server.url, server.token)
    say("Stopped. Start it for yourself with: dev/start")


def _watch(server: WebServer, redis: PrivateRedis | None, signals: StopSignals) -> None:
    """Shows the server's log until a signal comes."""
    while not signals.count:
        say(server.new_log_text(), end="")
        if not server.is_running():
            raise LaunchError("gunicorn ended by itself")
        if redis is not None and not redis.is_running():
            raise LaunchError("the private Redis ended by itself; see .greenrun/logs/redis.log")
        time.sleep(POLL_SECONDS)


def _welcome(
    server: WebServer,
    state: StateFolder,
    settings: UserSettings,
    redis: PrivateRedis | None,
    key: str | None,
    agent_id: str | None,
) -> str:
    url = server.address.url
    lines = [f"Greenrun serves on {url}"]
    bearer = ""
    if not needs_api_token(settings):
        bearer = " -H 'Authorization: Bearer <one of DIFY_AGENT_API_TOKEN>'"
    elif server.address.is_public:
        bearer = f" -H 'Authorization: Bearer {state.api_token()}'"
        lines.append(f"API token: {state.api_token()}  (other machines can reach {server.address.bind};")
        lines.append(f"           kept in {state.api_token_file})")
    if redis is None:
        lines.append("Redis: the one of DIFY_AGENT_REDIS_URL")
    else:
        lines.append(f"Redis: a private one, its data in {state.redis_data}")
    if redis is not None and redis.socket.parent != state.path:
        lines.append(f"       (its socket is {redis.socket}: the path of this checkout is too long for one)")
    if settings.has("admin_token"):
        lines.append("Admin token: as set in DIFY_AGENT_ADMIN_TOKEN")
    else:
        lines.append(f"Admin token: {state.admin_token()}  (kept in {state.admin_token_file})")
    if key is None:
        lines.append("Database: as set in DIFY_AGENT_DATABASE_URL; flask --app app keys makes keys for it")
    else:
        lines.append(f"Workspace key: {key}  (kept in {state.workspace_key_file})")
    lines += [
        f"Log: {state.server_log}",
        "",
        f"Open {url}/example in a browser, or post a run and watch it stream:",
        f"  curl{bearer} -H 'Content-Type: application/json' {url}/runs -d '{json.dumps(RUN)}'",
        f"  curl{bearer} -N {url}/runs/<run_id>/events/sse",
    ]
    if key is not None and agent_id is not None:
        body = json.dumps({"query": PROMPT})
        bearer = f"-H 'Authorization: Bearer {key}'"
        lines += [
            "",
            "Or run the demo agent, which only the key may watch:",
            f"  curl {bearer} -H 'Content-Type: application/json' {url}/agents/{agent_id}/runs -d '{body}'",
            f"  curl {bearer} -N {url}/runs/<run_id>/events/sse",
        ]
    return "\n".join([*lines, "", "Ctrl-C stops it."])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev/start",
        description="Serve Greenrun on this machine, with a private Redis unless DIFY_AGENT_REDIS_URL is set.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=5050, help="port to listen on (default: %(default)s)")
    parser.add_argument("--workers", type=_positive, default=1, help="gunicorn workers (default: %(default)s)")
    parser.add_argument(
        "--demo",
        action="store_true",
        help="start with a fresh state (on another port if this one is taken), show a run streaming, and stop",
    )
    return parser.parse_args()


def _port(text: str) -> int:
    if not 1 <= int(text) <= 65535:
        raise ValueError
    return int(text)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
