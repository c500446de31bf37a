"""Questions to people in conversations, answered or not, on both databases and two workers."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from models import AgentSession, HumanInputForm
from models.enums import FormStatus
from runtime.protocol.ids import new_id
from services.chat.apps import App
from services.chat.end_users import EndUserService
from services.database import Database
from services.souls.document import MAX_PROMPT_CHARS
from tests.conftest import StartServer, environment
from tests.support.agent_client import ADMIN_TOKEN, AgentClient
from tests.support.agent_server import SECRET_KEYS
from tests.support.client import wait_until
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import USAGE, Answer, ScriptedDaemon
from tests.support.redis_server import running_redis
from tests.support.service_api import checked_error
from tests.support.session_client import WAITED_SECONDS, SessionClient, says, says_and_waits, scripted_soul, shown

AT_ONCE = 8
QUERY = "Deploy it."
CONTACTS = {"contacts": [{"contact_id": "ann", "name": "Ann"}]}
QUESTION: dict[str, Any] = {
    "title": "Deployment",
    "question": "Deploy now?",
    "markdown": "Version **7**",
    "fields": [
        {"type": "paragraph", "name": "why", "label": "Why", "required": True},
        {
            "type": "select",
            "name": "where",
            "label": "Where",
            "options": [{"value": "eu", "label": "Europe"}, {"value": "us", "label": "America"}],
            "default": "eu",
        },
    ],
    "actions": [{"id": "go", "label": "Go", "style": "primary"}, {"id": "stop", "label": "Stop"}],
}
ANSWER = {"action": "go", "values": {"why": "It is time."}}
TOO_LATE = 0.5


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model name for this test alone, so that no two tests share a script."""
    return str(request.node.name)


@pytest.fixture
def client(agent_server: GunicornServer) -> SessionClient:
    return SessionClient(agent_server.url)


def asks(question: dict[str, Any] = QUESTION, call_id: str = "call-1") -> Answer:
    call = {"id": call_id, "name": "ask_human", "arguments": json.dumps(question)}
    return [{"tool_call": call}, {"finish": "tool_calls", "usage": USAGE}]


def asking_agent(client: SessionClient, model: str) -> dict[str, Any]:
    soul = scripted_soul(model, human=CONTACTS)
    return client.json("POST", "/agents", 201, json={"name": f"agent {new_id()}", "agent_soul": soul})


def app_of(client: SessionClient, agent: dict[str, Any]) -> AgentClient:
    """A client with the key of an app."""
    key = client.json("POST", "/keys", 201, json={"kind": "app", "agent_id": agent["id"]})["key"]
    return AgentClient(client.url, tenant=client.tenant, key=key)


def forms_of(database: Database, session: str) -> list[HumanInputForm]:
    wanted = select(HumanInputForm).where(HumanInputForm.session_id == session).order_by(HumanInputForm.id)
    with database.reading() as rows:
        return list(rows.scalars(wanted))


@dataclass
class Asked:
    """A session whose last turn has ended with a question."""

    client: SessionClient
    database: Database
    agent: dict[str, Any]
    session: str
    app: AgentClient
    token: str = ""

    def read_token(self) -> str:
        """Returns the token of the last question's form. Reading the turns finalizes them, which creates the form."""
        self.client.turns(self.session)
        self.token = forms_of(self.database, self.session)[-1].token
        return self.token

    @property
    def path(self) -> str:
        return f"/v1/form/human_input/{self.token}"

    def show(self, **query: Any) -> dict[str, Any]:
        return self.app.json("GET", self.path, params=query)

    def answer(self, body: object = ANSWER) -> str:
        """Answers the form and returns the id of the message that continues."""
        done = self.app.json("POST", self.path, json=body)
        assert set(done) == {"result", "message_id"}
        assert done["result"] == "success"
        return str(done["message_id"])

    def refused(
        self, status: int, code: str, body: object = ANSWER, *, app: AgentClient | None = None
    ) -> dict[str, Any]:
        return checked_error((app or self.app).call("POST", self.path, json=body), status, code)

    def belongs_to(self, user: str) -> None:
        """Makes the session the conversation of an end user."""
        app = App(self.client.tenant, self.agent["id"], None)
        end_user_id = EndUserService(self.database).find_or_make(app, user)
        with self.database.transaction() as session:
            session.get_one(AgentSession, self.session).end_user_id = end_user_id


def ask(client: SessionClient, database: Database, model: str) -> Asked:
    """Starts a turn in which the scripted agent asks its question."""
    agent = asking_agent(client, model)
    session = client.session(agent)
    end = client.say(session, QUERY)
    assert end["data"]["deferred_tool_call"]["args"]["question"] == "Deploy now?"
    asked = Asked(client, database, agent, session, app_of(client, agent))
    asked.read_token()
    return asked


@pytest.fixture
def asked(client: SessionClient, database: Database, daemon: ScriptedDaemon, model: str) -> Asked:
    daemon.script(model, asks(), says("Deployed."))
    return ask(client, database, model)


def result_shown(daemon: ScriptedDaemon, model: str, number: int) -> dict[str, Any]:
    """The result of the question, as it was shown to the model in one of its calls."""
    results = [text for role, text in shown(daemon.calls(model)[number]) if role == "tool"]
    found: dict[str, Any] = json.loads(results[-1])
    return found


def test_a_question_ends_the_turn_and_is_a_form(asked: Asked) -> None:
    (turn,) = asked.client.turns(asked.session)
    assert (turn["status"], turn["answer"]) == ("succeeded", "Deploy now?\n\nVersion **7**")

    form = asked.show()

    until = form.pop("expires_at") - time.time()
    assert 129_600 - 600 < until <= 129_600
    assert form == {
        "form_token": asked.token,
        "status": "waiting",
        "title": "Deployment",
        "question": "Deploy now?",
        "markdown": "Version **7**",
        "fields": [QUESTION["fields"][0], {**QUESTION["fields"][1], "required": False}],
        "actions": [
            {"id": "go", "label": "Go", "style": "primary"},
            {"id": "stop", "label": "Stop", "style": "default"},
        ],
    }


def test_the_model_goes_on_with_the_answer(asked: Asked, daemon: ScriptedDaemon, model: str) -> None:
    message_id = asked.answer()

    last = asked.client.wait_for_turn(asked.session, 1, "succeeded")
    assert (last["id"], last["query"], last["answer"]) == (message_id, QUERY, "Deployed.")
    messages = shown(daemon.calls(model)[1])
    assert [role for role, _ in messages] == ["user", "assistant", "tool"]
    assert result_shown(daemon, model, 1) == {
        "status": "submitted",
        "action": {"id": "go", "label": "Go"},
        "values": {"why": "It is time.", "where": "eu"},
        "message": None,
        "rendered_content": "Deployment\n\nDeploy now?\n\nVersion **7**\n\nWhy: It is time.\n\nWhere: Europe\n\nGo",
    }
    assert asked.show()["status"] == "submitted"


def test_after_the_answer_the_conversation_goes_on_as_before(asked: Asked, daemon: ScriptedDaemon, model: str) -> None:
    asked.answer()
    asked.client.wait_for_turn(asked.session, 1, "succeeded")

    end = asked.client.say(asked.session, "Thanks.")

    assert end["data"]["output"] == "Deployed."
    roles = [role for role, _ in shown(daemon.calls(model)[2])]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


def test_an_interrupted_turn_does_not_lose_the_answer_it_was_given(
    client: SessionClient, database: Database, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks(), says_and_waits("I am on it", until=model), says("Stopped."))
    asked = ask(client, database, model)
    asked.answer()
    daemon.wait_for_call(model, count=2)
    run_id = client.turns(asked.session)[1]["run_id"]
    wait_until(lambda: "I am on it" in json.dumps(client.runs().page(run_id)))

    end = client.say(asked.session, "Stop!", multitask_strategy="interrupt")

    assert end["data"]["output"] == "Stopped."
    messages = shown(daemon.calls(model)[2])
    assert [role for role, _ in messages] == ["user", "assistant", "tool", "assistant", "user"]
    assert result_shown(daemon, model, 2)["values"]["why"] == "It is time."
    assert [text for _, text in messages[-2:]] == ["I am on it", "Stop!"]


def test_the_answer_may_lead_to_another_question(
    client: SessionClient, database: Database, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks(), asks({"question": "Really?"}, "call-2"), says("Done."))
    asked = ask(client, database, model)
    first = asked.token
    asked.answer()
    client.wait_for_turn(asked.session, 1, "succeeded")

    assert asked.read_token() != first
    form = asked.show()
    assert (form["question"], form["title"], form["markdown"], form["fields"]) == ("Really?", None, None, [])
    assert form["actions"] == [{"id": "submit", "label": "Submit", "style": "primary"}]
    asked.answer({"action": "submit"})

    assert client.wait_for_turn(asked.session, 2, "succeeded")["answer"] == "Done."
    assert result_shown(daemon, model, 2)["action"] == {"id": "submit", "label": "Submit"}


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "action"),
        ({"action": None, "values": {"why": "y"}}, "action"),
        ({"action": "submit", "values": {"why": "y"}}, "action"),
        ({"action": "go"}, "values.why"),
        ({"action": "go", "values": None}, "values"),
        ({"action": "go", "values": ["why"]}, "values"),
        ({"action": "go", "values": {"why": " \n"}}, "values.why"),
        ({"action": "go", "values": {"why": "\0"}}, "values.why"),
        ({"action": "go", "values": {"why": None}}, "values.why"),
        ({"action": "go", "values": {"why": 7}}, "values.why"),
        ({"action": "go", "values": {"why": {"text": "y"}}}, "values.why"),
        ({"action": "go", "values": {"why": "y" * (MAX_PROMPT_CHARS + 1)}}, "values.why"),
        ({"action": "go", "values": {"why": "y", "where": "Europe"}}, "values.where"),
        ({"action": "go", "values": {"why": "y", "where": ["eu"]}}, "values.where"),
        ({"action": "go", "values": {"why": "y", "who": "me"}}, "values.who"),
        ({"action": "go", "values": {"why": "y"}, "user": ["ann"]}, "user"),
    ],
)
def test_what_does_not_fit_the_form_is_refused_and_leaves_it_open(asked: Asked, body: object, place: str) -> None:
    assert asked.refused(400, "invalid_param", body)["params"] == place

    assert asked.show()["status"] == "waiting"
    assert len(asked.client.turns(asked.session)) == 1


def test_a_malformed_answer_is_refused(asked: Asked) -> None:
    def sent(data: bytes, content_type: str) -> Any:
        return asked.app.call("POST", asked.path, data=data, headers={"Content-Type": content_type})

    checked_error(sent(b"{", "application/json"), 400, "bad_request")
    checked_error(sent(b"[]", "application/json"), 400, "invalid_param")
    checked_error(sent(b"action=go", "application/x-www-form-urlencoded"), 415, "unsupported_media_type")
    checked_error(sent(b'{"action": "%s"}' % (b"a" * 11_000_000), "application/json"), 413, "request_too_large")
    assert asked.show()["status"] == "waiting"


def test_a_chat_client_gets_the_form_and_finds_the_answer_among_the_messages(
    client: SessionClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks(), says("Deployed."))
    app = app_of(client, asking_agent(client, model))
    body = {"inputs": {}, "query": QUERY, "user": "ann", "response_mode": "streaming"}
    frames = app.call("POST", "/v1/chat-messages", json=body).text.split("\n\n")
    events = [json.loads(frame.removeprefix("data: ")) for frame in frames if frame.startswith("data: ")]
    end = events[-1]
    assert end["event"] == "message_end"
    told = end["metadata"]["human_input"]
    path = f"/v1/form/human_input/{told['form_token']}"
    assert app.json("GET", path, params={"user": "ann"})["expires_at"] == told["expires_at"]
    refused = app.call("POST", "/v1/chat-messages", json={**body, "conversation_id": end["conversation_id"]})
    checked_error(refused, 409, "human_input_pending")

    message_id = app.json("POST", path, json={**ANSWER, "user": "ann"})["message_id"]

    def messages() -> list[dict[str, Any]]:
        query = {"user": "ann", "conversation_id": end["conversation_id"]}
        found: list[dict[str, Any]] = app.json("GET", "/v1/messages", params=query)["data"]
        return found

    wait_until(lambda: messages()[-1]["answer"] == "Deployed.", timeout=WAITED_SECONDS)
    asked, answered = messages()
    assert (asked["id"], asked["answer"]) == (end["message_id"], "Deploy now?\n\nVersion **7**")
    assert (answered["id"], answered["query"], answered["parent_message_id"]) == (message_id, QUERY, asked["id"])
    users = {call["body"]["user_id"] for call in daemon.calls(model)}
    assert users == {"ann"}


def test_a_form_is_answered_once(asked: Asked) -> None:
    asked.answer()

    asked.refused(409, "human_input_form_submitted")
    asked.refused(409, "human_input_form_submitted", {"action": "nonsense"})


def test_of_many_answers_at_once_one_is_taken(asked: Asked, daemon: ScriptedDaemon, model: str) -> None:
    def submit(number: int) -> Any:
        body = {"action": "go", "values": {"why": f"answer {number}"}}
        return asked.app.call("POST", asked.path, json=body)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(submit, range(AT_ONCE)))

    taken = [number for number, answer in enumerate(answers) if answer.status_code == 200]
    assert len(taken) == 1
    for number, answer in enumerate(answers):
        if number not in taken:
            checked_error(answer, 409, "human_input_form_submitted")
    asked.client.wait_for_turn(asked.session, 1, "succeeded")
    assert len(asked.client.turns(asked.session)) == 2
    assert result_shown(daemon, model, 1)["values"]["why"] == f"answer {taken[0]}"


def test_a_form_stays_open_when_redis_takes_no_turn(
    database_url: str, database: Database, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks(), says("Deployed."))
    with running_redis() as redis_server:
        env = environment(redis_server.url, daemon.url, **server_settings(database_url))
        with running_server(env) as server, redis_server.client() as redis:
            asked = ask(SessionClient(server.url), database, model)
            redis.config_set("maxmemory", 1)

            asked.refused(503, "storage_unavailable")

            assert asked.show()["status"] == "waiting"
            redis.config_set("maxmemory", 0)
            asked.answer()
            last = asked.client.wait_for_turn(asked.session, 1, "succeeded")
            assert (last["answer"], len(asked.client.turns(asked.session))) == ("Deployed.", 2)


def test_a_form_is_only_found_by_its_own_app(
    asked: Asked, agent_server: GunicornServer, daemon: ScriptedDaemon, model: str
) -> None:
    other = app_of(asked.client, asked.client.agent("Bob"))
    stranger = SessionClient(agent_server.url)
    foreign = app_of(stranger, stranger.agent())

    for app in (other, foreign):
        checked_error(app.call("GET", asked.path), 404, "not_found")
        asked.refused(404, "not_found", app=app)
    checked_error(asked.client.call("GET", asked.path), 400, "invalid_param")
    found = asked.client.json("GET", asked.path, params={"app_id": asked.agent["id"]})
    assert found["status"] == "waiting"


@pytest.mark.parametrize("token", ["x", "a" * 43, "a" * 2000, "%00", "..", "%F0%9F%A7%AD", "a%27--"])
def test_an_unknown_form_is_not_found(asked: Asked, token: str) -> None:
    path = f"/v1/form/human_input/{token}"

    checked_error(asked.app.call("GET", path), 404, "not_found")
    checked_error(asked.app.call("POST", path, json=ANSWER), 404, "not_found")


def test_nobody_is_let_in_without_a_key(asked: Asked) -> None:
    nobody = AgentClient(asked.client.url, key="app-unknown")

    checked_error(nobody.call("GET", asked.path), 401, "unauthorized")
    asked.refused(401, "unauthorized", app=nobody)


def test_another_end_user_does_not_find_the_form(asked: Asked) -> None:
    checked_error(asked.app.call("GET", asked.path, params={"user": "ann"}), 404, "not_found")
    asked.belongs_to("ann")

    checked_error(asked.app.call("GET", asked.path, params={"user": "bob"}), 404, "not_found")
    asked.refused(404, "not_found", {**ANSWER, "user": "bob"})
    assert asked.show()["status"] == asked.show(user="ann")["status"] == "waiting"
    asked.answer({**ANSWER, "user": "ann"})


def test_the_form_of_a_deleted_session_is_not_found(asked: Asked) -> None:
    assert asked.client.call("DELETE", f"/sessions/{asked.session}").status_code == 204

    checked_error(asked.app.call("GET", asked.path), 404, "not_found")
    asked.refused(404, "not_found")


def test_an_ordinary_turn_is_refused_while_a_question_waits(asked: Asked) -> None:
    body = {"query": "Never mind."}

    for strategy in (None, "enqueue", "interrupt", "rollback", "reject"):
        asked.client.refused(
            "POST",
            f"/sessions/{asked.session}/runs",
            409,
            "human_input_pending",
            json={**body, "multitask_strategy": strategy},
        )
    asked.answer()

    asked.client.wait_for_turn(asked.session, 1, "succeeded")


def server_settings(database_url: str, **settings: Any) -> dict[str, Any]:
    return {
        "redis_prefix": f"forms-{new_id()}",
        "admin_token": ADMIN_TOKEN,
        "secret_keys": SECRET_KEYS,
        "database_url": database_url,
        **settings,
    }


def test_an_ordinary_turn_may_cancel_the_question(
    start_server: StartServer, database_url: str, database: Database, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks(), says("As you like."))
    server = start_server(server_settings(database_url, human_input_conflict="cancel"))
    asked = ask(SessionClient(server.url), database, model)

    end = asked.client.say(asked.session, "Never mind.")

    assert end["data"]["output"] == "As you like."
    messages = shown(daemon.calls(model)[1])
    assert [role for role, _ in messages] == ["user", "assistant", "tool", "user"]
    assert result_shown(daemon, model, 1)["status"] == "unavailable"
    assert asked.show()["status"] == "cancelled"
    asked.refused(409, "human_input_form_cancelled")
    assert len(asked.client.turns(asked.session)) == 2


@pytest.mark.parametrize("conflict", ["reject", "cancel"])
def test_a_turn_in_line_behind_a_question_is_an_ordinary_turn(
    start_server: StartServer,
    database_url: str,
    database: Database,
    daemon: ScriptedDaemon,
    model: str,
    conflict: str,
) -> None:
    daemon.script(model, [{"wait": model}, *asks()], says("Next."))
    server = start_server(server_settings(database_url, human_input_conflict=conflict))
    client = SessionClient(server.url)
    agent = asking_agent(client, model)
    asked = Asked(client, database, agent, client.session(agent), app_of(client, agent))

    client.start(asked.session, QUERY)
    daemon.wait_for_call(model)
    behind = client.start(asked.session, "And then?")
    daemon.release(model)
    end = client.finish(behind["run_id"])

    asked.read_token()
    if conflict == "cancel":
        assert end["data"]["output"] == "Next."
        asked.refused(409, "human_input_form_cancelled")
    else:
        assert (end["type"], end["data"]["reason"]) == ("run_failed", "human_input_pending")
        asked.answer()
        assert client.wait_for_turn(asked.session, 2, "succeeded")["answer"] == "Next."


def test_the_conversation_continues_when_nobody_answers_in_time(
    start_server: StartServer, database_url: str, database: Database, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks(), says("Then not."))
    server = start_server(server_settings(database_url, human_input_seconds=TOO_LATE), workers=2)
    asked = ask(SessionClient(server.url), database, model)
    wait_until(lambda: asked.show()["status"] == "timeout")

    asked.refused(410, "human_input_form_expired")

    wait_until(lambda: len(asked.client.turns(asked.session)) > 1, timeout=WAITED_SECONDS)
    last = asked.client.wait_for_turn(asked.session, 1, "succeeded")
    assert (last["query"], last["answer"]) == (QUERY, "Then not.")
    assert result_shown(daemon, model, 1) == {
        "status": "timeout",
        "action": None,
        "values": {},
        "message": None,
        "rendered_content": None,
    }
    asked.refused(410, "human_input_form_expired")
    assert asked.client.say(asked.session, "Still there?")["data"]["output"] == "Then not."
    assert len(asked.client.turns(asked.session)) == 3


def test_a_question_of_an_archived_agent_times_out(
    start_server: StartServer, database_url: str, database: Database, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, asks())
    server = start_server(server_settings(database_url, human_input_seconds=TOO_LATE))
    asked = ask(SessionClient(server.url), database, model)
    assert asked.client.call("DELETE", f"/agents/{asked.agent['id']}").status_code == 204

    wait_until(lambda: forms_of(database, asked.session)[0].status is FormStatus.TIMEOUT, timeout=WAITED_SECONDS)

    assert len(asked.client.turns(asked.session)) == 1
    with database.reading() as session:
        assert session.get_one(AgentSession, asked.session).waiting_form_id is None
