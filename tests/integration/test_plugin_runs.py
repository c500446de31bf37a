"""Runs on models behind the plugin daemon, from the request to the terminal event."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import DAEMON_KEY, StartServer
from tests.support.client import RunClient, demo_llm, plugin_layers, prompt
from tests.support.plugin_daemon import USAGE, ScriptedDaemon, running_daemon
from tests.support.redis_server import RedisServer

CANARY = "sk-canary-credential"


def test_a_run_sends_the_daemon_what_the_composition_says(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("asked", [{"text": "fine"}, {"finish": "stop", "usage": USAGE}])
    settings = {"temperature": 0.5, "stop_sequences": ["END"], "extra_body": {"reasoning": "low"}}
    prompts = {"prefix": ["first", "second"], "user": "How are you?", "suffix": "last"}

    run_id = client.create(
        {"name": "prompt", "type": "plain.prompt", "config": prompts},
        {"name": "late", "type": "plain.prompt", "config": {"suffix": "before last"}},
        *plugin_layers("asked", model_settings=settings),
    )
    terminal = client.finish(run_id)

    call = daemon.calls("asked")[0]
    assert call["path"] == "/plugin/tenant-1/dispatch/llm/invoke"
    assert call["headers"]["x-plugin-id"] == "langgenius/openai"
    assert call["headers"]["x-api-key"] == DAEMON_KEY
    assert call["body"]["user_id"] == "user-1"
    data = call["body"]["data"]
    assert [(message["role"], message["content"]) for message in data["prompt_messages"]] == [
        ("system", "first"),
        ("system", "second"),
        ("system", "before last"),
        ("system", "last"),
        ("user", "How are you?"),
    ]
    assert data["model_parameters"] == {"temperature": 0.5, "reasoning": "low"}
    assert data["stop"] == ["END"]
    assert data["credentials"] == {"api_key": CANARY}
    assert data["stream"] is True
    assert terminal["data"]["output"] == "fine"
    usage = terminal["data"]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (7, 5, 12)
    assert usage["total_price"] == "0.000017"
    assert usage["latency"] == 0.25


def test_thinking_split_over_chunks_is_separated_from_the_answer(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("thinks", [{"text": "<think>hm, hm</think>the answer", "split": 2}, {"finish": "stop"}])

    frames = client.follow(client.create(prompt(), *plugin_layers("thinks")))

    starts = [frame.data["data"]["part"] for frame in frames if frame.data["data"].get("event_kind") == "part_start"]
    assert [part["part_kind"] for part in starts] == ["thinking", "text"]
    ends = [frame.data["data"]["part"] for frame in frames if frame.data["data"].get("event_kind") == "part_end"]
    assert [part["content"] for part in ends] == ["hm, hm", "the answer"]
    assert frames[-1].data["data"]["output"] == "the answer"


def test_unusual_line_breaks_inside_text_split_no_line(client: RunClient, daemon: ScriptedDaemon) -> None:
    text = "a\u0085b\u2028c\u2029d\x0be"
    daemon.script("breaks", [{"text": text}, {"finish": "stop"}])

    assert client.finish(client.create(prompt(), *plugin_layers("breaks")))["data"]["output"] == text


def test_a_conversation_goes_on_through_its_snapshots(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("chat", *([{"text": f"answer {turn}"}, {"finish": "stop"}] for turn in (1, 2)))
    history = {"name": "history", "type": "pydantic_ai.history"}

    def turn(user: str, snapshot: object) -> dict[str, Any]:
        layers = [prompt(user, prefix=f"system for {user}"), history, *plugin_layers("chat")]
        terminal = client.finish(client.create(*layers, session_snapshot=snapshot))
        assert terminal["type"] == "run_succeeded"
        return dict(terminal["data"]["session_snapshot"])

    first = turn("question 1", None)
    second = turn("question 2", first)

    sent = daemon.calls("chat")[1]["body"]["data"]["prompt_messages"]
    assert [(message["role"], message["content"]) for message in sent] == [
        ("system", "system for question 2"),
        ("user", "question 1"),
        ("assistant", "answer 1"),
        ("user", "question 2"),
    ]
    assert [layer["lifecycle_state"] for layer in second["layers"]] == ["suspended"] * 4
    stored = second["layers"][1]["runtime_state"]["messages"]
    assert [message["kind"] for message in stored] == ["request", "response"] * 2
    assert "system for" not in str(stored)
    assert CANARY not in str(second)


def test_a_tool_call_in_fragments_reaches_its_tool_and_the_answer_follows(
    client: RunClient, daemon: ScriptedDaemon
) -> None:
    fragments: list[dict[str, Any]] = [
        {"tool_call": {"id": "call-1", "name": "missing_tool", "arguments": '{"a"'}},
        {"tool_call": {"id": "", "name": "", "arguments": ": 1}"}},
        {"finish": "tool_calls"},
    ]
    daemon.script("fragments", fragments, [{"text": "done without it"}, {"finish": "stop"}])

    frames = client.follow(client.create(prompt(), *plugin_layers("fragments")))

    assert frames[-1].data["data"]["output"] == "done without it"
    sent = daemon.calls("fragments")[1]["body"]["data"]["prompt_messages"]
    assert sent[1]["role"] == "assistant"
    assert sent[1]["content"] == ""
    assert sent[1]["tool_calls"][0]["function"] == {"name": "missing_tool", "arguments": '{"a":1}'}
    assert sent[2]["role"] == "tool"
    assert sent[2]["tool_call_id"] == "call-1"


def plugin_error(error_type: str, message: str, **more: Any) -> list[dict[str, Any]]:
    return [{"error": {"error_type": error_type, "message": message, **more}}]


NOT_FOUND_BODY = (
    '{"code": -404, "message": "{\\"error_type\\": \\"PluginNotFoundError\\", \\"message\\": \\"no such plugin\\"}", '
    '"data": null}'
)


@pytest.mark.parametrize(
    ("name", "answer", "error", "reason"),
    [
        ("in-stream", plugin_error("InvokeRateLimitError", "slow down"), "slow down", "InvokeRateLimitError"),
        ("nested", plugin_error("InvokeAuthorizationError", "bad key", wrap=1), "bad key", "InvokeAuthorizationError"),
        ("deeper", plugin_error("InvokeAuthorizationError", "bad key", wrap=2), "bad key", "InvokeAuthorizationError"),
        ("bare-429", [{"status": 429, "body": "slow down"}], None, "InvokeRateLimitError"),
        ("http-body", [{"status": 404, "body": NOT_FOUND_BODY}], "no such plugin", "PluginNotFoundError"),
        ("garbage", [{"write": "data: this is not JSON\n\n"}], None, "model_protocol_error"),
        (
            "no-data",
            [{"write": 'data: {"code": 0, "message": "success", "data": null}\n\n'}],
            None,
            "model_protocol_error",
        ),
        ("empty", [{"write": ""}], None, None),
        ("cut", [{"text": "half an ans"}, {"abort": True}], None, None),
        ("cut-line", [{"text": "half"}, {"write": 'data: {"code": 0, "mess'}], None, "model_protocol_error"),
    ],
)
def test_a_failing_model_call_ends_the_run_with_a_clear_error(
    client: RunClient,
    daemon: ScriptedDaemon,
    name: str,
    answer: list[dict[str, Any]],
    error: str | None,
    reason: str | None,
) -> None:
    daemon.script(f"fails-{name}", answer)
    run_id = client.create(prompt(), *plugin_layers(f"fails-{name}"))

    terminal = client.finish(run_id)

    assert terminal["type"] == "run_failed"
    assert terminal["data"].get("reason") == reason
    if error is not None:
        assert terminal["data"]["error"] == error
    assert 0 < len(terminal["data"]["error"]) < 300
    assert client.status(run_id)["status"] == "failed"
    assert client.status(run_id)["error"] == terminal["data"]["error"]


def test_a_daemon_that_cannot_be_reached_fails_the_run(start_server: StartServer) -> None:
    client = RunClient(start_server(redis_prefix="unreachable", plugin_daemon_url="http://127.0.0.1:9").url)

    terminal = client.finish(client.create(prompt(), *plugin_layers("nobody")))

    assert terminal["type"] == "run_failed"
    assert "plugin daemon" in terminal["data"]["error"]


def test_runs_beyond_the_connection_limit_wait_for_their_turn_and_succeed(start_server: StartServer) -> None:
    with running_daemon(api_key=DAEMON_KEY) as daemon:  # a daemon on which no other test has open streams
        daemon.script("queue", [{"text": "my turn"}, {"pause": 0.1}, {"finish": "stop"}])
        server = start_server(redis_prefix="queue", plugin_daemon_url=daemon.url, plugin_daemon_max_connections=3)
        client = RunClient(server.url)

        run_ids = [client.create(prompt(), *plugin_layers("queue")) for _ in range(30)]
        with ThreadPoolExecutor(10) as readers:
            terminals = list(readers.map(lambda run_id: RunClient(client.url).finish(run_id), run_ids))
        most_open = daemon.stats()["most_open"]

    assert [terminal["type"] for terminal in terminals] == ["run_succeeded"] * 30
    assert most_open == 3


def test_a_run_does_not_fail_because_a_hundred_and_fifty_others_are_open(
    start_server: StartServer, daemon: ScriptedDaemon
) -> None:
    daemon.script("crowd", [{"text": "begun"}, {"pause": 3}, {"finish": "stop"}])
    client = RunClient(start_server(redis_prefix="crowd").url)

    run_ids = [client.create(prompt(), *plugin_layers("crowd")) for _ in range(150)]
    with ThreadPoolExecutor(30) as readers:
        terminals = list(readers.map(lambda run_id: RunClient(client.url).finish(run_id), run_ids))

    assert {terminal["type"] for terminal in terminals} == {"run_succeeded"}


def test_an_echoed_credential_is_found_nowhere(
    start_server: StartServer, redis_server: RedisServer, daemon: ScriptedDaemon
) -> None:
    daemon.script("echo", plugin_error("InvokeAuthorizationError", f"Incorrect API key provided: {CANARY}"))
    server = start_server(redis_prefix="canary", log_level="DEBUG")
    client = RunClient(server.url)

    run_id = client.create(prompt(), *plugin_layers("echo"))
    terminal = client.finish(run_id)

    assert terminal["data"]["error"] == "Incorrect API key provided: [REDACTED]"
    redis = redis_server.client()
    stored = [redis.get(f"canary:runs:{run_id}:record"), redis.xrange(f"canary:runs:{run_id}:events")]
    assert run_id in str(stored)
    assert CANARY not in str(stored)
    assert CANARY not in server.log
    assert DAEMON_KEY not in server.log


def test_without_any_model_a_run_is_accepted_and_fails_naming_the_layer(start_server: StartServer) -> None:
    client = RunClient(start_server(redis_prefix="no-model", default_llm="").url)

    terminal = client.finish(client.create(prompt()))

    assert terminal["type"] == "run_failed"
    assert "llm" in terminal["data"]["error"]


def test_the_demo_model_calls_a_tool_when_told_to(client: RunClient) -> None:
    frames = client.follow(client.create(prompt("one two three"), demo_llm(call_tool="count_words")))

    kinds = [frame.data["data"].get("event_kind") for frame in frames]
    result = frames[kinds.index("function_tool_result")].data["data"]["part"]
    assert result["tool_name"] == "count_words"
    assert result["content"] == 3
    assert "count_words said: 3" in frames[-1].data["data"]["output"]


def test_the_demo_model_fails_when_told_to(client: RunClient) -> None:
    terminal = client.finish(client.create(prompt(), demo_llm(fail="out of order", fail_after=3)))

    assert terminal["type"] == "run_failed"
    assert terminal["data"]["error"] == "out of order"


def test_a_model_that_only_calls_tools_that_do_not_exist_fails_the_run(
    client: RunClient, daemon: ScriptedDaemon
) -> None:
    call: list[dict[str, Any]] = [
        {"tool_call": {"id": "", "name": "no_such_tool", "arguments": "{}"}},
        {"finish": "tool_calls"},
    ]
    daemon.script("loops", call)

    terminal = client.finish(client.create(prompt(), *plugin_layers("loops")))

    assert terminal["type"] == "run_failed"
    assert terminal["data"]["reason"] == "unexpected_model_behavior"
    assert terminal["data"]["error"] == "the model kept calling the tool no_such_tool in a way that cannot be run"
    assert len(daemon.calls("loops")) < 5


def test_a_full_worker_refuses_runs_and_says_when_to_come_back(start_server: StartServer) -> None:
    client = RunClient(start_server(redis_prefix="full", max_active_runs=2, max_waiting_runs=0).url)
    active = [client.create(prompt(), demo_llm(delay_ms=500)) for _ in range(2)]

    response = client.post({"composition": {"layers": [prompt()]}})

    assert response.status_code == 503
    assert response.json()["code"] == "run_capacity_reached"
    assert int(response.headers["Retry-After"]) >= 1
    for run_id in active:
        client.cancel(run_id)


def test_the_selector_loop_runs_the_same_runs(start_server: StartServer, daemon: ScriptedDaemon) -> None:
    daemon.script("selector", [{"stream": {"chunks": 50, "rate": 0, "text": "word "}}, {"finish": "stop"}])
    client = RunClient(start_server(redis_prefix="selector", event_loop="selector").url)

    terminal = client.finish(client.create(prompt(), *plugin_layers("selector")))

    assert terminal["data"]["output"] == "word " * 50
