"""``/v1/messages`` on both databases: reading and rating messages, and suggested questions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from errors import RequestRefused
from models import AgentSession, SessionTurn
from models.enums import TurnStatus
from runtime.protocol.ids import new_id
from services.chat.apps import App
from services.chat.end_users import EndUserService
from services.chat.messages import MessageService
from services.chat.requests import MessagesQuery
from services.database import Database
from tests.support.agent_client import AgentClient
from tests.support.service_api import FIRST_TIME, USER, AppClient, Stored

MESSAGE_NOT_FOUND = "Message Not Exists."
FIRST_NOT_FOUND = "First Message Not Exists."
CONVERSATION_NOT_FOUND = "Conversation Not Exists."
ASKS_NEXT = {"suggested_questions_after_answer": {"enabled": True}}
AT_ONCE = 6

USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 30,
    "total_tokens": 42,
    "total_price": "0.0000165",
    "currency": "EUR",
    "latency": 1.0,
}
THOUGHTS = [
    {"id": new_id(), "position": 1, "thought": "Hm.", "tool": "", "tool_input": "", "observation": ""},
    {"id": new_id(), "position": 2, "thought": "", "tool": "clock", "tool_input": "{}", "observation": "noon"},
]


def ids(answer: dict[str, Any]) -> list[str]:
    return [row["id"] for row in answer["data"]]


@pytest.fixture
def mine(app: AppClient, stored: Stored) -> str:
    """A conversation of the usual user."""
    return stored.conversation(app)


@pytest.fixture
def message(app: AppClient, stored: Stored, mine: str) -> str:
    return stored.turn(app, mine, status=TurnStatus.SUCCEEDED, answer="Noon.")


def only(app: AppClient, conversation_id: str) -> dict[str, Any]:
    (item,) = app.get("/messages", conversation_id=conversation_id)["data"]
    return dict(item)


def test_a_message_has_the_shape_that_clients_expect(app: AppClient, stored: Stored, mine: str) -> None:
    message = stored.turn(
        app,
        mine,
        query="What time is it? 🕛",
        inputs={"city": "Rome"},
        status=TurnStatus.SUCCEEDED,
        answer="Noon.",
        usage=USAGE,
        thoughts=THOUGHTS,
        latency=2.5,
        rating="like",
        created_at=FIRST_TIME,
    )

    moment = int(FIRST_TIME.timestamp())
    common: dict[str, Any] = {"chain_id": None, "message_id": message, "answer": "", "created_at": moment, "files": []}
    labels = {"clock": {"en_US": "clock", "zh_Hans": "clock"}}
    assert app.get("/messages", conversation_id=mine) == {
        "limit": 20,
        "has_more": False,
        "data": [
            {
                "id": message,
                "conversation_id": mine,
                "parent_message_id": None,
                "inputs": {"city": "Rome"},
                "query": "What time is it? 🕛",
                "answer": "Noon.",
                "feedback": {"rating": "like"},
                "retriever_resources": [],
                "created_at": moment,
                "agent_thoughts": [
                    {**THOUGHTS[0], **common, "tool_labels": {}},
                    {**THOUGHTS[1], **common, "tool_labels": labels},
                ],
                "message_files": [],
                "message_tokens": 12,
                "answer_tokens": 30,
                "total_tokens": 42,
                "provider_response_latency": 2.5,
                "total_price": "0.0000165",
                "currency": "EUR",
                "status": "normal",
                "error": None,
                "extra_contents": [],
            }
        ],
    }


def test_without_usage_a_message_has_cost_nothing(app: AppClient, stored: Stored, mine: str) -> None:
    stored.turn(app, mine, status=TurnStatus.SUCCEEDED)

    told = only(app, mine)

    assert (told["total_tokens"], told["total_price"], told["currency"]) == (0, "0", "USD")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (TurnStatus.SUCCEEDED, ("normal", None, "Half an ans")),
        (TurnStatus.CANCELLED, ("normal", None, "Half an ans")),
        (TurnStatus.FAILED, ("error", "it broke (agent_run_id={run_id})", "Half an ans")),
        (TurnStatus.RUNNING, ("normal", None, "")),
    ],
)
def test_a_message_shows_how_its_turn_ended(
    app: AppClient, stored: Stored, mine: str, status: TurnStatus, told: tuple[str, str | None, str]
) -> None:
    prepared: dict[str, Any] = {"answer": "Half an ans", "usage": USAGE, "thoughts": THOUGHTS, "error": "it broke"}
    run_id = new_id()
    stored.turn(app, mine, status=status, run_id=run_id, **prepared)

    item = only(app, mine)

    state, error, answer = told
    assert (item["status"], item["error"], item["answer"]) == (state, error and error.format(run_id=run_id), answer)
    assert bool(item["total_tokens"]) == bool(item["agent_thoughts"]) == (status is not TurnStatus.RUNNING)


def test_reading_a_turn_whose_run_is_lost_finalizes_it(app: AppClient, stored: Stored) -> None:
    mine = stored.conversation(app, unfinished=1, turns=1)
    stored.turn(app, mine, created_at=datetime.now(UTC) - timedelta(hours=1))

    assert only(app, mine)["status"] == "error"


def test_messages_are_paged_back_from_the_newest(app: AppClient, stored: Stored, mine: str) -> None:
    made = [stored.turn(app, mine, position) for position in (1, 2, 3, 5, 7)]
    stored.turn(app, stored.conversation(app))

    newest = app.get("/messages", conversation_id=mine, limit=2)
    older = app.get("/messages", conversation_id=mine, limit=2, first_id=ids(newest)[0])
    oldest = app.get("/messages", conversation_id=mine, limit=2, first_id=ids(older)[0])

    assert [ids(page) for page in (newest, older, oldest)] == [made[3:], made[1:3], made[:1]]
    assert [page["has_more"] for page in (newest, older, oldest)] == [True, True, False]
    parents = [item["parent_message_id"] for page in (oldest, older, newest) for item in page["data"]]
    assert parents == [None, *made[:4]]
    assert app.get("/messages", conversation_id=mine, first_id=made[0])["data"] == []


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_conversation_has_no_messages(app: AppClient, empty: str) -> None:
    expected = {"limit": 7, "has_more": False, "data": []}

    assert app.get("/messages", conversation_id=empty, limit=7) == expected
    assert app.get("/messages", "nobody", conversation_id=empty, limit=7) == expected


def test_the_conversation_must_be_named(app: AppClient) -> None:
    told = app.error("GET", "/messages", 400, "invalid_param", params={"user": USER})

    assert told["params"] == "conversation_id"
    assert "Field required" in told["message"]


@pytest.mark.parametrize(
    "query",
    [
        {"conversation_id": "x"},
        {"conversation_id": "\0"},
        {"first_id": "x"},
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "ten"},
    ],
)
def test_an_invalid_query_is_refused(app: AppClient, mine: str, query: dict[str, str]) -> None:
    params = {"user": USER, "conversation_id": mine, **query}

    told = app.error("GET", "/messages", 400, "invalid_param", params=params)

    assert told["params"] == next(iter(query))


def test_an_unknown_first_message_is_not_found(app: AppClient, stored: Stored, mine: str) -> None:
    stored.turn(app, mine)
    elsewhere = stored.turn(app, stored.conversation(app))

    for first_id in (new_id(), elsewhere):
        params = {"user": USER, "conversation_id": mine, "first_id": first_id}
        told = app.error("GET", "/messages", 404, "not_found", params=params)
        assert told["message"] == FIRST_NOT_FOUND


def test_an_unknown_conversation_is_not_found(app: AppClient) -> None:
    told = app.error("GET", "/messages", 404, "not_found", params={"conversation_id": new_id()})

    assert told["message"] == CONVERSATION_NOT_FOUND


def test_the_last_feedback_counts(app: AppClient, stored: Stored, mine: str, message: str) -> None:
    def rate(**body: Any) -> Any:
        told = app.json("POST", f"/v1/messages/{message}/feedbacks", json={"user": USER, **body})
        assert told == {"result": "success"}
        return only(app, mine)["feedback"]

    assert rate(rating="like", content="Größe 🧭") == {"rating": "like"}
    with stored.database.reading() as session:
        assert session.get_one(SessionTurn, message).rating_content == "Größe 🧭"
    assert rate(rating="dislike") == {"rating": "dislike"}
    assert rate(rating=None, content="x") is None
    assert rate() is None
    with stored.database.reading() as session:
        assert session.get_one(SessionTurn, message).rating_content is None


@pytest.mark.parametrize(
    ("body", "params"),
    [
        ({"rating": "great"}, "rating"),
        ({"rating": ""}, "rating"),
        ({"rating": 1}, "rating"),
        ({"rating": "like", "content": 5}, "content"),
        ({"rating": "like", "content": "a\0b"}, "content"),
        ({"rating": "like", "content": "c" * 10_001}, "content"),
    ],
)
def test_invalid_feedback_is_refused(
    app: AppClient, mine: str, message: str, body: dict[str, Any], params: str
) -> None:
    told = app.error("POST", f"/messages/{message}/feedbacks", 400, "invalid_param", json={"user": USER, **body})

    assert told["params"] == params
    assert only(app, mine)["feedback"] is None


def test_messages_of_other_users_are_not_found(
    app: AppClient, other_app: AppClient, foreign_app: AppClient, mine: str, message: str
) -> None:
    for caller, user in ((app, "bob"), (other_app, USER), (foreign_app, USER)):
        rated = caller.error(
            "POST", f"/messages/{message}/feedbacks", 404, "not_found", json={"user": user, "rating": "like"}
        )
        asked = caller.error("GET", f"/messages/{message}/suggested", 404, "not_found", params={"user": user})
        assert rated["message"] == asked["message"] == MESSAGE_NOT_FOUND
    assert only(app, mine)["feedback"] is None


@pytest.mark.parametrize("wrong", ["x", "%00", "01a1f94a-3a0e-7e3d-b37d-a61260b77010", "' OR 1=1", "a" * 1000])
def test_an_unknown_message_is_not_found(app: AppClient, message: str, wrong: str) -> None:
    for told in (
        app.error("POST", f"/messages/{wrong}/feedbacks", 404, "not_found", json={"user": USER, "rating": "like"}),
        app.error("GET", f"/messages/{wrong}/suggested", 404, "not_found", params={"user": USER}),
    ):
        assert told["message"] == MESSAGE_NOT_FOUND


def test_concurrent_feedback_is_all_answered(app: AppClient, mine: str, message: str) -> None:
    def rate(number: int) -> int:
        body = {"user": USER, "rating": ("like", "dislike")[number % 2]}
        return app.call("POST", f"/v1/messages/{message}/feedbacks", json=body).status_code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert set(pool.map(rate, range(AT_ONCE * 2))) == {200}
    assert only(app, mine)["feedback"]["rating"] in ("like", "dislike")


def test_questions_are_suggested_only_where_the_agent_says_so(app: AppClient, message: str) -> None:
    app.error("GET", f"/messages/{message}/suggested", 400, "bad_request", params={"user": USER})


class Finalizes:
    """Finalizes every turn that runs, as if its run had just succeeded."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def finalize_session(self, tenant_id: str, session_id: str, /) -> None:
        with self.database.transaction() as session:
            assert session.get_one(AgentSession, session_id).tenant_id == tenant_id
            for turn in session.query(SessionTurn).where(SessionTurn.session_id == session_id):
                turn.status, turn.answer = TurnStatus.SUCCEEDED, "Noon."


class Suggests:
    def __init__(self) -> None:
        self.asked: list[tuple[App, str, TurnStatus]] = []

    def __call__(self, app: App, turn: SessionTurn) -> list[str]:
        self.asked.append((app, turn.id, turn.status))
        return ["And tomorrow?"]


@pytest.fixture
def suggests() -> Suggests:
    return Suggests()


@pytest.fixture
def messages(database: Database, suggests: Suggests) -> MessageService:
    return MessageService(database, EndUserService(database), finalizer=Finalizes(database), suggest=suggests)


def test_reading_finalizes_a_turn_and_shows_the_result(
    app: AppClient, stored: Stored, mine: str, messages: MessageService
) -> None:
    stored.turn(app, mine)

    page = messages.list_messages(app.app, MessagesQuery(user=USER, conversation_id=mine))

    assert page.data[0]["answer"] == "Noon."


def test_suggestions_are_made_for_a_finalized_turn(
    roster: AgentClient, stored: Stored, messages: MessageService, suggests: Suggests
) -> None:
    app = AppClient(roster, app_features=ASKS_NEXT)
    message = stored.turn(app, stored.conversation(app))

    assert messages.suggest_questions(app.app, message, user=USER) == ["And tomorrow?"]
    assert suggests.asked == [(app.app, message, TurnStatus.SUCCEEDED)]


def test_suggestions_follow_the_version_of_the_conversation(
    roster: AgentClient, stored: Stored, messages: MessageService, suggests: Suggests
) -> None:
    app = AppClient(roster, app_features=ASKS_NEXT)
    old = stored.turn(app, stored.conversation(app))
    app.version_id = roster.version(app.agent_id, "You suggest nothing.")["id"]
    new = stored.turn(app, stored.conversation(app))

    assert messages.suggest_questions(app.app, old, user=USER)
    with pytest.raises(RequestRefused):
        messages.suggest_questions(app.app, new, user=USER)
    assert [asked[1] for asked in suggests.asked] == [old]
