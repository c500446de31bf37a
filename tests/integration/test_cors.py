"""Cross-origin requests: pages of the allowed origins may call /runs*, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tests.conftest import StartServer, environment
from tests.support.client import RunClient, prompt
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer

API_TOKEN = "api-token-of-the-tests"
PAGE = "https://app.example.com"
LOCAL_PAGE = "http://localhost:3000"
STRANGERS = [
    "https://evil.example.com",
    "https://app.example.com.evil.example",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com/",
    "HTTPS://APP.EXAMPLE.COM",
    "null",
    "*",
    "",
]
UNKNOWN = "/runs/01a1f884-b753-710d-b464-93120ce7b7ee"
ROUTES = [
    "/runs",
    UNKNOWN,
    f"{UNKNOWN}/cancel",
    f"{UNKNOWN}/stream-tokens",
    f"{UNKNOWN}/events",
    f"{UNKNOWN}/events/sse",
]


@pytest.fixture(scope="module")
def protected(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[GunicornServer]:
    env = environment(redis_server.url, daemon.url, api_token=API_TOKEN, cors_origins=f"{PAGE}, {LOCAL_PAGE}")
    with running_server(env) as server:
        yield server


def preflight(server: GunicornServer, path: str, origin: str, *, method: str = "POST") -> requests.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return server.session.options(server.url + path, headers=headers, timeout=30)


def listed(response: requests.Response, header: str) -> set[str]:
    return {name.strip().lower() for name in response.headers.get(header, "").split(",") if name.strip()}


def cors_headers(response: requests.Response) -> set[str]:
    return {name for name in response.headers if name.lower().startswith("access-control-")}


def assert_allowed(response: requests.Response, origin: str) -> None:
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert listed(response, "Access-Control-Expose-Headers") == {"retry-after", "x-request-id"}
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert "origin" in listed(response, "Vary")


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("origin", [PAGE, LOCAL_PAGE])
def test_a_preflight_is_answered_without_a_token(protected: GunicornServer, path: str, origin: str) -> None:
    response = preflight(protected, path, origin)

    assert response.status_code == 204
    assert_allowed(response, origin)
    assert listed(response, "Access-Control-Allow-Methods") == {"get", "post"}
    assert listed(response, "Access-Control-Allow-Headers") == {
        "authorization",
        "content-type",
        "last-event-id",
        "idempotency-key",
    }


def test_answers_and_streams_can_be_read_by_the_page(protected: GunicornServer) -> None:
    client = RunClient(protected.url, token=API_TOKEN)
    client.session.headers["Origin"] = PAGE
    accepted = client.post({"composition": {"layers": [prompt()]}})
    run_id = accepted.json()["run_id"]

    answers = [
        client.session.get(f"{client.url}/runs/{run_id}{what}", timeout=30) for what in ("", "/events", "/events/sse")
    ]

    assert accepted.status_code == 202
    for answer in [accepted, *answers]:
        assert answer.ok
        assert_allowed(answer, PAGE)
    assert b"run_succeeded" in answers[-1].content


def test_errors_can_be_read_by_the_page(protected: GunicornServer) -> None:
    page, bearer = {"Origin": PAGE}, {"Origin": PAGE, "Authorization": f"Bearer {API_TOKEN}"}
    answers = {
        401: protected.get(UNKNOWN, headers=page),
        404: protected.get(f"{UNKNOWN}/events/sse", headers=bearer),
        422: protected.post("/runs", json={}, headers=bearer),
        405: protected.post(f"{UNKNOWN}/events", headers=bearer),
    }
    unknown_path = protected.get(f"{UNKNOWN}/nothing", headers=bearer)
    invalid_token = protected.get(UNKNOWN, params={"token": "bad"}, headers=page)

    assert {status: answer.status_code for status, answer in answers.items()} == {status: status for status in answers}
    assert (unknown_path.json()["code"], invalid_token.json()["code"]) == ("not_found", "invalid_token")
    for answer in [*answers.values(), unknown_path, invalid_token]:
        assert_allowed(answer, PAGE)


@pytest.mark.parametrize("origin", STRANGERS)
def test_other_pages_get_no_headers(protected: GunicornServer, origin: str) -> None:
    bearer = {"Origin": origin, "Authorization": f"Bearer {API_TOKEN}"}
    answer = protected.get(UNKNOWN, headers=bearer)
    refused = preflight(protected, "/runs", origin)

    assert answer.json()["code"] == "run_not_found"
    assert refused.status_code == 401
    for response in (answer, refused):
        assert cors_headers(response) == set()
        assert "origin" in listed(response, "Vary")


def test_clients_that_are_no_pages_see_no_difference_but_vary(protected: GunicornServer) -> None:
    answer = protected.get(UNKNOWN, headers={"Authorization": f"Bearer {API_TOKEN}"})

    assert answer.status_code == 404
    assert cors_headers(answer) == set()
    assert "origin" in listed(answer, "Vary")


def test_an_options_request_that_is_no_preflight_needs_a_token(protected: GunicornServer) -> None:
    answer = protected.session.options(f"{protected.url}/runs", headers={"Origin": PAGE}, timeout=30)

    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/health", "/ready", "/runsome", "/structured-output/validate"])
def test_other_routes_get_no_headers(protected: GunicornServer, path: str) -> None:
    answer = protected.get(path, headers={"Origin": PAGE})

    assert cors_headers(answer) == set()
    assert "origin" not in listed(answer, "Vary")
    assert cors_headers(preflight(protected, path, PAGE)) == set()


def test_a_star_allows_every_page(start_server: StartServer) -> None:
    server = start_server(cors_origins="*")

    for origin in (PAGE, "https://anybody.example", "null"):
        assert_allowed(server.get(UNKNOWN, headers={"Origin": origin}), "*")
        assert preflight(server, "/runs", origin).headers["Access-Control-Allow-Origin"] == "*"


def test_without_the_setting_there_are_no_headers(server: GunicornServer) -> None:
    answer = server.get(UNKNOWN, headers={"Origin": PAGE})

    assert cors_headers(answer) == cors_headers(preflight(server, "/runs", PAGE)) == set()
    assert "origin" not in listed(answer, "Vary")


def test_the_routes_of_an_application_around_it_get_no_headers(start_server: StartServer) -> None:
    server = start_server(app="examples.mounted_app:app", cors_origins=PAGE)

    for path in ("/hello", "/nothing"):
        answer = server.get(path, headers={"Origin": PAGE})
        assert cors_headers(answer) == set()
        assert "origin" not in listed(answer, "Vary")
    assert cors_headers(preflight(server, "/hello", PAGE, method="GET")) == set()
    assert_allowed(server.get(UNKNOWN, headers={"Origin": PAGE}), PAGE)
