"""``/v1/conversations`` on both databases: listing, renaming and deleting, by the conversation's end user alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import event

from errors import SessionNotFound
from models import AgentConfigSnapshot, AgentSession
from models.enums import SessionState
from runtime.protocol.ids import new_id
from services.chat.conversations import ConversationService, DeletesSession
from services.chat.end_users import EndUserService
from services.chat.naming import MOST_CHARS
from services.chat.requests import ConversationsQuery
from tests.support.agent_client import AgentClient
from tests.support.service_api import FIRST_TIME, USER, AppClient, Stored

CONVERSATION_NOT_FOUND = "Conversation Not Exists."
LAST_NOT_FOUND = "Last Conversation Not Exists."
AT_ONCE = 6


def service(stored: Stored, *, delete: DeletesSession = lambda *_: None) -> ConversationService:
    """A conversation service in this process, beside the server's."""
    users = EndUserService(stored.database)
    return ConversationService(stored.database, users, delete=delete, name=lambda _, query: query)


def ids(answer: dict[str, Any]) -> list[str]:
    return [row["id"] for row in answer["data"]]


def test_a_conversation_has_the_shape_that_clients_expect(roster: AgentClient, stored: Stored) -> None:
    app = AppClient(roster, app_features={"opening_statement": "Where to, {{name}}?"})
    mine = stored.conversation(
        app, name="Trip", inputs={"name": "Ann"}, created_at=FIRST_TIME, updated_at=FIRST_TIME + timedelta(seconds=9)
    )

    told = app.get("/conversations")

    moment = int(FIRST_TIME.timestamp())
    assert told == {
        "limit": 20,
        "has_more": False,
        "data": [
            {
                "id": mine,
                "name": "Trip",
                "inputs": {"name": "Ann"},
                "status": "normal",
                "introduction": "Where to, Ann?",
                "created_at": moment,
                "updated_at": moment + 9,
            }
        ],
    }


def test_a_conversation_keeps_the_introduction_of_its_version(roster: AgentClient, stored: Stored) -> None:
    app = AppClient(roster, app_features={"opening_statement": "Old?"})
    stored.conversation(app)

    roster.version(app.agent_id, "You are new.")

    assert app.get("/conversations")["data"][0]["introduction"] == "Old?"
    assert app.get("/parameters")["opening_statement"] == ""


def test_nobody_sees_the_conversations_of_others(
    app: AppClient, other_app: AppClient, foreign_app: AppClient, stored: Stored
) -> None:
    mine = stored.conversation(app)
    stored.turn(app, mine)
    others = [(app, "bob"), (app, "Ann"), (app, "ann "), (other_app, USER), (foreign_app, USER)]

    for caller, user in others:
        assert caller.get("/conversations", user)["data"] == []
        refused = [
            caller.error("GET", "/messages", 404, "not_found", params={"user": user, "conversation_id": mine}),
            caller.error("POST", f"/conversations/{mine}/name", 404, "not_found", json={"user": user, "name": "No"}),
            caller.error("DELETE", f"/conversations/{mine}", 404, "not_found", json={"user": user}),
        ]
        assert {told["message"] for told in refused} == {CONVERSATION_NOT_FOUND}
        last = caller.error("GET", "/conversations", 404, "not_found", params={"user": user, "last_id": mine})
        assert last["message"] == LAST_NOT_FOUND
    assert ids(app.get("/conversations")) == [mine]


def test_a_session_without_an_end_user_is_no_conversation(app: AppClient, roster: AgentClient) -> None:
    made = roster.json("POST", "/sessions", 201, json={"agent_id": app.agent_id})

    assert app.get("/conversations")["data"] == []
    app.error("DELETE", f"/conversations/{made['id']}", 404, "not_found", json={"user": USER})


@pytest.mark.parametrize(
    ("sort_by", "order"),
    [(None, "cba"), ("-updated_at", "cba"), ("updated_at", "abc"), ("created_at", "bca"), ("-created_at", "acb")],
)
def test_conversations_are_sorted_and_paged(app: AppClient, stored: Stored, sort_by: str | None, order: str) -> None:
    made = {}
    for name, created, updated in (("a", 3, 1), ("b", 1, 2), ("c", 2, 3)):
        times: dict[str, Any] = {
            "created_at": FIRST_TIME + timedelta(days=created),
            "updated_at": FIRST_TIME + timedelta(days=updated),
        }
        made[name] = stored.conversation(app, name=name, **times)
    query = {} if sort_by is None else {"sort_by": sort_by}

    pages, last = [], ""
    for _ in range(3):
        page = app.get("/conversations", limit=1, last_id=last, **query)
        last = ids(page)[0]
        pages.append((page["data"][0]["name"], page["has_more"], page["limit"]))

    assert pages == [(order[0], True, 1), (order[1], True, 1), (order[2], False, 1)]
    assert app.get("/conversations", last_id=last, **query) == {"limit": 20, "has_more": False, "data": []}


def test_conversations_of_one_moment_are_each_listed_once(app: AppClient, stored: Stored) -> None:
    made = [stored.conversation(app, created_at=FIRST_TIME, updated_at=FIRST_TIME) for _ in range(5)]

    for sort_by in ("-updated_at", "created_at"):
        seen, last = [], ""
        for _ in range(3):
            page = app.get("/conversations", limit=2, last_id=last, sort_by=sort_by)
            seen += ids(page)
            last = seen[-1]
        assert sorted(seen) == sorted(made)


def test_pages_are_right_whatever_the_time_zone_of_the_database(
    app: AppClient, stored: Stored, database_kind: str
) -> None:
    made = [stored.conversation(app) for _ in range(3)]
    if database_kind == "postgresql":
        with stored.database.transaction() as session:
            name = session.connection().exec_driver_sql("SELECT current_database()").scalar_one()
            session.connection().exec_driver_sql(f"ALTER DATABASE \"{name}\" SET timezone TO 'Asia/Tokyo'")
        stored.database.close()
    conversations = service(stored)

    query = ConversationsQuery(user=USER, last_id=made[2])

    assert ids(conversations.list_conversations(app.app, query).as_json()) == made[1::-1]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "x"},
        {"limit": ""},
        {"sort_by": "name"},
        {"sort_by": ""},
        {"last_id": "x"},
        {"last_id": "../x"},
        {"last_id": "\0"},
    ],
)
def test_an_invalid_query_is_refused(app: AppClient, query: dict[str, str]) -> None:
    told = app.error("GET", "/conversations", 400, "invalid_param", params=query)

    assert told["params"] == next(iter(query))


def test_unknown_parameters_are_ignored(app: AppClient, stored: Stored) -> None:
    mine = stored.conversation(app)

    assert ids(app.get("/conversations", pinned="true", first_id="x", last_id="", other="1")) == [mine]


def test_an_id_may_be_written_in_another_way(app: AppClient, stored: Stored) -> None:
    first, second = stored.conversation(app), stored.conversation(app)

    assert ids(app.get("/conversations", last_id=second.upper())) == [first]
    assert ids(app.get("/conversations", last_id=second.replace("-", ""))) == [first]


def test_an_unknown_last_conversation_is_not_found(app: AppClient, stored: Stored) -> None:
    stored.conversation(app)

    for user in (USER, "nobody"):
        told = app.error("GET", "/conversations", 404, "not_found", params={"user": user, "last_id": new_id()})
        assert told["message"] == LAST_NOT_FOUND


def test_a_conversation_is_renamed(app: AppClient, stored: Stored) -> None:
    mine = stored.conversation(app, name="Old")

    told = app.json("POST", f"/v1/conversations/{mine}/name", json={"name": "Größe 🧭", "user": USER})

    assert (told["id"], told["name"]) == (mine, "Größe 🧭")
    assert told["updated_at"] > told["created_at"]
    assert app.get("/conversations")["data"] == [told]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("Where to?", "Where to?"),
        ("  Where\n\tto?\0 ", "Where to?"),
        ("word " * 100, f"{' '.join(['word'] * 12)}…"),
        ("lovely " * 100, f"{' '.join(['lovely'] * 8)}…"),
        ("x" * 100, f"{'x' * (MOST_CHARS - 1)}…"),
        ("\n", "New conversation"),
    ],
)
def test_a_name_is_made_from_the_first_question(
    app: AppClient, stored: Stored, query: str, name: str, database_kind: str
) -> None:
    mine = stored.conversation(app, name="Old")
    stored.turn(app, mine, 2, query="And then?")
    stored.turn(app, mine, 1, query=query.replace("\0", "" if database_kind == "postgresql" else "\0"))

    told = app.json("POST", f"/v1/conversations/{mine}/name", json={"auto_generate": True, "name": "No", "user": USER})

    assert told["name"] == name


def test_a_conversation_without_a_question_keeps_its_name(app: AppClient, stored: Stored) -> None:
    mine = stored.conversation(app, name="Old")

    told = app.json("POST", f"/v1/conversations/{mine}/name", json={"auto_generate": True, "user": USER})

    assert told["name"] == "Old"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": " "},
        {"name": None},
        {"name": 5},
        {"name": "n" * 256},
        {"name": "a\0b"},
        {"auto_generate": "perhaps"},
        {"auto_generate": False},
    ],
)
def test_an_invalid_name_is_refused(app: AppClient, stored: Stored, body: dict[str, Any]) -> None:
    mine = stored.conversation(app, name="Old")

    told = app.error("POST", f"/conversations/{mine}/name", 400, "invalid_param", json={"user": USER, **body})

    assert told["params"] in ("name", "auto_generate")
    assert app.get("/conversations")["data"][0]["name"] == "Old"


@pytest.mark.parametrize("wrong", ["x", "%00", "01a1f94a-3a0e-7e3d-b37d-a61260b77010", "' OR 1=1", "a" * 1000])
def test_an_unknown_conversation_is_not_found(app: AppClient, stored: Stored, wrong: str) -> None:
    stored.conversation(app)

    for told in (
        app.error("POST", f"/conversations/{wrong}/name", 404, "not_found", json={"user": USER, "name": "No"}),
        app.error("DELETE", f"/conversations/{wrong}", 404, "not_found", json={"user": USER}),
    ):
        assert told["message"] == CONVERSATION_NOT_FOUND


def test_a_deleted_conversation_is_found_nowhere(app: AppClient, stored: Stored) -> None:
    mine, other = stored.conversation(app), stored.conversation(app)
    message = stored.turn(app, mine, status="succeeded")

    answer = app.call("DELETE", f"/v1/conversations/{mine}", json={"user": USER})

    assert (answer.status_code, answer.content) == (204, b"")
    assert ids(app.get("/conversations")) == [other]
    app.error("GET", "/messages", 404, "not_found", params={"user": USER, "conversation_id": mine})
    app.error("GET", "/conversations", 404, "not_found", params={"user": USER, "last_id": mine})
    app.error("DELETE", f"/conversations/{mine}", 404, "not_found", json={"user": USER})
    app.error("POST", f"/conversations/{mine}/name", 404, "not_found", json={"user": USER, "name": "No"})
    app.error("POST", f"/messages/{message}/feedbacks", 404, "not_found", json={"user": USER, "rating": "like"})
    app.error("GET", f"/messages/{message}/suggested", 404, "not_found", params={"user": USER})


def test_a_conversation_whose_deletion_is_pending_is_found_nowhere(app: AppClient, stored: Stored) -> None:
    mine = stored.conversation(app)
    message = stored.turn(app, mine, status="succeeded")
    with stored.database.transaction() as session:
        session.get_one(AgentSession, mine).state = SessionState.DELETED

    assert app.get("/conversations")["data"] == []
    app.error("GET", "/messages", 404, "not_found", params={"user": USER, "conversation_id": mine})
    app.error("DELETE", f"/conversations/{mine}", 404, "not_found", json={"user": USER})
    app.error("POST", f"/messages/{message}/feedbacks", 404, "not_found", json={"user": USER, "rating": "like"})


def test_two_deletions_at_once_are_one(app: AppClient, stored: Stored) -> None:
    mine = stored.conversation(app)

    def delete(_: int) -> requests.Response:
        return app.call("DELETE", f"/v1/conversations/{mine}", json={"user": USER})

    with ThreadPoolExecutor(AT_ONCE) as pool:
        codes = sorted(response.status_code for response in pool.map(delete, range(AT_ONCE)))

    assert codes == [204] + [404] * (AT_ONCE - 1)


def test_a_late_deletion_finds_nothing(app: AppClient, stored: Stored) -> None:
    mine = stored.conversation(app)

    def late(*_: str) -> None:
        raise SessionNotFound

    conversations = service(stored, delete=late)

    with pytest.raises(Exception, match=CONVERSATION_NOT_FOUND):
        conversations.delete_conversation(app.app, mine, user=USER)


def test_renamings_at_once_are_all_answered(app: AppClient, stored: Stored) -> None:
    mine = stored.conversation(app)

    def rename(number: int) -> dict[str, Any]:
        return app.json("POST", f"/v1/conversations/{mine}/name", json={"user": USER, "name": str(number)})

    with ThreadPoolExecutor(AT_ONCE) as pool:
        names = [told["name"] for told in pool.map(rename, range(AT_ONCE))]

    assert names == [str(number) for number in range(AT_ONCE)]
    assert app.get("/conversations")["data"][0]["name"] in names


def test_introductions_of_a_page_take_one_query_for_all_versions(roster: AgentClient, stored: Stored) -> None:
    app = AppClient(roster)
    for number in range(3):
        stored.conversation(app, version_id=roster.version(app.agent_id, f"You are number {number}.")["id"])
    conversations = service(stored)
    asked = queries(stored)

    for _ in range(2):
        conversations.list_conversations(app.app, ConversationsQuery(user=USER))

    assert sum(AgentConfigSnapshot.__tablename__ in query for query in asked) == 1
    assert not any("session_snapshot" in query for query in asked)


def queries(stored: Stored) -> list[str]:
    """A list of the statements sent to the database from now on."""
    asked: list[str] = []
    with stored.database.reading() as session:
        engine = session.connection().engine

    @event.listens_for(engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    return asked
