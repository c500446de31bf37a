"""The operator's settings for chats, such as who names a conversation, and pings of silent streams."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import environment
from tests.support.agent_client import ADMIN_TOKEN, AgentClient
from tests.support.agent_server import SECRET_KEYS
from tests.support.chat_client import ChatClient, parse_chat
from tests.support.client import wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer
from tests.support.service_api import USER
from tests.support.session_client import says, says_and_waits, shown

ASKS_NEXT = {"suggested_questions_after_answer": {"enabled": True}}
PING = b"event: ping\n\n"
LONG = "Where can I find a quiet place near the old town, with a view of the river and the Alps?"


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, daemon: ScriptedDaemon, database_url: str) -> Iterator[GunicornServer]:
    """A server on which every chat setting differs from its default."""
    env = environment(
        redis_server.url,
        daemon.url,
        redis_prefix="chats",
        admin_token=ADMIN_TOKEN,
        database_url=database_url,
        secret_keys=SECRET_KEYS,
        service_api_strict="true",
        stop_unread_chats="true",
        conversation_names="model",
    )
    with running_server(env, workers=2) as server:
        yield server


@pytest.fixture
def roster(server: GunicornServer) -> AgentClient:
    """A client for a new tenant."""
    return AgentClient(server.url)


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model name for this test alone, so that no two tests share a script."""
    return str(request.node.name)


@pytest.fixture
def chat(roster: AgentClient, model: str) -> ChatClient:
    return ChatClient(roster, model, app_features=ASKS_NEXT)


def statuses(roster: AgentClient, conversation: str) -> list[str]:
    return [turn["status"] for turn in roster.json("GET", f"/sessions/{conversation}/turns")["data"]]


def asked(daemon: ScriptedDaemon, model: str) -> list[str]:
    """What each call asked the model."""
    return [shown(call)[-1][1] for call in daemon.calls(model)]


def test_strictness_refuses_what_dify_refuses(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))
    body = {"inputs": {}, "query": "Hello?", "user": USER}

    blocking = chat.error("POST", "/chat-messages", 400, "bad_request", json={**body, "response_mode": "blocking"})
    without = chat.error("POST", "/chat-messages", 400, "invalid_param", json={"query": "Hello?", "user": USER})

    assert blocking == {
        "code": "bad_request",
        "message": "Agent App only supports streaming response mode.",
        "status": 400,
    }
    assert without["params"] == "inputs"
    assert chat.get("/conversations")["data"] == []
    assert chat.call("POST", "/v1/chat-messages", json=body).headers["Content-Type"].startswith("text/event-stream")


def test_a_reader_that_leaves_stops_the_answer(
    chat: ChatClient, roster: AgentClient, daemon: ScriptedDaemon, model: str
) -> None:
    endless = {"stream": {"chunks": 100_000, "rate": 50, "text": "word "}}
    daemon.script(model, [{"text": "Once"}, endless], says("A name"))
    with chat.post(auto_generate_name=False) as response:
        conversation = next(parse_chat(response.iter_content(None)))["conversation_id"]

    wait_until(lambda: statuses(roster, conversation) == ["cancelled"])

    (message,) = chat.messages(conversation)
    assert message["status"] == "normal"
    assert message["answer"].startswith("Once")


def test_a_mere_follower_that_leaves_does_not_stop_the_turn(
    chat: ChatClient, roster: AgentClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, [{"text": "Once"}, {"stream": {"chunks": 60, "rate": 50, "text": " more"}}, *says(".")])
    frames = chat.frames(auto_generate_name=False)
    first = next(frames)
    path = f"/sessions/{first['conversation_id']}/turns/{first['message_id']}/chat-events"

    with chat.call("GET", path, stream=True) as response:
        next(parse_chat(response.iter_content(None)))
    last = list(frames)[-1]

    assert last["event"] == "message_end"
    assert statuses(roster, first["conversation_id"]) == ["succeeded"]


def test_reading_to_the_end_does_not_stop_the_turn(
    chat: ChatClient, roster: AgentClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("All of it."))

    answer = chat.say(auto_generate_name=False)

    assert (answer.text, statuses(roster, answer.conversation_id)) == ("All of it.", ["succeeded"])


def test_a_silent_stream_is_kept_open_by_pings(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says_and_waits("Once", until=model, then=" more"))
    received = b""

    with chat.post(auto_generate_name=False) as response:
        for chunk in response.iter_content(None):
            received += chunk
            if received.endswith(PING):
                daemon.release(model)
    before, rest = received.split(PING, 1)

    assert len(list(parse_chat(iter([before])))) == 1
    assert [frame["event"] for frame in parse_chat(iter([rest.replace(PING, b"")]))] == ["message", "message_end"]


def test_the_model_names_a_conversation(
    chat: ChatClient, roster: AgentClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says_and_waits("Quiet places in Bern\n", until=model))
    frames = chat.frames(LONG)
    conversation = next(frames)["conversation_id"]
    daemon.wait_for_call(model, count=2)
    before = roster.json("GET", f"/sessions/{conversation}")["updated_at"]

    daemon.release(model)
    list(frames)

    wait_until(lambda: chat.get("/conversations")["data"][0]["name"] == "Quiet places in Bern")
    assert chat.get("/conversations")["data"][0]["id"] == conversation
    assert roster.json("GET", f"/sessions/{conversation}")["updated_at"] == before
    assert sorted(asked(daemon, model)) == [LONG, LONG]
    assert len(chat.messages(conversation)) == 1


def test_a_name_given_by_a_user_is_kept(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says_and_waits("A", until=model, then=" name"))
    frames = chat.frames(LONG)
    conversation = next(frames)["conversation_id"]
    daemon.wait_for_call(model, count=2)

    chat.json("POST", f"/v1/conversations/{conversation}/name", json={"name": "Mine", "user": USER})
    daemon.release(model)
    list(frames)
    daemon.wait_until_ended(model, count=2)
    chat.say("And now?", conversation_id=conversation)

    assert chat.get("/conversations")["data"][0]["name"] == "Mine"


def test_the_first_question_names_the_conversation_when_the_model_does_not(
    chat: ChatClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, [{"error": {"error_type": "E", "message": "no", "code": -500}}])
    conversation = chat.say(LONG).conversation_id
    daemon.wait_until_ended(model, count=2)
    body = {"auto_generate": True, "user": USER}

    renamed = chat.json("POST", f"/v1/conversations/{conversation}/name", json=body)

    assert renamed["name"] == "Where can I find a quiet place near the old town, with a…"


def test_no_name_is_made_unless_it_is_wanted(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))

    chat.say(LONG, auto_generate_name=False)
    chat.say("And?", conversation_id=chat.get("/conversations")["data"][0]["id"])

    assert chat.get("/conversations")["data"][0]["name"] == "New conversation"
    assert asked(daemon, model) == [LONG, "And?"]


def test_the_model_makes_another_name_on_demand(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"), says("Quiet places"))
    conversation = chat.say(LONG, auto_generate_name=False).conversation_id
    body = {"auto_generate": True, "user": USER}

    renamed = chat.json("POST", f"/v1/conversations/{conversation}/name", json=body)

    assert renamed["name"] == "Quiet places"
    assert chat.get("/conversations")["data"][0]["name"] == "Quiet places"
    path = f"/conversations/{conversation}/name"
    chat.error("POST", path, 404, "not_found", json={**body, "user": "bob"})
    assert asked(daemon, model) == [LONG, LONG]


@pytest.mark.parametrize(
    ("said", "suggested"),
    [
        ('["What else?", "How far?"]', ["What else?", "How far?"]),
        ('Here you are:\n```json\n["a?", " ", 7, "b?", "c?", "d?"]\n```', ["a?", "b?", "c?"]),
        ("I would not know.", []),
        ("[not JSON]", []),
        ("", []),
    ],
)
def test_the_model_suggests_questions(
    chat: ChatClient, daemon: ScriptedDaemon, model: str, said: str, suggested: list[str]
) -> None:
    daemon.script(model, says("At 23:41."), says(said) if said else [{"finish": "stop"}])
    answer = chat.say("When does it leave?", auto_generate_name=False)

    told = chat.get(f"/messages/{answer.message_id}/suggested")

    assert told == {"result": "success", "data": suggested}
    assert "When does it leave?" in asked(daemon, model)[1]
    assert "At 23:41." in asked(daemon, model)[1]
    assert [message["query"] for message in chat.messages(answer.conversation_id)] == ["When does it leave?"]


def test_a_model_that_fails_suggests_nothing(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"), [{"error": {"error_type": "E", "message": "no", "code": -500}}])
    answer = chat.say(auto_generate_name=False)

    assert chat.get(f"/messages/{answer.message_id}/suggested")["data"] == []
