"""Limits on one request and on one caller, and the headers that every answer carries."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.conftest import environment
from tests.support.client import RunClient, demo_llm, prompt
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.redis_server import RedisServer

CANARY = "sk-canary-7f3a9"
UNKNOWN_RUN = "/runs/01a1f873-526f-7037-9569-4a9d93eb6d2a"
MAX_VALUES = 1000
BODY_SECONDS = 2
PATIENCE = 60.0


@pytest.fixture(scope="module")
def server(redis_server: RedisServer) -> Iterator[GunicornServer]:
    env = environment(
        redis_server.url,
        "http://127.0.0.1:9",
        redis_prefix="request-limits",
        max_json_values=MAX_VALUES,
        body_timeout_seconds=BODY_SECONDS,
        admin_token="admin",
    )
    with running_server(env) as server:
        yield server


def connect(server: GunicornServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=PATIENCE)


def exchange(server: GunicornServer, request: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Sends a request that no client would send, and returns status, headers (lower case) and body."""
    with connect(server) as connection:
        connection.sendall(request)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, json.loads(body)


def assert_hardened(headers: Any, *, cache: str = "no-store") -> None:
    lower = {name.lower(): value for name, value in headers.items()}
    assert lower["x-content-type-options"] == "nosniff"
    assert lower["referrer-policy"] == "no-referrer"
    assert lower["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert lower["cache-control"] == cache
    assert not any(digit in lower.get("server", "") for digit in "0123456789")


# The request head


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (f"GET /health?{'a' * 5000} HTTP/1.1\r\nHost: test", 414, "uri_too_long"),
        (f"GET /health HTTP/1.1\r\nHost: test\r\nX-Long: {'a' * 9000}", 431, "request_header_fields_too_large"),
        ("GET /health HTTP/1.1" + "\r\nX-Many: a" * 101, 431, "request_header_fields_too_large"),
        (f"GET /health HTTP/1.1\r\nAuthorization {CANARY}", 400, "bad_request"),
        (f"GET /health HTTP/1.1\r\nX-{CANARY}\u00e4: a", 400, "bad_request"),
        (f"{CANARY}", 400, "bad_request"),
        (f"GET /health?token={CANARY} HTTP/9.9", 400, "bad_request"),
        (f"GET /health HTTP/1.1\r\nHost: test\r\nExpect: {CANARY}", 417, "expectation_failed"),
    ],
)
def test_a_head_that_is_malformed_or_too_large_is_refused_and_not_repeated(
    server: GunicornServer, head: str, status: int, code: str
) -> None:
    got, headers, body = exchange(server, f"{head}\r\n\r\n".encode("latin-1"))

    assert (got, body["code"], body["status"]) == (status, code, status)
    assert set(body) == {"code", "message", "status", "detail"}
    assert_hardened(headers)
    assert CANARY not in json.dumps(body)
    assert CANARY not in server.log


def test_a_head_of_the_usual_size_passes(server: GunicornServer) -> None:
    headers = {f"X-Header-{number}": "a" * 100 for number in range(80)}

    assert server.get(f"/health?{'a' * 3000}", headers=headers).status_code == 200


def test_a_client_that_sends_its_headers_slowly_is_cut(server: GunicornServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nX-Slow: ")
        begun = time.monotonic()
        connection.settimeout(0.2)
        closed = False
        while not closed and time.monotonic() - begun < PATIENCE:
            try:
                connection.sendall(b"a")
                closed = connection.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                closed = True

    assert closed


def test_a_start_without_a_bound_for_headers_is_refused(redis_server: RedisServer) -> None:
    env = environment(redis_server.url, "http://127.0.0.1:9", redis_prefix="unbounded")

    with (
        pytest.raises(RuntimeError, match="keepalive must be at least"),
        running_server({**env, "GUNICORN_CMD_ARGS": "--keep-alive 0"}),
    ):
        pass


# The request body


def test_a_client_that_sends_its_body_slowly_is_refused(server: GunicornServer) -> None:
    head = b"POST /runs HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"

    status, headers, body = exchange(server, head + b'{"composition": ')

    assert (status, body["code"]) == (408, "request_timeout")
    assert_hardened(headers)


@pytest.mark.parametrize(
    "body",
    [
        {"composition": {"layers": [1] * (MAX_VALUES + 1)}},
        {"composition": {"layers": []}, **{str(number): 1 for number in range(MAX_VALUES + 1)}},
        {"composition": {"layers": [prompt()]}, "metadata": {"deep": [[{}]] * MAX_VALUES}},
        {"composition": {"layers": [{**prompt(), "config": json.dumps({"user": ["a"] * (MAX_VALUES + 1)})}]}},
        {"composition": {"layers": [{**prompt(), "config": json.dumps({"user": ["a"] * 200})}] * 6}},
    ],
    ids=["items", "keys", "nested", "in-a-string", "in-many-strings"],
)
def test_a_body_of_too_many_values_is_refused_before_they_are_judged(server: GunicornServer, body: Any) -> None:
    response = server.post("/runs", json=body)

    assert response.status_code == 413
    assert response.json()["code"] == "request_too_large"
    assert response.json()["detail"] == f"the request body holds more than {MAX_VALUES} JSON values"


def test_text_that_looks_like_values_does_not_count(server: GunicornServer) -> None:
    client = RunClient(server.url)
    text = 'a, [b], {c} \\" , ' * MAX_VALUES

    run_id = client.create(prompt(text), demo_llm(answer="done", delay_ms=0))

    assert client.finish(run_id)["type"] == "run_succeeded"


def test_other_routes_are_bounded_as_well(server: GunicornServer) -> None:
    headers = {"Authorization": "Bearer admin"}

    response = server.post("/structured-output/validate", json={"schema": [1] * 2000}, headers=headers)

    assert response.status_code == 413


# Objects that are stored


@pytest.mark.parametrize(
    ("path", "name", "most"),
    [
        ("/runs", "metadata", 65_536),
        ("/sessions", "metadata", 65_536),
        ("/sessions/x/runs", "inputs", 262_144),
        ("/sessions/x/runs", "metadata", 65_536),
        ("/agents/x/runs", "inputs", 262_144),
    ],
)
def test_a_stored_object_has_a_limit_that_the_refusal_names(
    server: GunicornServer, path: str, name: str, most: int
) -> None:
    for size, is_refused in ((most - 20, False), (most, True)):
        body = {name: {"text": "x" * size}}
        response = server.post(path, json=body, headers={"Authorization": "Bearer admin"})

        assert (response.json()["code"] == "value_too_large") is is_refused
        assert (f"{name} may have {most:,} bytes of JSON" in response.text) is is_refused
        assert response.status_code == 422 or not is_refused


# Host names of the server


def test_a_request_for_another_host_is_refused_everywhere_except_by_probes(redis_server: RedisServer) -> None:
    env = environment(redis_server.url, "http://127.0.0.1:9", redis_prefix="named")
    names = "localhost,.greenrun.example,[::1]"

    with running_server({**env, "DIFY_AGENT_ALLOWED_HOSTS": names}) as server:
        asked = {
            (path, host): requests.get(f"{server.url}{path}", headers={"Host": host}, timeout=PATIENCE)
            for path in ("/runs/x", "/keys", "/v1/info", "/sessions", "/events/ws", "/health", "/ready")
            for host in ("evil.example:5050", "api.greenrun.example", "[::1]:80")
        }

    refused = {key for key, response in asked.items() if response.status_code == 421}
    assert refused == {(path, host) for path, host in asked if "evil" in host and path not in ("/health", "/ready")}
    assert all(asked[key].json()["code"] == "host_not_allowed" for key in refused if not key[0].startswith("/v1"))
    assert asked["/v1/info", "evil.example:5050"].json()["status"] == 421


def test_forwarding_headers_do_not_reroute_a_request(server: GunicornServer) -> None:
    for headers in ({"SCRIPT_NAME": "/elsewhere"}, {"SCRIPT-NAME": "/elsewhere"}, {"PATH_INFO": "/health"}):
        response = server.get("/elsewhere/health", headers=headers)

        assert (response.status_code, response.json()["code"]) == (404, "not_found"), headers


@pytest.mark.parametrize("trusted", ["192.0.2.1", "127.0.0.0/8"])
def test_only_a_proxy_that_the_operator_trusts_is_believed(redis_server: RedisServer, trusted: str) -> None:
    env = environment(redis_server.url, "http://127.0.0.1:9", redis_prefix=f"trusting-{trusted}")
    settings = {"DIFY_AGENT_TRUSTED_PROXIES": trusted, "DIFY_AGENT_RATE_LIMIT": "0.001/1"}

    with running_server({**env, **settings}) as server:
        statuses = [
            server.get("/keys", headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code for number in range(3)
        ]

    assert statuses == ([401, 401, 401] if trusted == "127.0.0.0/8" else [401, 429, 429])


# Headers of every answer


def test_every_answer_carries_the_security_headers(server: GunicornServer) -> None:
    client = RunClient(server.url)
    run_id = client.create(prompt(), demo_llm(answer="done", delay_ms=0))
    client.finish(run_id)
    answers: list[tuple[int, requests.Response]] = [
        (200, server.get("/health")),
        (200, server.get("/ready")),
        (202, client.post({"composition": {"layers": [prompt()]}})),
        (200, server.get(f"/runs/{run_id}")),
        (200, server.get(f"/runs/{run_id}/events")),
        (404, server.get(UNKNOWN_RUN)),
        (404, server.get("/no/such/path")),
        (405, server.get("/runs")),
        (409, client.cancel(run_id)),
        (422, client.post({})),
        (426, server.get(f"/runs/{run_id}/events/ws")),
        (401, server.post("/structured-output/validate", json={})),
        (308, server.get(f"/runs/{run_id}/", allow_redirects=False)),
    ]

    for status, response in answers:
        assert response.status_code == status, response.url
        assert_hardened(response.headers)
    assert_hardened(server.get(f"/runs/{run_id}/events/sse").headers, cache="no-cache")


# Redirects


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80@127.0.0.1", "127.0.0.1"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/runs/",
        "/runs//",
        "//runs/",
        "//evil.example/",
        "/runs//evil.example/",
        "/runs/%2f%2fevil.example/",
        "/%2f%2fevil.example/runs/",
        "/runs/\\\\evil.example/",
        "/runs/%5c%5cevil.example/",
        "/\\evil.example/",
        "/runs/..//evil.example/",
        "/runs/http://evil.example/",
        "/runs/x/events/?next=//evil.example",
        "/runs/x/events//",
        "/runs/x%0d%0aLocation:%20http:%2f%2fevil.example/",
    ],
)
def test_no_redirect_leads_to_another_host(server: GunicornServer, method: str, path: str, host: str) -> None:
    with connect(server) as connection:
        request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        answer = b""
        while data := connection.recv(65536):
            answer += data
    head = answer.partition(b"\r\n\r\n")[0].decode()
    locations = [line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith("location:")]

    assert int(head.split()[1]) in (308, 400, 404, 405, 422)
    assert len(locations) == (1 if " 308 " in head else 0)
    for location in locations:
        assert location.startswith("/runs")
        assert "\\" not in location


# Requests per second


@pytest.fixture(scope="module")
def limited(redis_server: RedisServer) -> Iterator[GunicornServer]:
    """Allows each caller three requests, no more within a test. gunicorn trusts 127.0.0.1 as a proxy by default."""
    env = environment(
        redis_server.url, "http://127.0.0.1:9", redis_prefix="limited", rate_limit="0.001/3", api_token="one,two"
    )
    with running_server(env) as server:
        yield server


def statuses(server: GunicornServer, *, token: str, caller: str, count: int = 4) -> list[int]:
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": caller}
    return [server.get(UNKNOWN_RUN, headers=headers).status_code for _ in range(count)]


def test_each_token_has_its_own_limit(limited: GunicornServer) -> None:
    assert statuses(limited, token="one", caller="198.51.100.1") == [404, 404, 404, 429]
    assert statuses(limited, token="one", caller="198.51.100.2", count=1) == [429]
    assert statuses(limited, token="two", caller="198.51.100.1") == [404, 404, 404, 429]


def test_tokens_cannot_be_tried_out_quickly(limited: GunicornServer) -> None:
    tried = [statuses(limited, token=f"guess-{number}", caller="198.51.100.3", count=1)[0] for number in range(5)]

    assert tried == [401, 401, 401, 429, 429]
    assert statuses(limited, token="guess", caller="198.51.100.4", count=1) == [401]


def test_the_refusal_says_when_to_retry(limited: GunicornServer) -> None:
    statuses(limited, token="none", caller="198.51.100.5", count=3)

    response = limited.get(UNKNOWN_RUN, headers={"X-Forwarded-For": "198.51.100.5"})

    assert (response.status_code, response.json()["code"]) == (429, "rate_limited")
    assert int(response.headers["Retry-After"]) > 0
    assert_hardened(response.headers)


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health_and_readiness_are_never_limited(limited: GunicornServer, path: str) -> None:
    assert {limited.get(path).status_code for _ in range(10)} == {200}


def test_only_a_trusted_proxy_may_name_the_caller(redis_server: RedisServer) -> None:
    env = environment(redis_server.url, "http://127.0.0.1:9", redis_prefix="untrusted", rate_limit="0.001/3")
    with running_server({**env, "FORWARDED_ALLOW_IPS": "192.0.2.1"}) as server:
        found = [statuses(server, token="", caller=f"198.51.100.{number}", count=1)[0] for number in range(4)]

    assert found == [404, 404, 404, 429]
