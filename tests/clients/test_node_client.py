"""Dify's published client for Node, unchanged except for its base URL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.clients.conftest import needs_node
from tests.clients.node_client import NodeClient
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.service_api import ERROR_KEYS, USER
from tests.support.session_client import says, says_and_waits, shown

REFUSAL = {"error_type": "InvokeAuthorizationError", "message": "bad key sk-canary-1", "code": -500}
UNKNOWN = "01a1f94a-3a0e-7e3d-b37d-a61260b77010"

pytestmark = [needs_node, pytest.mark.usefixtures("node_packages")]


@pytest.fixture
def client(base_url: str, key: str) -> NodeClient:
    return NodeClient(base_url, key)


def refused(answer: tuple[int, Any], status: int, code: str) -> dict[str, Any]:
    """Returns the error, which must have this status and code."""
    told, body = answer
    assert (told, body["status"], body["code"]) == (status, status, code), body
    assert set(body) - {"params"} == ERROR_KEYS
    return dict(body)


def begin(client: NodeClient, query: str) -> str:
    """Begins a conversation and returns its id."""
    return str(client.ask(query, USER)["conversation_id"])


def text_of(frames: list[dict[str, Any]]) -> str:
    return "".join(frame["answer"] for frame in frames if frame["event"] == "message")


def test_a_stream_is_read_while_the_model_speaks(client: NodeClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says_and_waits("Grüezi", until=model, then=" wohl"))

    coming = client.stream("Hello?", USER)
    first = next(coming)
    daemon.release(model)
    rest = list(coming)

    assert (first["event"], first["answer"]) == ("message", "Grüezi")
    assert text_of(rest) == " wohl"
    assert rest[-1]["event"] == "message_end"
    assert rest[-1]["metadata"]["usage"]["total_tokens"] == 12


def test_by_default_the_client_asks_for_a_whole_answer(client: NodeClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("Hello, Ann."))

    body = client.call("createChatMessage", {}, "Hello?", USER)

    assert (body["event"], body["mode"], body["answer"]) == ("message", "agent", "Hello, Ann.")
    assert body["metadata"]["usage"]["total_tokens"] == 12


def test_a_conversation_goes_on_in_either_mode(client: NodeClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("Paris."), says("The Seine."), says("Two million."))

    conversation = client.ask("Capital of France?", USER)["conversation_id"]
    second = list(client.stream("Its river?", USER, conversation))
    third = client.ask("Its people?", USER, conversation)

    assert text_of(second) == "The Seine."
    assert {second[-1]["conversation_id"], third["conversation_id"]} == {conversation}
    assert len(shown(daemon.calls(model)[2])) == 5


def test_the_address_of_a_file_is_shown_to_the_model(client: NodeClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("A cat."))
    file = {"type": "image", "transfer_method": "remote_url", "url": "https://example.com/cat.png"}

    client.call("createChatMessage", {}, "What is it?", USER, False, None, [file])

    ((_, told),) = shown(daemon.calls(model)[0])
    assert "https://example.com/cat.png" in told


def test_messages_are_read_page_by_page(client: NodeClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("a1"), says("a2"))
    conversation = client.ask("q1", USER)["conversation_id"]
    client.ask("q2", USER, conversation)

    newest = client.call("getConversationMessages", USER, conversation, None, 1)
    older = client.call("getConversationMessages", USER, conversation, newest["data"][0]["id"])

    assert [(item["query"], item["answer"]) for item in newest["data"]] == [("q2", "a2")]
    assert [(item["query"], item["answer"]) for item in older["data"]] == [("q1", "a1")]
    assert (newest["has_more"], older["has_more"]) == (True, False)


def test_conversations_are_listed_whatever_else_it_sends(
    client: NodeClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("ok"))
    made = [begin(client, query) for query in ("first", "second")]

    listed = client.call("getConversations", USER)
    newest = client.call("getConversations", USER, made[0], 1, True)

    assert [item["id"] for item in listed["data"]] == made[::-1]
    assert ([item["id"] for item in newest["data"]], newest["has_more"]) == ([made[1]], True)


def test_a_conversation_gets_another_name(client: NodeClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))
    conversation = client.ask("Where to?", USER)["conversation_id"]

    named = client.call("renameConversation", conversation, "Rome", USER)
    by_itself = client.call("renameConversation", conversation, "", USER, True)

    assert (named["id"], named["name"]) == (conversation, "Rome")
    assert by_itself["name"] == "Where to?"


def test_a_conversation_is_deleted(client: NodeClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))
    conversation = client.ask("Hello?", USER)["conversation_id"]

    deleted = client.answer("deleteConversation", conversation, USER)

    assert deleted == (204, "")
    assert client.call("getConversations", USER)["data"] == []
    refused(client.answer("deleteConversation", conversation, USER), 404, "not_found")


def test_feedback_is_given_and_taken_back(client: NodeClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))
    said = client.ask("Hello?", USER)

    kept: list[Any] = []
    for rating in ("like", None):
        assert client.call("messageFeedback", said["message_id"], rating, USER) == {"result": "success"}
        (message,) = client.call("getConversationMessages", USER, said["conversation_id"])["data"]
        kept.append(message["feedback"])

    assert kept == [{"rating": "like"}, None]


def test_the_parameters_say_how_a_chat_begins(client: NodeClient) -> None:
    parameters = client.call("getApplicationParameters", USER)

    assert parameters["opening_statement"] == "How can I help?"
    assert parameters["suggested_questions"] == ["What is new?"]


def test_a_wrong_key_is_refused_in_either_mode(client: NodeClient) -> None:
    stranger = replace(client, key="app-wrong")

    refused(stranger.answer("createChatMessage", {}, "Hello?", USER), 401, "unauthorized")
    refused(stranger.answer("createChatMessage", {}, "Hello?", USER, True), 401, "unauthorized")
    refused(stranger.answer("getConversations", USER), 401, "unauthorized")


def test_what_cannot_be_answered_is_an_error_to_read(client: NodeClient) -> None:
    refused(client.answer("createChatMessage", {}, "Hello?", USER, True, UNKNOWN), 404, "not_found")
    refused(client.answer("getConversationMessages", USER), 400, "invalid_param")
    refused(client.answer("runWorkflow", {}, USER, of="CompletionClient"), 404, "not_found")


def test_a_model_that_fails_is_an_error_in_either_mode(client: NodeClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, [{"error": REFUSAL}])

    last = list(client.stream("Hello?", USER))[-1]
    whole = refused(client.answer("createChatMessage", {}, "Hello?", USER), 400, "completion_request_error")

    assert last["event"] == "error"
    assert {name: last[name] for name in ERROR_KEYS} == whole
