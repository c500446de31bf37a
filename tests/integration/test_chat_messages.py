"""``POST /v1/chat-messages`` as Dify's service API has it, on both databases and two workers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runtime.protocol.ids import new_id
from tests.support.agent_client import AgentClient
from tests.support.chat_client import Answer, ChatClient, parse_chat
from tests.support.client import wait_until
from tests.support.plugin_daemon import USAGE, ScriptedDaemon
from tests.support.plugin_daemon import Answer as Answered
from tests.support.redis_server import RedisServer
from tests.support.service_api import FIRST_TIME, USER, AppClient, Stored, checked_error
from tests.support.session_client import says, says_and_waits, shown


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model name for this test alone, so that no two tests share a script."""
    return str(request.node.name)


@pytest.fixture
def chat(roster: AgentClient, model: str) -> ChatClient:
    return ChatClient(roster, model)


def test_an_answer_is_streamed_in_frames_of_exactly_this_shape(
    chat: ChatClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("Grüezi wohl", split=7, pause=0.05))

    answer = chat.say("Hello?")

    first, last = answer.frames[0], answer.last
    message_id, created_at = first["message_id"], first["created_at"]
    head = {
        "conversation_id": answer.conversation_id,
        "message_id": message_id,
        "created_at": created_at,
        "task_id": first["task_id"],
    }
    assert len({answer.conversation_id, message_id, first["task_id"]}) == 3
    assert isinstance(created_at, int)
    pieces = answer.of("message")
    assert pieces[0] == {
        "event": "message",
        **head,
        "id": message_id,
        "answer": pieces[0]["answer"],
        "from_variable_selector": [],
    }
    assert answer.text == "Grüezi wohl"
    usage = last["metadata"].pop("usage")
    assert last == {
        "event": "message_end",
        **head,
        "id": message_id,
        "metadata": {"retriever_resources": []},
        "files": [],
    }
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (7, 5, 12)
    assert (usage["total_price"], usage["currency"]) == ("0.000017", "USD")
    assert isinstance(usage["latency"], float)


def test_a_stream_tells_proxies_not_to_buffer_it(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("Hi"))

    with chat.post() as response:
        list(parse_chat(response.iter_content(None)))

    assert (response.headers["Cache-Control"], response.headers["X-Accel-Buffering"]) == ("no-cache", "no")


def test_a_conversation_goes_on_where_it_was(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("Paris."), says("The Seine."))

    first = chat.say("Capital of France?")
    second = chat.say("Its river?", conversation_id=first.conversation_id)

    assert second.conversation_id == first.conversation_id
    assert shown(daemon.calls(model)[1]) == [
        ("user", "Capital of France?"),
        ("assistant", "Paris."),
        ("user", "Its river?"),
    ]
    messages = chat.messages(first.conversation_id)
    assert [(item["query"], item["answer"], item["status"]) for item in messages] == [
        ("Capital of France?", "Paris.", "normal"),
        ("Its river?", "The Seine.", "normal"),
    ]
    assert [item["id"] for item in messages] == [first.message_id, second.message_id]
    assert messages[1]["parent_message_id"] == first.message_id
    assert messages[0]["total_tokens"] == USAGE["total_tokens"]


def test_a_message_is_stored_before_its_end_can_be_seen(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, *[says(f"a{number}") for number in range(8)])
    conversation = ""

    for number in range(8):
        for frame in chat.frames(f"q{number}", conversation_id=conversation):
            conversation = frame["conversation_id"]
            if frame["event"] == "message_end":
                assert [item["answer"] for item in chat.messages(conversation)][-1] == f"a{number}"

    assert len(shown(daemon.calls(model)[7])) == 15


def test_a_blocking_answer_is_one_object(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("Hello, Ann."))

    body = chat.blocking()

    usage = body.pop("usage")
    assert body == {
        "event": "message",
        "task_id": body["task_id"],
        "id": body["message_id"],
        "message_id": body["message_id"],
        "conversation_id": body["conversation_id"],
        "mode": "agent",
        "answer": "Hello, Ann.",
        "metadata": {"annotation_reply": None, "retriever_resources": [], "usage": usage},
        "created_at": body["created_at"],
    }
    assert usage["total_price"] == 0.000017
    assert chat.messages(body["conversation_id"])[0]["answer"] == "Hello, Ann."


def test_tool_calls_become_agent_thoughts(chat_with_tool: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    call = {"id": "c1", "name": "current_time", "arguments": '{"zone":"CET"}'}
    daemon.script(model, [{"tool_call": call}, {"finish": "tool_calls", "usage": USAGE}], says("It is noon."))
    daemon.script("current_time", [{"data": {"type": "text", "message": {"text": "12:00"}}}])

    answer = chat_with_tool.say("What time is it?")

    thoughts = answer.of("agent_thought")
    assert {thought["id"] for thought in thoughts} == {thoughts[0]["id"]}
    last = thoughts[-1]
    assert (last["tool"], last["tool_input"], last["observation"]) == ("current_time", '{"zone":"CET"}', "12:00")
    assert last["tool_labels"] == {"current_time": {"en_US": "current_time", "zh_Hans": "current_time"}}
    assert answer.text == "It is noon."
    (stored,) = chat_with_tool.messages(answer.conversation_id)[0]["agent_thoughts"]
    assert {key: stored[key] for key in ("id", "tool", "tool_input", "observation", "position")} == {
        key: last[key] for key in ("id", "tool", "tool_input", "observation", "position")
    }


@pytest.fixture
def chat_with_tool(roster: AgentClient, model: str) -> ChatClient:
    tool = {
        "provider_type": "plugin",
        "plugin_id": "langgenius/time",
        "provider": "time",
        "provider_id": "langgenius/time/time",
        "tool_name": "current_time",
        "credential_type": "unauthorized",
    }
    return ChatClient(roster, model, tools={"dify_tools": [tool]})


def test_a_failed_turn_ends_with_an_error_and_leaves_the_conversation_as_it_was(
    chat: ChatClient, daemon: ScriptedDaemon, model: str
) -> None:
    failing: Answered = [
        {"text": "half"},
        {"error": {"error_type": "InvokeRateLimitError", "message": "slow", "code": -500}},
    ]
    daemon.script(model, says("good"), failing, says("again"))
    first = chat.say("q1")

    failed = chat.say("q2", conversation_id=first.conversation_id)
    chat.say("q3", conversation_id=first.conversation_id)

    assert "message_end" not in [frame["event"] for frame in failed.frames]
    assert set(failed.last) == {
        "event",
        "conversation_id",
        "message_id",
        "created_at",
        "code",
        "status",
        "message",
    }
    assert (failed.last["event"], failed.last["code"], failed.last["status"]) == ("error", "rate_limit_error", 429)
    assert shown(daemon.calls(model)[2]) == [("user", "q1"), ("assistant", "good"), ("user", "q3")]
    second = chat.messages(first.conversation_id)[1]
    assert (second["status"], second["answer"]) == ("error", "half")
    assert second["error"]


def test_a_blocking_failure_is_an_error_of_its_status(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    refusal = {"error_type": "InvokeAuthorizationError", "message": "bad key sk-canary-1", "code": -500}
    daemon.script(model, [{"error": refusal}])

    body = chat.blocking(status=400)

    assert (body["code"], body["message"]) == ("completion_request_error", "Incorrect API key provided")


def test_a_stopped_turn_keeps_its_answer_but_leaves_the_session_as_it_was(
    chat: ChatClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("good"), says_and_waits("Once upon", until="never"), says("again"))
    first = chat.say("q1")

    seen: list[dict[str, Any]] = []
    for frame in chat.frames("q2", conversation_id=first.conversation_id):
        seen.append(frame)
        if frame["event"] == "message":
            chat.stop(frame["task_id"])
    stopped = Answer(seen)
    messages = chat.messages(first.conversation_id)
    chat.say("q3", conversation_id=first.conversation_id)

    assert (stopped.last["event"], stopped.text) == ("message_end", "Once upon")
    assert (messages[1]["answer"], messages[1]["status"]) == ("Once upon", "normal")
    assert shown(daemon.calls(model)[2]) == [("user", "q1"), ("assistant", "good"), ("user", "q3")]


def test_a_turn_is_stopped_by_its_own_user_alone(
    chat: ChatClient, other_app: AppClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says_and_waits("Once", until=model, then=" more"))
    frames = chat.frames()
    task = next(frames)["task_id"]

    chat.stop(task, user="somebody else")
    assert other_app.json("POST", f"/v1/chat-messages/{task}/stop", json={"user": USER}) == {"result": "success"}
    chat.stop(new_id())
    chat.stop("no-task")
    daemon.release(model)

    assert Answer(list(frames)).text == " more"
    chat.stop(task)


def test_a_reader_that_leaves_does_not_end_the_turn(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says_and_waits("Once", until=model, then=" more"))
    with chat.post() as response:
        conversation = next(parse_chat(response.iter_content(None)))["conversation_id"]

    daemon.release(model)

    wait_until(lambda: chat.messages(conversation)[0]["answer"] == "Once more")


def test_two_messages_at_once_are_answered_one_after_the_other(
    chat: ChatClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("zero"), says("one"), says("two"))
    conversation = chat.say("q0").conversation_id

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda query: chat.say(query, conversation_id=conversation), ["q1", "q2"]))

    assert sorted(answer.text for answer in answers) == ["one", "two"]
    assert len(shown(daemon.calls(model)[2])) == 5


def test_a_conversation_keeps_its_version_inputs_and_name(
    roster: AgentClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("ok"))
    variable = {"name": "city", "type": "string", "required": True}
    chat = ChatClient(roster, model, prompt="About {{city}}.", app_variables=[variable])

    first = chat.say("Tell me of the old town, please", inputs={"city": "Bern"})
    chat.say("And now?", conversation_id=first.conversation_id, inputs={"city": "Rome"})

    prompts = [str(call["body"]["data"]["prompt_messages"][0]["content"]) for call in daemon.calls(model)]
    assert ["About Bern." in prompt for prompt in prompts] == [True, True]
    (conversation,) = chat.get("/conversations")["data"]
    assert (conversation["name"], conversation["inputs"]) == ("Tell me of the old town, please", {"city": "Bern"})


def test_a_workspace_key_picks_the_app_by_its_name(roster: AgentClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))
    chat = ChatClient(roster, model)
    roster.json("PATCH", f"/agents/{chat.agent_id}", json={"name": "Guide"})
    key = roster.json("POST", "/keys", 201, json={"kind": "workspace"})["key"]
    workspace = AgentClient(roster.url, tenant=roster.tenant, key=key)
    body = {"inputs": {}, "query": "Hello?", "user": USER, "response_mode": "blocking"}

    answer = workspace.json("POST", "/v1/chat-messages?app_id=Guide", json=body)

    assert (answer["answer"], answer["usage"]["total_tokens"]) == ("ok", 12)


def test_the_model_is_shown_the_addresses_of_remote_files(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))
    file = {"type": "image", "transfer_method": "remote_url", "url": "https://example.com/cat.png"}

    chat.say("What is it?", files=[file])

    ((_, text),) = shown(daemon.calls(model)[0])
    assert text == 'What is it?\n\n[{"transfer_method": "remote_url", "url": "https://example.com/cat.png"}]'


def test_nul_characters_are_removed(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))

    answer = chat.say("Hel\0lo?\0")

    assert chat.messages(answer.conversation_id)[0]["query"] == "Hello?"


@pytest.mark.parametrize("conversation_id", ["", " ", None])
def test_a_blank_conversation_is_a_new_one(
    chat: ChatClient, daemon: ScriptedDaemon, model: str, conversation_id: str | None
) -> None:
    daemon.script(model, says("ok"))

    assert chat.say(conversation_id=conversation_id, files=None, other="ignored").last["event"] == "message_end"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"query": ""}, "query"),
        ({"query": " \n"}, "query"),
        ({"query": "\0"}, "query"),
        ({"query": 7}, "query"),
        ({"query": "x" * 200_001}, "query"),
        ({"user": None}, "user"),
        ({"user": ""}, "user"),
        ({"user": ["ann"]}, "user"),
        ({"user": "u" * 256}, "user"),
        ({"inputs": []}, "inputs"),
        ({"response_mode": "later"}, "response_mode"),
        ({"conversation_id": "no-uuid"}, "conversation_id"),
        ({"files": [{"transfer_method": "local_file", "upload_file_id": "f"}]}, "files"),
        ({"files": "cat.png"}, "files"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value)[:40],
)
def test_a_malformed_message_is_refused_before_any_stream(chat: ChatClient, body: dict[str, Any], named: str) -> None:
    sent = {"inputs": {}, "query": "Hello?", "user": USER, **body}

    told = chat.error("POST", "/chat-messages", 400, "invalid_param", json=sent)

    assert named in told["params"]
    assert chat.get("/conversations")["data"] == []


def test_inputs_that_are_too_large_to_be_kept_are_refused(chat: ChatClient) -> None:
    told = chat.error(
        "POST",
        "/chat-messages",
        422,
        "value_too_large",
        json={"query": "Hello?", "user": USER, "inputs": {"text": "x" * 262_144}},
    )

    assert "262,144 bytes" in told["message"]


def test_ten_megabytes_of_query_are_refused(chat: ChatClient) -> None:
    sent = {"inputs": {}, "query": "x" * 10_485_760, "user": USER}

    chat.error("POST", "/chat-messages", 413, "request_too_large", json=sent)


def test_a_body_that_is_not_json_is_refused(chat: ChatClient) -> None:
    chat.error("POST", "/chat-messages", 400, "bad_request", data="{", headers={"Content-Type": "application/json"})
    chat.error("POST", "/chat-messages", 415, "unsupported_media_type", data="query=Hello", headers={})


def test_a_conversation_of_another_user_is_not_found(
    chat: ChatClient, other_app: AppClient, foreign_app: AppClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("ok"))
    conversation = chat.say().conversation_id
    sent = {"inputs": {}, "query": "Hello?", "conversation_id": conversation, "response_mode": "streaming"}

    for client, user in ((chat, "bob"), (other_app, USER), (foreign_app, USER)):
        told = client.error("POST", "/chat-messages", 404, "not_found", json={**sent, "user": user})
        assert told["message"] == "Conversation Not Exists."
    unknown = {**sent, "conversation_id": new_id(), "user": USER}
    chat.error("POST", "/chat-messages", 404, "not_found", json=unknown)
    assert len(chat.messages(conversation)) == 1


def test_an_archived_agent_is_forbidden(roster: AgentClient, chat: ChatClient) -> None:
    roster.call("DELETE", f"/agents/{chat.agent_id}")
    sent = {"inputs": {}, "query": "Hello?", "user": USER}

    chat.error("POST", "/chat-messages", 403, "forbidden", json=sent)


def test_a_key_that_has_expired_is_refused(roster: AgentClient, chat: ChatClient) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    body = {"kind": "app", "agent_id": chat.agent_id, "expires_at": soon}
    app = AgentClient(roster.url, tenant=roster.tenant, key=roster.json("POST", "/keys", 201, json=body)["key"])
    sent = {"inputs": {}, "query": " ", "user": USER}

    wait_until(lambda: app.call("POST", "/v1/chat-messages", json=sent).status_code != 400)

    checked_error(app.call("POST", "/v1/chat-messages", json=sent), 401, "unauthorized")


def test_an_invalid_key_is_refused(chat: ChatClient) -> None:
    sent = {"inputs": {}, "query": "Hello?", "user": USER}
    for header in ("Bearer app-no-such-key", "Basic abc", "Bearer"):
        refused = chat.error(
            "POST", "/chat-messages", 401, "unauthorized", json=sent, headers={"Authorization": header}
        )
        assert refused["status"] == 401


def test_a_turn_can_be_followed_again_from_its_beginning(
    roster: AgentClient, chat: ChatClient, other_app: AppClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says_and_waits("Once", until=model, then=" more"))
    frames = chat.frames()
    first = next(frames)
    path = f"/sessions/{first['conversation_id']}/turns/{first['message_id']}/chat-events"
    again: list[dict[str, Any]] = []

    def follow() -> None:
        response = chat.call("GET", path)
        again.extend(parse_chat(iter([response.content])))

    reader = threading.Thread(target=follow)
    reader.start()
    daemon.release(model)
    rest = list(frames)
    reader.join()

    assert Answer([first, *rest]).text == Answer(again).text == "Once more"
    assert again[-1] == rest[-1]
    assert roster.call("GET", path).status_code == 200
    assert other_app.call("GET", path).status_code == 404


def test_thinking_becomes_agent_thoughts_and_no_part_of_the_answer(
    chat: ChatClient, daemon: ScriptedDaemon, model: str
) -> None:
    thinks: Answered = [{"text": "<think>Let me"}, {"pause": 0.05}, {"text": " see.</think>"}]
    daemon.script(model, [*thinks, *says("Yes.")])

    answer = chat.say()

    thoughts = answer.of("agent_thought")
    last = thoughts[-1]
    assert {thought["id"] for thought in thoughts} == {last["id"]}
    assert last == {
        **{key: last[key] for key in ("conversation_id", "message_id", "created_at", "task_id")},
        "event": "agent_thought",
        "id": last["id"],
        "position": 1,
        "thought": "Let me see.",
        "observation": "",
        "tool": "",
        "tool_labels": {},
        "tool_input": "",
        "message_files": [],
    }
    assert answer.text == "Yes."
    (message,) = chat.messages(answer.conversation_id)
    (stored,) = message["agent_thoughts"]
    assert (message["answer"], stored["id"], stored["thought"]) == ("Yes.", last["id"], "Let me see.")


def test_the_addresses_of_files_are_no_part_of_the_question(
    chat: ChatClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("ok"))
    file = {"type": "image", "transfer_method": "remote_url", "url": "https://example.com/cat.png"}

    conversation = chat.say("What is it?", files=[file], auto_generate_name=False).conversation_id
    body = {"auto_generate": True, "user": USER}
    renamed = chat.json("POST", f"/v1/conversations/{conversation}/name", json=body)

    assert chat.messages(conversation)[0]["query"] == "What is it?"
    assert renamed["name"] == "What is it?"


def test_a_response_mode_of_null_streams(chat: ChatClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))

    assert chat.say(response_mode=None).text == "ok"


@pytest.mark.parametrize("ended", ["succeeded", "failed", "stopped"])
def test_a_turn_can_be_followed_when_its_events_are_gone(
    roster: AgentClient,
    chat_with_tool: ChatClient,
    daemon: ScriptedDaemon,
    model: str,
    redis_server: RedisServer,
    ended: str,
) -> None:
    call = {"id": "c1", "name": "current_time", "arguments": '{"zone":"CET"}'}
    ends: dict[str, Answered] = {
        "succeeded": says("It is noon."),
        "failed": [{"text": "It is"}, {"error": {"error_type": "E", "message": "no", "code": -500}}],
        "stopped": says_and_waits("It is", until="never"),
    }
    daemon.script(model, [{"tool_call": call}, {"finish": "tool_calls", "usage": USAGE}], ends[ended])
    daemon.script("current_time", [{"data": {"type": "text", "message": {"text": "12:00"}}}])
    seen: list[dict[str, Any]] = []
    for frame in chat_with_tool.frames():
        seen.append(frame)
        if frame["event"] == "message" and ended == "stopped":
            chat_with_tool.stop(frame["task_id"])
    first = Answer(seen)
    turns = f"/sessions/{first.conversation_id}/turns"
    run_id = roster.json("GET", turns)["data"][0]["run_id"]

    redis = redis_server.client()
    gone = list(redis.scan_iter(f"*{run_id}*", count=1000))
    redis.delete(*gone)
    response = chat_with_tool.call("GET", f"{turns}/{first.message_id}/chat-events")
    again = Answer(list(parse_chat(iter([response.content]))))

    assert len(gone) == 2
    assert again.text == first.text
    assert again.of("agent_thought") == first.of("agent_thought")[-1:]
    assert again.last == first.last


@pytest.mark.parametrize("is_finalized", [True, False])
def test_a_turn_whose_run_was_lost_can_be_followed_to_its_end(
    chat: ChatClient, stored: Stored, is_finalized: bool
) -> None:
    conversation = stored.conversation(chat)
    turn = stored.turn(chat, conversation, created_at=FIRST_TIME if is_finalized else datetime.now(UTC))

    response = chat.call("GET", f"/sessions/{conversation}/turns/{turn}/chat-events")

    (frame,) = parse_chat(iter([response.content]))
    assert (frame["event"], frame["code"], frame["status"]) == ("error", "internal_server_error", 500)


def test_a_conversation_keeps_its_place_in_the_list_when_its_turn_is_finalized(
    chat: ChatClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, [{"pause": 1.5}, *says("ok")])
    conversation = chat.say().conversation_id
    (before,) = chat.json("GET", f"/v1/conversations?user={USER}")["data"]
    created = chat.messages(conversation)[0]["created_at"]

    (after,) = chat.json("GET", f"/v1/conversations?user={USER}")["data"]

    assert before["updated_at"] == after["updated_at"] == created
