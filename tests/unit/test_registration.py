"""Every blueprint is registered with the whole stack around its views."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from flask import Flask, request
from pydantic import SecretStr

from app import init_app
from blueprints.security_headers import SECURITY_HEADERS
from errors import GreenrunError, HostNotAllowed
from settings import Settings

PAGE = "https://pages.example"
MAX_BYTES = 1234
REQUESTS = 3

OPEN_TO_PAGES = {"runs", "feed", "sessions", "service_api"}
OPEN_TO_EVERYBODY = {"health"}


def mounted(rate_limit: str = "0") -> Flask:
    app = Flask("mounted", static_folder=None)
    settings = Settings(
        api_token=SecretStr("of-dify"),
        admin_token=SecretStr("of-the-operator"),
        rate_limit=rate_limit,
        max_request_bytes=MAX_BYTES,
        cors_origins=PAGE,
        allowed_hosts="localhost",
    )
    init_app(app, settings)
    return app


APP = mounted()
BLUEPRINTS = sorted(APP.blueprints)
KEPT = sorted(set(BLUEPRINTS) - OPEN_TO_EVERYBODY)


def a_request(blueprint: str) -> tuple[str, str]:
    """The path of a route of the blueprint, and a method that it takes."""
    rules = [rule for rule in APP.url_map.iter_rules() if rule.endpoint.startswith(f"{blueprint}.")]
    rule = max((rule for rule in rules if not rule.websocket), key=lambda rule: len(rule.rule))
    return re.sub(r"<\w+>", "x", rule.rule), min((rule.methods or set()) - {"OPTIONS", "HEAD"})


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_answers_have_a_request_id_and_the_security_headers(blueprint: str) -> None:
    path, method = a_request(blueprint)

    answer = APP.test_client().open(path, method=method, headers={"X-Request-Id": "mine"})

    assert answer.headers["X-Request-Id"] == "mine"
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_double_slashes_are_not_redirected(blueprint: str) -> None:
    path, method = a_request(blueprint)

    answer = APP.test_client().open(f"/{path}", method=method, base_url="http://evil.example")

    assert answer.status_code == 404
    assert "Location" not in answer.headers


@pytest.mark.parametrize("blueprint", KEPT)
def test_nobody_comes_in_without_a_token_and_requests_are_counted(blueprint: str) -> None:
    client, (path, method) = mounted(f"1/{REQUESTS}").test_client(), a_request(blueprint)

    answers = [client.open(path, method=method) for _ in range(REQUESTS + 1)]

    assert [answer.status_code for answer in answers] == [401] * REQUESTS + [429]


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_for_an_unknown_host_a_server_only_answers_probes(blueprint: str) -> None:
    path, method = a_request(blueprint)

    answer = APP.test_client().open(path, method=method, base_url="http://evil.example")

    assert (answer.json or {}).get("code") == (None if blueprint in OPEN_TO_EVERYBODY else HostNotAllowed.code)


@pytest.mark.parametrize("blueprint", KEPT)
def test_bodies_are_bounded(blueprint: str) -> None:
    path, method = a_request(blueprint)

    with APP.test_request_context(path, method=method):
        with suppress(GreenrunError):
            APP.preprocess_request()

        assert request.max_content_length == MAX_BYTES


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
def test_pages_of_other_origins_may_only_call_routes_meant_for_browsers(blueprint: str) -> None:
    path, method = a_request(blueprint)

    answer = APP.test_client().open(path, method=method, headers={"Origin": PAGE})

    assert answer.headers.get("Access-Control-Allow-Origin") == (PAGE if blueprint in OPEN_TO_PAGES else None)
