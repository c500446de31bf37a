"""Stream tokens: permission to read one run for a while, and nothing else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.conftest import StartServer, environment
from tests.support.client import DEADLINE_SECONDS, RunClient, demo_llm, parse_frames, prompt, wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer

PREFIX = "stream-tokens"
API_TOKEN = "api-token-of-the-tests"
KEY = "key-of-the-tests-" + "k" * 27
OTHER_KEY = "other-key-of-the-tests-" + "o" * 21
UNKNOWN_RUN = "01a1f884-b753-710d-b464-93120ce7b7ee"
READS = ["", "/events", "/events/sse"]
CLOCKS_APART = timedelta(seconds=60)


@pytest.fixture(scope="module")
def protected(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[GunicornServer]:
    """A server with two workers that needs a bearer token."""
    env = environment(
        redis_server.url, daemon.url, redis_prefix=PREFIX, api_token=API_TOKEN, secret_keys=f"{KEY},{OTHER_KEY}"
    )
    with running_server(env, workers=2) as server:
        yield server


@pytest.fixture
def owner(protected: GunicornServer) -> RunClient:
    """A client with the bearer token."""
    return RunClient(protected.url, token=API_TOKEN)


@pytest.fixture
def reader(protected: GunicornServer) -> RunClient:
    """A client without the bearer token."""
    return RunClient(protected.url)


def ask_token(client: RunClient, run_id: str, **options: Any) -> requests.Response:
    return client.session.post(f"{client.url}/runs/{run_id}/stream-tokens", timeout=DEADLINE_SECONDS, **options)


def make_token(client: RunClient, run_id: str, **body: Any) -> str:
    response = ask_token(client, run_id, json=body)
    assert response.status_code == 201, response.text
    return str(response.json()["token"])


def read(client: RunClient, run_id: str, what: str = "", **query: str) -> requests.Response:
    return client.session.get(f"{client.url}/runs/{run_id}{what}", params=query, timeout=DEADLINE_SECONDS)


def assert_invalid(response: requests.Response) -> None:
    """Asserts the answer that every invalid token gets."""
    message = "the stream token is not valid here, or no longer"
    assert response.status_code == 401
    assert response.json() == {"code": "invalid_token", "message": message, "status": 401, "detail": message}
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="greenrun", error="invalid_token"'


def tamper(token: str) -> str:
    """The token with one character changed in the middle of its signed part."""
    middle = token.index(".") // 2
    return token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]


def send_raw(server: GunicornServer, request_line: str) -> str:
    """Sends a request that no client library would send, and returns the status of the answer."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=DEADLINE_SECONDS) as connection:
        connection.sendall(f"{request_line}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1"))
        return connection.makefile("rb").readline().decode("latin-1").split()[1]


def test_a_token_comes_with_its_run_and_its_expiry(owner: RunClient) -> None:
    run_id = owner.create(prompt())

    response = ask_token(owner, run_id, json={"ttl_seconds": 3600})

    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    answer = response.json()
    assert set(answer) == {"token", "expires_at", "run_id"}
    assert answer["run_id"] == run_id
    remaining = datetime.fromisoformat(answer["expires_at"]) - datetime.now(UTC)
    assert abs(remaining - timedelta(hours=1)) < CLOCKS_APART


@pytest.mark.parametrize("options", [{}, {"json": {}}, {"json": {"ttl_seconds": 300}}])
def test_a_token_lasts_five_minutes_by_default(owner: RunClient, options: dict[str, Any]) -> None:
    response = ask_token(owner, owner.create(prompt()), **options)

    remaining = datetime.fromisoformat(response.json()["expires_at"]) - datetime.now(UTC)
    assert abs(remaining - timedelta(minutes=5)) < CLOCKS_APART


@pytest.mark.parametrize("what", READS)
def test_a_token_opens_every_read_of_its_run(owner: RunClient, reader: RunClient, what: str) -> None:
    run_id = owner.create(prompt())
    owner.finish(run_id)
    token = make_token(owner, run_id)

    assert read(reader, run_id, what).json()["code"] == "unauthorized"
    assert read(reader, run_id, what, token=token).content == read(owner, run_id, what).content
    assert read(reader, run_id, f"{what}/", token=token).status_code == 200


def test_a_stream_is_followed_whole_with_a_token(owner: RunClient, reader: RunClient) -> None:
    run_id = owner.create(prompt(), demo_llm(answer="word " * 50, delay_ms=5))

    url = f"{reader.url}/runs/{run_id}/events/sse"
    params = {"token": make_token(owner, run_id)}
    with reader.session.get(url, params=params, stream=True, timeout=DEADLINE_SECONDS) as response:
        assert response.headers["Referrer-Policy"] == "no-referrer"
        frames = list(parse_frames(response.iter_content(None)))

    assert frames == owner.follow(run_id)


def test_a_token_of_one_worker_opens_the_run_on_all(owner: RunClient) -> None:
    run_id = owner.create(prompt())
    owner.finish(run_id)
    tokens = [make_token(RunClient(owner.url, token=API_TOKEN), run_id) for _ in range(5)]

    # Each connection may reach another worker.
    answers = [read(RunClient(owner.url), run_id, token=token).status_code for token in tokens for _ in range(5)]

    assert answers == [200] * 25


def test_an_expired_token_is_refused(owner: RunClient, reader: RunClient) -> None:
    run_id = owner.create(prompt())
    token = make_token(owner, run_id, ttl_seconds=1)

    wait_until(lambda: read(reader, run_id, token=token).status_code == 401)

    for what in READS:
        assert_invalid(read(reader, run_id, what, token=token))


def test_a_stream_that_is_open_outlives_its_token(owner: RunClient, reader: RunClient) -> None:
    run_id = owner.create(prompt(), demo_llm(answer="one two three four five", delay_ms=700))
    token = make_token(owner, run_id, ttl_seconds=1)

    url = f"{reader.url}/runs/{run_id}/events/sse"
    with reader.session.get(url, params={"token": token}, stream=True, timeout=DEADLINE_SECONDS) as response:
        frames = list(parse_frames(response.iter_content(None)))

    assert frames[-1].event == "run_succeeded"
    assert_invalid(read(reader, run_id, token=token))


@pytest.mark.parametrize("what", READS)
def test_a_token_of_another_run_is_refused(owner: RunClient, reader: RunClient, what: str) -> None:
    run_id, other = owner.create(prompt()), owner.create(prompt())

    assert_invalid(read(reader, run_id, what, token=make_token(owner, other)))


@pytest.mark.parametrize("garbage", ["", "x", ".", "a.b", "....", "W10.", "💥", "\x00", "é" * 500, API_TOKEN, KEY])
def test_garbage_is_refused(owner: RunClient, reader: RunClient, garbage: str) -> None:
    run_id = owner.create(prompt())

    assert_invalid(read(reader, run_id, token=garbage))


@pytest.mark.parametrize("raw", ["token=%FF", "token=%", "token", "token=a&token=b"])
def test_a_query_that_is_not_well_formed_is_refused(owner: RunClient, reader: RunClient, raw: str) -> None:
    run_id = owner.create(prompt())

    response = reader.session.get(f"{reader.url}/runs/{run_id}?{raw}", timeout=DEADLINE_SECONDS)

    assert_invalid(response)


def test_a_token_that_was_tampered_with_is_refused(owner: RunClient, reader: RunClient) -> None:
    run_id = owner.create(prompt())
    token = make_token(owner, run_id)
    payload, signature = token.rsplit(".", 1)
    longer = make_token(owner, run_id, ttl_seconds=3600).rsplit(".", 1)[0]

    for wrong in (tamper(token), f"{payload}.{tamper(signature + '.')}", payload, f"{longer}.{signature}", token + "A"):
        assert_invalid(read(reader, run_id, token=wrong))
    assert read(reader, run_id, token=token).status_code == 200


def test_a_bad_token_is_refused_beside_a_good_bearer_token(owner: RunClient) -> None:
    assert_invalid(read(owner, owner.create(prompt()), token="bad"))


@pytest.mark.parametrize("what", ["/cancel", "/stream-tokens"])
def test_a_token_does_nothing_but_read(owner: RunClient, reader: RunClient, what: str) -> None:
    run_id = owner.create(prompt(), demo_llm(answer="one two", delay_ms=60_000))
    params = {"token": make_token(owner, run_id)}

    refused = reader.session.post(f"{reader.url}/runs/{run_id}{what}", params=params, timeout=DEADLINE_SECONDS)

    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert owner.status(run_id)["status"] == "running"
    owner.cancel(run_id)


def test_a_token_starts_no_run(owner: RunClient, reader: RunClient) -> None:
    params = {"token": make_token(owner, owner.create(prompt()))}
    body = {"composition": {"layers": [prompt()]}}

    refused = reader.session.post(f"{reader.url}/runs", params=params, json=body, timeout=DEADLINE_SECONDS)

    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")


def test_a_token_is_no_bearer_token(owner: RunClient) -> None:
    run_id = owner.create(prompt())

    assert read(RunClient(owner.url, token=make_token(owner, run_id)), run_id).json()["code"] == "unauthorized"


@pytest.mark.parametrize("ttl", [0, -1, 3601, 10**30, True, None, "300", 1.5, 300.0, [300], {}])
def test_an_invalid_lifetime_is_refused(owner: RunClient, ttl: object) -> None:
    response = ask_token(owner, owner.create(prompt()), json={"ttl_seconds": ttl})

    assert response.status_code == 422
    assert response.json()["code"] == "invalid_param"
    assert response.json()["detail"][0]["loc"] == ["body", "ttl_seconds"]


@pytest.mark.parametrize("body", ["[]", '"300"', "null", "{", '{"ttl": 300}', '{"ttl_seconds": NaN}', "\xff"])
def test_a_malformed_request_for_a_token_is_refused(owner: RunClient, body: str) -> None:
    headers = {"Content-Type": "application/json"}

    response = ask_token(owner, owner.create(prompt()), data=body.encode("latin-1"), headers=headers)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_param")


@pytest.mark.parametrize("run_id", [UNKNOWN_RUN, "no-uuid"])
def test_an_unknown_run_gets_no_token(owner: RunClient, run_id: str) -> None:
    response = ask_token(owner, run_id)

    assert (response.status_code, response.json()["code"]) == (404, "run_not_found")


def test_a_bad_token_says_nothing_of_whether_the_run_is_there(reader: RunClient) -> None:
    assert_invalid(read(reader, UNKNOWN_RUN, token="bad"))


def test_making_a_token_needs_the_bearer_token(owner: RunClient, reader: RunClient) -> None:
    response = ask_token(reader, owner.create(prompt()))

    assert (response.status_code, response.json()["code"]) == (401, "unauthorized")


def test_without_a_key_there_are_no_tokens(start_server: StartServer) -> None:
    client = RunClient(start_server().url)
    run_id = client.create(prompt())

    refused = ask_token(client, run_id)

    assert (refused.status_code, refused.json()["code"]) == (503, "stream_tokens_unavailable")
    assert_invalid(read(client, run_id, token="any"))


def test_an_open_server_makes_tokens_and_refuses_bad_ones(start_server: StartServer) -> None:
    client = RunClient(start_server(secret_keys=KEY).url)
    run_id = client.create(prompt())

    assert read(client, run_id).status_code == 200
    assert read(client, run_id, token=make_token(client, run_id)).status_code == 200
    for what in READS:
        assert_invalid(read(client, run_id, what, token="bad"))


def test_a_replaced_key_still_verifies_until_it_is_dropped(owner: RunClient, start_server: StartServer) -> None:
    run_id = owner.create(prompt())
    old = make_token(owner, run_id)
    shared = {"redis_prefix": PREFIX, "api_token": API_TOKEN}
    rotated, dropped, swapped = (
        RunClient(start_server(shared, secret_keys=keys).url, token=API_TOKEN)
        for keys in (f"brand-new-{KEY}, {KEY}", f"brand-new-{KEY}", f"{OTHER_KEY},{KEY}")
    )

    assert read(rotated, run_id, token=old).status_code == 200
    assert_invalid(read(dropped, run_id, token=old))
    assert read(dropped, run_id, token=make_token(rotated, run_id)).status_code == 200
    assert_invalid(read(owner, run_id, token=make_token(rotated, run_id)))
    assert read(owner, run_id, token=make_token(swapped, run_id)).status_code == 200


def test_tokens_are_in_no_log(redis_server: RedisServer, daemon: ScriptedDaemon) -> None:
    env = environment(redis_server.url, daemon.url, api_token=API_TOKEN, secret_keys=KEY, log_level="DEBUG")
    arguments = "--access-logfile - --log-level debug --access-logformat '%(r)s %(s)s %(q)s %(f)s'"
    with running_server({**env, "GUNICORN_CMD_ARGS": arguments}, app="tests.support.failing_app:app") as server:
        client, reader = RunClient(server.url, token=API_TOKEN), RunClient(server.url)
        run_id = client.create(prompt())
        client.finish(run_id)
        token = make_token(client, run_id)
        tokens = [token, tamper(token), make_token(client, run_id, ttl_seconds=1)]
        for one in tokens:
            for what in [*READS, "/events/sse/", "/nothing"]:
                reader.session.headers["Referer"] = f"{server.url}/runs/{run_id}?token={one}"
                read(reader, run_id, what, token=one)
        assert server.get("/failing/early", params={"token": token}).status_code == 500
        assert send_raw(server, f"GET /malformed?after=\u00e9&token={token} HTTP/1.1") == "400"
        assert send_raw(server, f"GET /malformed?after= &token={token} HTTP/1.1") == "400"
        wait_until(lambda: server.log.count("Invalid request") == 2 and "/failing/early" in server.log)
        log = server.log

    assert f"GET /runs/{run_id}/events/sse HTTP/1.1" in log
    assert "this fails before the answer begins" in log
    assert [one for one in tokens if one in log] == []
    assert KEY not in log
