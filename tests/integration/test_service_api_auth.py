"""Authentication of ``/v1``: which app and end user a request is for, and how it is refused, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from sqlalchemy import func, select

from models import Agent, EndUser
from models.enums import AgentScope, AgentSource
from runtime.protocol.ids import new_id
from services.chat import end_users
from services.chat.end_users import DEFAULT_USER, EndUserService
from services.database import Database
from tests.conftest import StartServer
from tests.support.agent_client import AgentClient
from tests.support.gunicorn_server import GunicornServer
from tests.support.service_api import AppClient, Stored, checked_error

AT_ONCE = 5
UNKNOWN = "01a1f94a-3a0e-7e3d-b37d-a61260b77010"
HEADER_WRONG = "Authorization header must be provided and start with 'Bearer'"
ROUTES = [
    ("GET", "/parameters"),
    ("GET", "/info"),
    ("GET", "/meta"),
    ("GET", "/site"),
    ("GET", "/conversations"),
    ("GET", "/messages"),
    ("POST", f"/conversations/{UNKNOWN}/name"),
    ("DELETE", f"/conversations/{UNKNOWN}"),
    ("POST", f"/messages/{UNKNOWN}/feedbacks"),
    ("GET", f"/messages/{UNKNOWN}/suggested"),
]


def ids(answer: dict[str, Any]) -> list[str]:
    return [row["id"] for row in answer["data"]]


@pytest.mark.parametrize("path", ["/v1", "/v1/"])
def test_the_root_welcomes_everybody(agent_server: GunicornServer, path: str) -> None:
    answer = agent_server.get(path)

    assert (answer.status_code, answer.json()["api_version"]) == (200, "v1")


@pytest.mark.parametrize("header", [None, "", "Bearer", "app-key", "Bearer ", "Basic app-key", "Token app-key"])
def test_without_a_bearer_token_nobody_is_let_in(agent_server: GunicornServer, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for method, path in ROUTES:
        answer = agent_server.session.request(method, f"{agent_server.url}/v1{path}", headers=headers, timeout=30)

        assert checked_error(answer, 401, "unauthorized")["message"] == HEADER_WRONG
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'


@pytest.mark.parametrize("token", ["app-unknown", "ws-unknown", "other", "app-", "app-\xff"])
def test_an_unknown_key_lets_nobody_in(agent_server: GunicornServer, token: str) -> None:
    answer = agent_server.get("/v1/info", headers={"Authorization": f"Bearer {token}".encode("latin-1")})

    assert token not in checked_error(answer, 401, "unauthorized")["message"]
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'


def test_the_scheme_may_be_in_any_case(app: AppClient) -> None:
    key = app._headers["Authorization"].removeprefix("Bearer ")

    assert app.call("GET", "/v1/info", headers={"Authorization": f"bEARER {key}"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/nothing", 404, "not_found"),
        ("GET", "/conversations/a/b/c", 404, "not_found"),
        ("GET", "//info", 404, "not_found"),
        ("POST", "/info", 405, "method_not_allowed"),
        ("PUT", "/conversations", 405, "method_not_allowed"),
        ("DELETE", "", 405, "method_not_allowed"),
    ],
)
def test_an_unknown_route_is_refused_in_the_same_shape(
    app: AppClient, agent_server: GunicornServer, method: str, path: str, status: int, code: str
) -> None:
    answer = app.call(method, f"/v1{path}")
    checked_error(answer, status, code)
    checked_error(agent_server.session.request(method, f"{agent_server.url}/v1{path}", timeout=30), status, code)
    assert ("Allow" in answer.headers) == (status == 405)


def test_errors_elsewhere_keep_their_own_shape(agent_server: GunicornServer) -> None:
    assert "detail" in agent_server.get("/v2/info").json()
    assert "detail" in agent_server.get("/v10").json()
    assert "detail" in agent_server.get("/agents").json()


def test_beside_another_application_only_errors_of_this_one_have_this_shape(start_server: StartServer) -> None:
    server = start_server(app="examples.mounted_app:app")

    checked_error(server.get("/v1/nothing"), 404, "not_found")
    checked_error(server.post("/v1/info"), 405, "method_not_allowed")
    assert server.get("/nothing").text == "<h1>Nothing here</h1>"


def test_a_caller_over_the_rate_limit_learns_when_to_retry(start_server: StartServer) -> None:
    server = start_server(rate_limit="0.001/1")

    answers = [server.get("/v1") for _ in range(2)]

    assert answers[0].status_code == 200
    checked_error(answers[1], 429, "too_many_requests")
    assert int(answers[1].headers["Retry-After"]) > 0


def test_without_a_database_the_error_gives_the_reason(start_server: StartServer) -> None:
    server = start_server(admin_token="operator")

    answer = server.get("/v1/info?app_id=Ada", headers={"Authorization": "Bearer operator"})

    checked_error(answer, 503, "migrations_pending")


def test_an_apps_key_only_opens_its_own_agent(app: AppClient, other_app: AppClient) -> None:
    own = app.get("/info")["name"]

    assert own != other_app.get("/info")["name"]
    assert app.get("/info", app_id=other_app.agent_id)["name"] == own


def test_a_workspaces_key_names_the_app_by_id_or_name(roster: AgentClient, app: AppClient) -> None:
    key = roster.json("POST", "/keys", 201, json={"kind": "workspace"})["key"]
    name = app.get("/info")["name"]

    for caller in (AgentClient(roster.url, key=key), roster):
        for named in (app.agent_id, name):
            assert caller.json("GET", "/v1/info", params={"app_id": named})["name"] == name


@pytest.mark.parametrize("query", ["", "?app_id=", "?app=x"])
def test_a_workspaces_key_must_name_an_app(roster: AgentClient, query: str) -> None:
    told = checked_error(roster.call("GET", f"/v1/info{query}"), 400, "invalid_param")

    assert told["params"] == "app_id"


def test_unknown_apps_are_not_found(roster: AgentClient, foreign_app: AppClient, database: Database) -> None:
    inline = Agent(tenant_id=roster.tenant, name="of a node", scope=AgentScope.WORKFLOW_ONLY, source=AgentSource.SYSTEM)
    with database.transaction() as session:
        session.add(inline)

    for named in (new_id(), foreign_app.agent_id, "Nobody", "a\0b", "n" * 3000, inline.id, "of a node"):
        checked_error(roster.call("GET", "/v1/info", params={"app_id": named}), 404, "not_found")


def test_an_archived_agent_is_forbidden(roster: AgentClient, app: AppClient) -> None:
    assert roster.call("DELETE", f"/agents/{app.agent_id}").status_code == 204

    for method, path in ROUTES:
        app.error(method, path, 403, "forbidden")
        response = roster.call(method, f"/v1{path}", params={"app_id": app.agent_id})
        checked_error(response, 403, "forbidden")


def test_a_key_acts_only_for_its_own_tenant(app: AppClient) -> None:
    app.error("GET", "/info", 403, "tenant_not_allowed", headers={"X-Tenant-Id": new_id()})
    assert app.call("GET", "/v1/info", headers={"X-Tenant-Id": app.tenant}).status_code == 200


def test_an_invalid_tenant_is_refused(roster: AgentClient) -> None:
    told = checked_error(roster.call("GET", "/v1/info", headers={"X-Tenant-Id": "../x"}), 400, "invalid_param")

    assert told["params"] == "X-Tenant-Id"


@pytest.mark.parametrize("path", [f"/conversations/{UNKNOWN}/name", f"/messages/{UNKNOWN}/feedbacks"])
def test_bodies_that_are_not_json_objects_are_refused(app: AppClient, path: str) -> None:
    as_json = {"Content-Type": "application/json"}

    app.error("POST", path, 400, "bad_request", data="{", headers=as_json)
    app.error("POST", path, 400, "bad_request", data=b"\xff{}", headers=as_json)
    app.error("POST", path, 400, "bad_request", data='{"a": NaN}', headers=as_json)
    app.error("POST", path, 400, "invalid_param", data="", headers=as_json)
    app.error("POST", path, 400, "invalid_param", data="[]", headers=as_json)
    app.error("POST", path, 415, "unsupported_media_type", data="{}", headers={"Content-Type": "text/plain"})
    app.error("POST", path, 415, "unsupported_media_type", data={"user": "ann"})
    app.error("POST", path, 415, "unsupported_media_type")
    app.error("POST", path, 413, "request_too_large", json={"user": "a", "more": "x" * 40_000_000})


def test_a_delete_with_a_body_of_another_type_is_refused(app: AppClient) -> None:
    app.error("DELETE", f"/conversations/{new_id()}", 415, "unsupported_media_type", data={"user": "ann"})
    as_json = {"Content-Type": "application/json"}
    app.error("DELETE", f"/conversations/{new_id()}", 400, "bad_request", data="{", headers=as_json)


def test_a_problem_is_reported_without_the_values(app: AppClient) -> None:
    body = {"user": ["sk-1234567890"], "rating": "sk-0987654321", "content": 5}

    told = app.error("POST", f"/messages/{new_id()}/feedbacks", 400, "invalid_param", json=body)

    assert told["params"] == "user"
    assert told["message"].startswith("3 validation errors")
    assert "Input should be 'like' or 'dislike' [type=enum]" in told["message"]
    assert "sk-" not in told["message"]


@pytest.mark.parametrize("user", ["u" * 256, "a\0b", True, 1.5, [], {}])
def test_an_invalid_user_is_refused(app: AppClient, user: Any) -> None:
    for path, method in ((f"/conversations/{new_id()}", "DELETE"), (f"/messages/{new_id()}/feedbacks", "POST")):
        told = app.error(method, path, 400, "invalid_param", json={"user": user})
        assert told["params"] == "user"
    if isinstance(user, str):
        app.error("GET", "/conversations", 400, "invalid_param", params={"user": user})


@pytest.mark.parametrize("user", ["u" * 255, "Größe 漢字 🧭", " ", "'; DROP TABLE end_users; --", "%"])
def test_a_user_may_be_called_anything(app: AppClient, stored: Stored, user: str) -> None:
    mine = stored.conversation(app, user)

    assert ids(app.get("/conversations", user)) == [mine]
    assert app.call("DELETE", f"/v1/conversations/{mine}", json={"user": user}).status_code == 204


def test_a_number_is_the_name_of_a_user_too(app: AppClient, stored: Stored) -> None:
    mine = stored.conversation(app, "7")

    assert app.call("DELETE", f"/v1/conversations/{mine}", json={"user": 7}).status_code == 204


@pytest.mark.parametrize("query", [{}, {"user": ""}])
def test_without_a_user_the_default_one_is_used(app: AppClient, stored: Stored, query: dict[str, str]) -> None:
    mine = stored.conversation(app, DEFAULT_USER)
    stored.conversation(app, "ann")

    assert ids(app.json("GET", "/v1/conversations", params=query)) == [mine]
    renamed = app.json("POST", f"/v1/conversations/{mine}/name", json={"name": "Mine", "user": None})
    assert renamed["name"] == "Mine"
    assert app.call("DELETE", f"/v1/conversations/{mine}").status_code == 204


@pytest.mark.parametrize("given", [{}, {"user": ""}, {"user": None}])
def test_a_missing_user_is_refused_where_one_is_required(app: AppClient, given: dict[str, Any]) -> None:
    rated = app.error("POST", f"/messages/{new_id()}/feedbacks", 400, "invalid_param", json={**given, "rating": "like"})
    asked = app.error("GET", f"/messages/{new_id()}/suggested", 400, "invalid_param", params=given)

    for told in (rated, asked):
        assert (told["message"], told["params"]) == ("Arg user must be provided.", "user")


def test_reading_creates_no_user(app: AppClient, database: Database) -> None:
    app.get("/conversations", "somebody")

    with database.reading() as session:
        made = session.scalar(select(func.count()).select_from(EndUser).where(EndUser.agent_id == app.agent_id))
    assert made == 0


def test_a_user_is_created_once_even_by_concurrent_requests(
    app: AppClient, other_app: AppClient, database: Database
) -> None:
    services = [EndUserService(database) for _ in range(AT_ONCE)]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = list(pool.map(lambda service: service.find_or_make(app.app, "ann"), services * 3))

    assert len(set(made)) == 1
    assert services[0].find_or_make(other_app.app, "ann") not in made
    assert services[0].find_or_make(app.app, "Ann") not in made


def test_users_that_the_cache_has_dropped_are_found_again(
    app: AppClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(end_users, "MOST_REMEMBERED", 2)
    service = EndUserService(database)

    made = [service.find_or_make(app.app, str(number)) for number in range(5)]

    assert [service.find(app.app, str(number)) for number in range(5)] == made
    assert len(service._known) == 2


def test_many_first_requests_at_once_are_all_answered(app: AppClient) -> None:
    def look(_: int) -> requests.Response:
        return app.call("GET", "/v1/conversations", params={"user": "new"})

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert {response.status_code for response in pool.map(look, range(20))} == {200}
