"""Dify's published Python client, unchanged except for its base URL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from dify_client import ChatClient, CompletionClient

from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.service_api import ERROR_KEYS, USER, checked_error
from tests.support.session_client import says, says_and_waits, shown

REFUSAL = {"error_type": "InvokeAuthorizationError", "message": "bad key sk-canary-1", "code": -500}


@pytest.fixture
def client(base_url: str, key: str) -> ChatClient:
    client = ChatClient(key)
    client.base_url = base_url
    return client


def frames(response: requests.Response) -> Iterator[dict[str, Any]]:
    """Yields the frames of a stream, read line by line as the client's guide shows."""
    assert response.status_code == 200, response.text
    for line in response.iter_lines(decode_unicode=True):
        if line.startswith("data:"):
            yield json.loads(line.removeprefix("data:"))


def stream(client: ChatClient, query: str, **options: Any) -> list[dict[str, Any]]:
    with client.create_chat_message({}, query, USER, response_mode="streaming", **options) as response:
        return list(frames(response))


def ask(client: ChatClient, query: str, **options: Any) -> dict[str, Any]:
    """Returns the whole answer, which is this client's default."""
    return body_of(client.create_chat_message({}, query, USER, **options))


def begin(client: ChatClient, query: str) -> str:
    """Begins a conversation and returns its id."""
    return str(ask(client, query)["conversation_id"])


def body_of(response: requests.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def test_a_stream_is_read_while_the_model_speaks(client: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says_and_waits("Grüezi", until=model, then=" wohl"))

    with client.create_chat_message({}, "Hello?", USER, response_mode="streaming") as response:
        coming = frames(response)
        first = next(coming)
        daemon.release(model)
        rest = list(coming)

    assert (first["event"], first["answer"]) == ("message", "Grüezi")
    assert "".join(frame["answer"] for frame in rest if frame["event"] == "message") == " wohl"
    assert rest[-1]["event"] == "message_end"
    assert rest[-1]["metadata"]["usage"]["total_tokens"] == 12


def test_no_character_of_an_answer_breaks_its_lines(client: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    answer = "one\n\ntwo\u2028three\u2029four\u0085five\x0bsix\x0cseven\x1ceight\r\nnine 🙂"
    daemon.script(model, says(answer, split=2))

    streamed = stream(client, "Hello?")

    assert "".join(frame["answer"] for frame in streamed if frame["event"] == "message") == answer


def test_by_default_the_client_asks_for_a_whole_answer(client: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("Hello, Ann."))

    body = ask(client, "Hello?")

    assert (body["event"], body["mode"], body["answer"]) == ("message", "agent", "Hello, Ann.")
    assert body["metadata"]["usage"]["total_tokens"] == 12


def test_a_conversation_goes_on_in_either_mode(client: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("Paris."), says("The Seine."), says("Two million."))

    conversation = ask(client, "Capital of France?")["conversation_id"]
    second = stream(client, "Its river?", conversation_id=conversation)
    third = ask(client, "Its people?", conversation_id=conversation)

    assert {second[-1]["conversation_id"], third["conversation_id"]} == {conversation}
    assert shown(daemon.calls(model)[2]) == [
        ("user", "Capital of France?"),
        ("assistant", "Paris."),
        ("user", "Its river?"),
        ("assistant", "The Seine."),
        ("user", "Its people?"),
    ]


def test_the_address_of_a_file_is_shown_to_the_model(client: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("A cat."))
    file = {"type": "image", "transfer_method": "remote_url", "url": "https://example.com/cat.png"}

    ask(client, "What is it?", files=[file])

    ((_, told),) = shown(daemon.calls(model)[0])
    assert "https://example.com/cat.png" in told


def test_messages_are_read_page_by_page(client: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("a1"), says("a2"), says("a3"))
    conversation = ask(client, "q1")["conversation_id"]
    for query in ("q2", "q3"):
        ask(client, query, conversation_id=conversation)

    newest = body_of(client.get_conversation_messages(USER, conversation, limit=2))
    older = body_of(client.get_conversation_messages(USER, conversation, first_id=newest["data"][0]["id"], limit=2))

    assert [(item["query"], item["answer"]) for item in newest["data"]] == [("q2", "a2"), ("q3", "a3")]
    assert [(item["query"], item["answer"]) for item in older["data"]] == [("q1", "a1")]
    assert (newest["has_more"], older["has_more"]) == (True, False)


def test_conversations_are_read_page_by_page(client: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))
    made = [begin(client, query) for query in ("first", "second", "third")]

    newest = body_of(client.get_conversations(USER, limit=2, pinned=False))
    older = body_of(client.get_conversations(USER, last_id=newest["data"][-1]["id"]))

    assert [item["id"] for item in newest["data"] + older["data"]] == made[::-1]
    assert (newest["has_more"], older["has_more"]) == (True, False)
    assert body_of(client.get_conversations("somebody else"))["data"] == []


def test_a_conversation_gets_another_name(client: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))
    conversation = ask(client, "Hello?")["conversation_id"]

    renamed = body_of(client.rename_conversation(conversation, "Rome", USER))

    assert (renamed["id"], renamed["name"]) == (conversation, "Rome")
    assert [item["name"] for item in body_of(client.get_conversations(USER))["data"]] == ["Rome"]


def test_feedback_is_given_and_taken_back(client: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))
    said = ask(client, "Hello?")

    kept: list[Any] = []
    for rating in ("like", "dislike", None):
        assert body_of(client.message_feedback(said["message_id"], rating, USER)) == {"result": "success"}
        (message,) = body_of(client.get_conversation_messages(USER, said["conversation_id"]))["data"]
        kept.append(message["feedback"])

    assert kept == [{"rating": "like"}, {"rating": "dislike"}, None]


def test_the_parameters_say_how_a_chat_begins(client: ChatClient) -> None:
    parameters = body_of(client.get_application_parameters(USER))

    assert parameters["opening_statement"] == "How can I help?"
    assert parameters["suggested_questions"] == ["What is new?"]


def test_a_wrong_key_is_refused_whatever_is_called(client: ChatClient) -> None:
    client.api_key = "app-wrong"

    for response in (
        client.create_chat_message({}, "Hello?", USER),
        client.create_chat_message({}, "Hello?", USER, response_mode="streaming"),
        client.get_conversations(USER),
        client.get_application_parameters(USER),
    ):
        with response:
            checked_error(response, 401, "unauthorized")


def test_what_cannot_be_answered_is_an_error_to_read(client: ChatClient) -> None:
    unknown = "01a1f94a-3a0e-7e3d-b37d-a61260b77010"

    checked_error(client.create_chat_message({}, " ", USER), 400, "invalid_param")
    checked_error(client.create_chat_message({}, "Hello?", USER, conversation_id=unknown), 404, "not_found")
    checked_error(client.get_conversation_messages(USER), 400, "invalid_param")
    checked_error(client.rename_conversation(unknown, "Rome", USER), 404, "not_found")
    checked_error(client.message_feedback(unknown, "like", USER), 404, "not_found")


def test_an_unknown_route_is_not_found(client: ChatClient, base_url: str, key: str) -> None:
    completion = CompletionClient(key)
    completion.base_url = base_url

    checked_error(completion.create_completion_message({"query": "Hello?"}, "blocking", USER), 404, "not_found")
    checked_error(client.file_upload(USER, {"file": ("a.txt", b"text", "text/plain")}), 404, "not_found")


def test_a_model_that_fails_is_an_error_in_either_mode(client: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, [{"error": REFUSAL}])

    last = stream(client, "Hello?")[-1]
    whole = checked_error(client.create_chat_message({}, "Hello?", USER), 400, "completion_request_error")

    assert last["event"] == "error"
    assert {name: last[name] for name in ERROR_KEYS} == whole
