"""Who may open the dashboard's feed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.conftest import StartServer, environment
from tests.support.client import DEADLINE_SECONDS, RunClient, prompt, wait_until
from tests.support.feed_client import FeedClient
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer
from tests.support.socket_client import UPGRADE

OPERATOR = "operator-token-of-the-tests"
API_TOKEN = "api-token-of-the-tests"
KEY = "key-of-the-tests-" + "k" * 27
ALLOWED = "https://allowed.example"
CLOCKS_APART = timedelta(seconds=60)


@pytest.fixture(scope="module")
def serving(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[GunicornServer]:
    env = environment(
        redis_server.url,
        daemon.url,
        redis_prefix="feed-access",
        admin_token=OPERATOR,
        api_token=API_TOKEN,
        secret_keys=KEY,
        cors_origins=ALLOWED,
    )
    with running_server(env, workers=2) as server:
        yield server


@pytest.fixture
def operator(serving: GunicornServer) -> RunClient:
    return RunClient(serving.url, token=OPERATOR)


def ask_token(client: RunClient, **options: Any) -> requests.Response:
    return client.session.post(f"{client.url}/events/stream-tokens", timeout=DEADLINE_SECONDS, **options)


def make_token(client: RunClient, **body: Any) -> str:
    response = ask_token(client, json=body)
    assert response.status_code == 201, response.text
    return str(response.json()["token"])


def handshake(url: str, query: str = "", **headers: str) -> tuple[int, str | None]:
    """Tries to open the feed and returns the status and the error code."""
    with requests.Session() as session:
        session.trust_env = False
        with session.get(
            f"{url}/events/ws{query}", headers={**UPGRADE, **headers}, stream=True, timeout=DEADLINE_SECONDS
        ) as response:
            return response.status_code, None if response.status_code == 101 else response.json()["code"]


def test_the_operators_token_opens_the_feed(operator: RunClient) -> None:
    feed = FeedClient(operator.url, token=OPERATOR)

    feed.send({"type": "ping"})

    assert feed.receive() == {"type": "pong"}
    feed.close()


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", f"Bearer {API_TOKEN}", f"Basic {OPERATOR}"])
def test_no_other_authorization_opens_the_feed(serving: GunicornServer, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization is not None else {}

    assert handshake(serving.url, **headers) == (401, "unauthorized")


def test_the_feed_is_closed_where_no_token_is_configured(start_server: StartServer) -> None:
    server = start_server()

    assert handshake(server.url) == (401, "unauthorized")
    assert handshake(server.url, "?token=any") == (401, "invalid_token")
    assert handshake(server.url, Authorization="Bearer ") == (401, "unauthorized")
    assert ask_token(RunClient(server.url)).status_code == 401


def test_a_stream_token_opens_the_feed_on_every_worker(operator: RunClient) -> None:
    made = ask_token(operator, json={"ttl_seconds": 600})
    token = make_token(operator)

    assert set(made.json()) == {"token", "expires_at"}
    assert made.headers["Cache-Control"] == "no-store"
    remaining = datetime.fromisoformat(made.json()["expires_at"]) - datetime.now(UTC)
    assert abs(remaining - timedelta(minutes=10)) < CLOCKS_APART
    assert [handshake(operator.url, f"?token={token}")[0] for _ in range(10)] == [101] * 10


def test_a_token_of_a_run_does_not_open_the_feed_nor_the_other_way_round(serving: GunicornServer) -> None:
    client = RunClient(serving.url, token=API_TOKEN)
    run_id = client.create(prompt())
    of_run = client.session.post(f"{client.url}/runs/{run_id}/stream-tokens", timeout=30).json()["token"]
    of_feed = make_token(RunClient(serving.url, token=OPERATOR))

    refused = requests.get(f"{client.url}/runs/{run_id}", params={"token": of_feed}, timeout=30)

    assert handshake(serving.url, f"?token={of_run}") == (401, "invalid_token")
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")


def test_an_expired_or_broken_stream_token_is_refused(operator: RunClient) -> None:
    token = make_token(operator, ttl_seconds=1)

    wait_until(lambda: handshake(operator.url, f"?token={token}")[0] == 401)

    for wrong in (token, "", "x", token[:-1], make_token(operator) + "A"):
        assert handshake(operator.url, f"?token={wrong}") == (401, "invalid_token")
    assert handshake(operator.url, "?token=x", Authorization=f"Bearer {OPERATOR}") == (401, "invalid_token")


def test_a_stream_token_makes_no_stream_tokens(operator: RunClient) -> None:
    token = make_token(operator)

    refused = ask_token(RunClient(operator.url), params={"token": token})

    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert ask_token(RunClient(operator.url, token=API_TOKEN)).status_code == 401


def test_an_invalid_lifetime_is_refused(operator: RunClient) -> None:
    refused = ask_token(operator, json={"ttl_seconds": 3601})

    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_param")
    assert refused.json()["detail"][0]["loc"] == ["body", "ttl_seconds"]


def test_without_a_key_ring_there_are_no_stream_tokens(start_server: StartServer) -> None:
    server = start_server(admin_token=OPERATOR)

    refused = ask_token(RunClient(server.url, token=OPERATOR))

    assert (refused.status_code, refused.json()["code"]) == (503, "stream_tokens_unavailable")


@pytest.mark.parametrize(
    ("origin", "status"),
    [("same", 101), (ALLOWED, 101), ("https://other.example", 403), ("null", 403)],
)
def test_only_pages_of_known_origins_may_open_it_with_the_operators_token(
    operator: RunClient, origin: str, status: int
) -> None:
    sent = operator.url if origin == "same" else origin

    assert handshake(operator.url, Origin=sent, Authorization=f"Bearer {OPERATOR}")[0] == status
    assert handshake(operator.url, f"?token={make_token(operator)}", Origin=sent)[0] == 101


def test_pages_of_allowed_origins_may_ask_for_a_stream_token(operator: RunClient) -> None:
    url, headers = f"{operator.url}/events/stream-tokens", {"Origin": ALLOWED}

    preflight = requests.options(url, headers={**headers, "Access-Control-Request-Method": "POST"}, timeout=30)
    answer = operator.session.post(url, headers=headers, timeout=30)

    assert preflight.status_code == 204
    assert answer.status_code == 201
    for response in (preflight, answer):
        assert response.headers["Access-Control-Allow-Origin"] == ALLOWED
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_a_request_without_a_handshake_gets_upgrade_required(operator: RunClient) -> None:
    response = operator.session.get(f"{operator.url}/events/ws", timeout=30)

    assert (response.status_code, response.json()["code"]) == (426, "upgrade_required")
    assert response.headers["Upgrade"] == "websocket"
