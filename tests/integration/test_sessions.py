"""``/sessions`` on both databases and two workers: turns, and what a session remembers between them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from runtime.protocol.ids import new_id
from tests.support.agent_client import AgentClient
from tests.support.client import wait_until
from tests.support.gunicorn_server import GunicornServer
from tests.support.plugin_daemon import Answer, ScriptedDaemon
from tests.support.session_client import SessionClient, says, says_and_waits, scripted_soul, shown

AT_ONCE = 12
NOBODY = "01a1f94a-0000-7000-8000-000000000000"
"""An id that nothing has."""


@pytest.fixture
def client(agent_server: GunicornServer) -> SessionClient:
    return SessionClient(agent_server.url)


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model name for this test alone, so that no two tests share a script."""
    return str(request.node.name)


def test_a_session_begins_with_the_active_version_and_an_empty_history(client: SessionClient) -> None:
    agent = client.agent()

    made = client.json(
        "POST",
        "/sessions",
        201,
        json={"agent_id": agent["id"], "name": "Trip", "metadata": {"ticket": 7}},
        headers={"X-User-Id": "user-1"},
    )

    assert made["status"] == "active"
    assert (made["agent_id"], made["version_id"]) == (agent["id"], agent["active_config_snapshot_id"])
    assert (made["name"], made["metadata"], made["turns"], made["last_run_id"]) == ("Trip", {"ticket": 7}, 0, None)
    assert client.json("GET", f"/sessions/{made['id']}") == {**made, "session_snapshot": None, "human_input": None}


def test_a_turn_is_shown_what_the_turns_before_it_said(
    client: SessionClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("Paris."), says("The Seine."))
    session = client.session(client.scripted_agent(model))

    first = client.say(session, "Capital of France?")
    second = client.say(session, "Its river?")

    assert (first["data"]["output"], second["data"]["output"]) == ("Paris.", "The Seine.")
    assert shown(daemon.calls(model)[1]) == [
        ("user", "Capital of France?"),
        ("assistant", "Paris."),
        ("user", "Its river?"),
    ]
    found = client.json("GET", f"/sessions/{session}")
    assert (found["turns"], found["session_snapshot"]) == (2, second["data"]["session_snapshot"])
    assert [(turn["query"], turn["answer"], turn["status"]) for turn in client.turns(session)] == [
        ("Capital of France?", "Paris.", "succeeded"),
        ("Its river?", "The Seine.", "succeeded"),
    ]


def test_the_state_of_a_turn_is_stored_before_its_end_can_be_seen(
    client: SessionClient, daemon: ScriptedDaemon, model: str
) -> None:
    """Each turn starts the moment the end of the one before is seen."""
    daemon.script(model, *[says(f"a{number}") for number in range(10)])
    session = client.session(client.scripted_agent(model))

    for number in range(10):
        client.say(session, f"q{number}")

    expected = [item for number in range(9) for item in (("user", f"q{number}"), ("assistant", f"a{number}"))]
    assert shown(daemon.calls(model)[9]) == [*expected, ("user", "q9")]


def test_turns_of_one_moment_run_one_after_the_other_in_their_order(
    client: SessionClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says_and_waits("a0", until=model), *[says(f"a{number}") for number in range(1, AT_ONCE)])
    session = client.session(client.scripted_agent(model))
    first = client.start(session, "q0")

    rest = [client.start(session, f"q{number}") for number in range(1, AT_ONCE)]
    waiting = client.runs().status(rest[0]["run_id"])
    daemon.release(model)
    ends = [client.finish(turn["run_id"]) for turn in [first, *rest]]

    assert [turn["position"] for turn in [first, *rest]] == list(range(AT_ONCE))
    assert waiting["status"] == "running"
    assert [end["data"]["output"] for end in ends] == [f"a{number}" for number in range(AT_ONCE)]
    expected = [item for number in range(AT_ONCE - 1) for item in (("user", f"q{number}"), ("assistant", f"a{number}"))]
    assert shown(daemon.calls(model)[-1]) == [*expected, ("user", f"q{AT_ONCE - 1}")]


def test_turns_posted_at_once_to_two_workers_lose_nothing(
    client: SessionClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("Yes."))
    session = client.session(client.scripted_agent(model))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = list(pool.map(lambda number: client.say(session, f"q{number}"), range(AT_ONCE)))

    assert {end["type"] for end in ends} == {"run_succeeded"}
    turns = client.turns(session)
    assert [turn["turn"] for turn in turns] == list(range(1, AT_ONCE + 1))
    asked = [text for role, text in shown(daemon.calls(model)[-1]) if role == "user"]
    assert asked == [turn["query"] for turn in turns]


def test_a_turn_that_waits_says_that_it_has_begun_when_it_has(
    client: SessionClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says_and_waits("one", until=model), says("two"))
    session = client.session(client.scripted_agent(model))
    client.start(session)
    second = client.start(session)["run_id"]

    before = client.runs().page(second)["events"]
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(client.runs().follow, second)
        daemon.release(model)
        frames = reading.result()

    assert before == []
    assert frames[0].event == "run_started"
    assert frames[-1].data["data"]["output"] == "two"


def test_a_turn_that_waits_can_be_cancelled_and_the_one_behind_it_goes_on(
    client: SessionClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says_and_waits("one", until=model), says("three"))
    session = client.session(client.scripted_agent(model))
    first = client.start(session, "q1")["run_id"]
    second = client.start(session, "q2")["run_id"]
    third = client.start(session, "q3")["run_id"]

    assert client.runs().cancel(second).status_code == 200
    cancelled = client.finish(second)
    daemon.release(model)

    assert cancelled["type"] == "run_cancelled"
    assert client.finish(first)["type"] == client.finish(third)["type"] == "run_succeeded"
    assert shown(daemon.calls(model)[1]) == [("user", "q1"), ("assistant", "one"), ("user", "q3")]
    assert [turn["status"] for turn in client.turns(session)] == ["succeeded", "cancelled", "succeeded"]


def test_reject_refuses_a_second_turn_and_takes_one_as_soon_as_the_first_has_ended(
    client: SessionClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says_and_waits("one", until=model), says("two"))
    session = client.session(client.scripted_agent(model), multitask_strategy="reject")
    first = client.start(session)["run_id"]

    client.refused("POST", f"/sessions/{session}/runs", 409, "session_busy", json={"query": "Now?"})
    daemon.release(model)
    client.finish(first)
    second = client.say(session)

    assert second["data"]["output"] == "two"
    assert len(client.turns(session)) == 2


def test_interrupt_keeps_what_was_said(client: SessionClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("zero"), says_and_waits("Once upon", until=model), says("Short."))
    session = client.session(client.scripted_agent(model))
    client.say(session, "q0")
    first = client.start(session, "A long story")["run_id"]
    wait_until(lambda: len(client.runs().page(first)["events"]) > 1)

    second = client.say(session, "Make it short", multitask_strategy="interrupt")

    assert client.finish(first)["type"] == "run_cancelled"
    assert second["data"]["output"] == "Short."
    assert shown(daemon.calls(model)[2]) == [
        ("user", "q0"),
        ("assistant", "zero"),
        ("user", "A long story"),
        ("assistant", "Once upon"),
        ("user", "Make it short"),
    ]
    assert [(turn["status"], turn["answer"]) for turn in client.turns(session)] == [
        ("succeeded", "zero"),
        ("cancelled", "Once upon"),
        ("succeeded", "Short."),
    ]


def test_rollback_forgets_the_turn(client: SessionClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says_and_waits("Once upon", until=model), says("Short."))
    session = client.session(client.scripted_agent(model))
    first = client.start(session, "A long story")["run_id"]
    daemon.wait_for_call(model)

    client.say(session, "Make it short", multitask_strategy="rollback")

    assert client.finish(first)["type"] == "run_cancelled"
    assert shown(daemon.calls(model)[1]) == [("user", "Make it short")]
    assert [turn["query"] for turn in client.turns(session)] == ["Make it short"]


@pytest.mark.parametrize("broken", ["failed", "cancelled"])
def test_a_turn_that_did_not_succeed_leaves_the_last_good_state(
    client: SessionClient, daemon: ScriptedDaemon, model: str, broken: str
) -> None:
    fails: Answer = [{"text": "half"}, {"error": {"error_type": "InvokeError", "message": "no", "code": -500}}]
    daemon.script(
        model, says("good"), fails if broken == "failed" else says_and_waits("half", until="never"), says("again")
    )
    session = client.session(client.scripted_agent(model))
    before = client.say(session, "q1")["data"]["session_snapshot"]
    run_id = client.start(session, "q2")["run_id"]
    if broken == "cancelled":
        wait_until(lambda: len(client.runs().page(run_id)["events"]) > 1)
        client.runs().cancel(run_id)
    client.finish(run_id)

    turn = client.turns(session)[1]
    after = client.json("GET", f"/sessions/{session}")["session_snapshot"]
    client.say(session, "q3")

    assert (turn["status"], turn["answer"]) == (broken, "half")
    assert after == before
    assert shown(daemon.calls(model)[-1]) == [("user", "q1"), ("assistant", "good"), ("user", "q3")]


def test_a_session_keeps_its_version_until_it_is_moved(
    client: SessionClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("ok"))
    agent = client.scripted_agent(model, prompt="First.")
    session = client.session(agent)
    body = {"agent_soul": scripted_soul(model, "Second.")}
    second = client.json("POST", f"/agents/{agent['id']}/versions", 201, json=body)["id"]

    client.say(session, "q1")
    moved = client.json("PATCH", f"/sessions/{session}", json={"version_id": second})
    client.say(session, "q2")
    client.say(session, "q3", version_id=agent["active_config_snapshot_id"])

    prompts = [call["body"]["data"]["prompt_messages"][0]["content"] for call in daemon.calls(model)]
    assert ["First." in str(prompts[0]), "Second." in str(prompts[1]), "First." in str(prompts[2])] == [True] * 3
    assert moved["version_id"] == second
    assert client.json("GET", f"/sessions/{session}")["version_id"] == agent["active_config_snapshot_id"]
    assert len(shown(daemon.calls(model)[2])) == 5


def test_layers_that_change_between_turns_keep_the_history(
    client: SessionClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("ok"))
    agent = client.scripted_agent(model)
    session = client.session(agent)
    client.say(session, "q1")
    asks = scripted_soul(model, human={"contacts": [{"id": "c1", "name": "Bo", "email": "bo@example.com"}]})
    version = client.json("POST", f"/agents/{agent['id']}/versions", 201, json={"agent_soul": asks})["id"]

    end = client.say(session, "q2", version_id=version)

    names = [layer["name"] for layer in end["data"]["session_snapshot"]["layers"]]
    assert "ask_human" in names
    assert shown(daemon.calls(model)[1]) == [("user", "q1"), ("assistant", "ok"), ("user", "q2")]


def test_a_session_may_have_a_composition_instead_of_an_agent(
    client: SessionClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says("one"), says("two"))
    llm = {
        "name": "llm",
        "type": "dify.plugin.llm",
        "deps": {"execution_context": "context"},
        "config": {"plugin_id": "p", "model_provider": "openai", "model": model, "credentials": {"k": "sk-canary-9"}},
    }
    context = {"tenant_id": client.tenant, "invoke_from": "service-api"}
    layers = [
        {"name": "system", "type": "plain.prompt", "config": {"prefix": "Be brief."}},
        {"name": "context", "type": "dify.execution_context", "config": context},
        llm,
    ]
    made = client.json("POST", "/sessions", 201, json={"composition": {"layers": layers}})

    client.say(made["id"], "q1")
    client.say(made["id"], "q2")

    assert made["agent_id"] is None
    assert shown(daemon.calls(model)[1]) == [("user", "q1"), ("assistant", "one"), ("user", "q2")]
    assert "sk-canary-9" not in client.call("GET", f"/sessions/{made['id']}").text


def test_a_deleted_session_is_gone_with_its_turns(client: SessionClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))
    session = client.session(client.scripted_agent(model))
    client.say(session)

    assert client.call("DELETE", f"/sessions/{session}").status_code == 204

    client.refused("GET", f"/sessions/{session}", 404, "session_not_found")
    client.refused("DELETE", f"/sessions/{session}", 404, "session_not_found")
    client.refused("POST", f"/sessions/{session}/runs", 404, "session_not_found", json={"query": "Hello?"})
    assert client.json("GET", "/sessions")["data"] == []


def test_a_session_whose_turn_runs_is_deleted_only_on_demand(
    client: SessionClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, says_and_waits("half", until="never"))
    session = client.session(client.scripted_agent(model))
    run_id = client.start(session)["run_id"]
    daemon.wait_for_call(model)

    client.refused("DELETE", f"/sessions/{session}", 409, "session_busy")
    assert client.call("DELETE", f"/sessions/{session}?cancel=true").status_code == 204

    assert client.finish(run_id)["type"] == "run_cancelled"
    client.refused("GET", f"/sessions/{session}", 404, "session_not_found")


def test_sessions_are_listed_by_pages_the_newest_first(client: SessionClient) -> None:
    agent, other = client.agent("Ada"), client.agent("Bob")
    made = [client.session(agent) for _ in range(5)]
    client.session(other)

    first = client.json("GET", f"/sessions?limit=3&agent_id={agent['id']}")
    second = client.json("GET", f"/sessions?limit=3&agent_id={agent['id']}&after={first['next_cursor']}")

    listed = [session["id"] for session in first["data"] + second["data"]]
    assert listed == made[::-1]
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)


def test_the_same_idempotency_key_makes_one_turn(client: SessionClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))
    session = client.session(client.scripted_agent(model))
    body = {"query": "Pay", "idempotency_key": "order-1"}

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.call("POST", f"/sessions/{session}/runs", json=body).json(), range(8)))

    assert len({answer["run_id"] for answer in answers}) == 1
    assert len(client.turns(session)) == 1
    other = {**body, "query": "Pay more"}
    client.refused("POST", f"/sessions/{session}/runs", 409, "idempotency_key_reused", json=other)


def test_a_key_whose_turn_has_failed_may_be_used_again(
    client: SessionClient, daemon: ScriptedDaemon, model: str
) -> None:
    daemon.script(model, [{"error": {"error_type": "E", "message": "no", "code": -500}}], says("ok"))
    session = client.session(client.scripted_agent(model))

    first = client.say(session, "Pay", idempotency_key="order-1")
    second = client.say(session, "Pay", idempotency_key="order-1")

    assert (first["type"], second["type"]) == ("run_failed", "run_succeeded")


def test_the_same_idempotency_key_makes_one_session(client: SessionClient) -> None:
    body = {"agent_id": client.agent()["id"]}
    key = {"Idempotency-Key": "s-1"}

    made = [client.json("POST", "/sessions", 201, json=body, headers=key)["id"] for _ in range(2)]

    assert made[0] == made[1]


def test_a_repeated_create_gets_the_same_answer_after_its_session_was_deleted(client: SessionClient) -> None:
    body = {"agent_id": client.agent()["id"], "name": "Visit"}
    key = {"Idempotency-Key": "gone-1"}
    first = client.json("POST", "/sessions", 201, json=body, headers=key)
    client.json("PATCH", f"/sessions/{first['id']}", 200, json={"name": "Journey"})

    changed = client.json("POST", "/sessions", 201, json=body, headers=key)
    client.call("DELETE", f"/sessions/{first['id']}")
    deleted = client.json("POST", "/sessions", 201, json=body, headers=key)

    assert changed == deleted == first
    client.refused("GET", f"/sessions/{first['id']}", 404, "session_not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/runs"),
        ("GET", "/turns"),
        ("GET", f"/turns/{'0' * 8}-0000-7000-8000-{'0' * 12}"),
    ],
)
def test_a_session_of_another_tenant_is_not_found(
    client: SessionClient, agent_server: GunicornServer, method: str, path: str
) -> None:
    session = client.session(client.agent())
    stranger = SessionClient(agent_server.url)
    body: dict[str, Any] | None = {"query": "Hello?"} if path == "/runs" else {} if method == "PATCH" else None

    stranger.refused(method, f"/sessions/{session}{path}", 404, "session_not_found", json=body)
    assert client.json("GET", f"/sessions/{session}")["turns"] == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"agent_id": 7},
        {"agent_id": "x", "composition": {"layers": []}},
        {"agent_id": "x", "version_id": "v", "tag": "t"},
        {"agent_id": "x", "multitask_strategy": "wait"},
        {"agent_id": "x", "name": "n" * 256},
        {"agent_id": "x", "other": 1},
        {"composition": {"layers": []}, "tag": "stable"},
    ],
    ids=["empty", "a number", "both", "two versions", "strategy", "long name", "unknown", "tag"],
)
def test_a_malformed_session_is_refused(client: SessionClient, body: dict[str, Any]) -> None:
    client.refused("POST", "/sessions", 400, "invalid_param", json=body)


def test_a_session_needs_an_agent_that_can_answer(client: SessionClient) -> None:
    agent = client.agent()
    other = client.agent("Bob")
    client.call("DELETE", f"/agents/{agent['id']}")

    client.refused("POST", "/sessions", 404, "agent_not_found", json={"agent_id": new_id()})
    client.refused("POST", "/sessions", 409, "agent_archived", json={"agent_id": agent["id"]})
    foreign = {"agent_id": other["id"], "version_id": agent["active_config_snapshot_id"]}
    client.refused("POST", "/sessions", 404, "agent_version_not_found", json=foreign)
    context = {"tenant_id": "somebody", "invoke_from": "service-api"}
    layers = [{"name": "context", "type": "dify.execution_context", "config": context}]
    client.refused("POST", "/sessions", 403, "tenant_not_allowed", json={"composition": {"layers": layers}})
    broken = {"composition": {"layers": [{"name": "x", "type": "no.such"}]}}
    client.refused("POST", "/sessions", 422, "invalid_composition", json=broken)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": " "},
        {"query": 7},
        {"query": "x" * 200_001},
        {"query": "q", "inputs": []},
        {"query": "q", "multitask_strategy": "later"},
        {"query": "q", "idempotency_key": " "},
        {"query": "q", "session_snapshot": {}},
    ],
    ids=["empty", "blank", "number", "too long", "inputs", "strategy", "blank key", "unknown"],
)
def test_a_malformed_turn_is_refused_and_leaves_nothing(client: SessionClient, body: dict[str, Any]) -> None:
    session = client.session(client.agent())

    client.refused("POST", f"/sessions/{session}/runs", 400, "invalid_param", json=body)

    assert client.turns(session) == []


def test_an_archived_agent_answers_no_more(client: SessionClient) -> None:
    agent = client.agent()
    session = client.session(agent)
    client.call("DELETE", f"/agents/{agent['id']}")

    client.refused("POST", f"/sessions/{session}/runs", 409, "agent_archived", json={"query": "Hello?"})

    assert client.turns(session) == []


def test_nul_characters_of_a_query_are_taken_out(client: SessionClient, daemon: ScriptedDaemon, model: str) -> None:
    daemon.script(model, says("ok"))
    session = client.session(client.scripted_agent(model))

    client.say(session, "Hel\0lo?\0", inputs={"a\0": "\0"}, metadata={"b\0": ["\0"]})
    client.refused("POST", f"/sessions/{session}/runs", 400, "invalid_param", json={"query": "\0"})

    (turn,) = client.turns(session)
    assert (turn["query"], turn["metadata"]) == ("Hello?", {"b\0": ["\0"]})
    assert shown(daemon.calls(model)[0]) == [("user", "Hello?")]


@pytest.mark.parametrize("query", ["after=%00", "agent_id=%00", "after=" + "x" * 37, "limit=0", "limit=101", "limit=x"])
def test_an_invalid_query_of_a_list_is_refused(client: SessionClient, query: str) -> None:
    client.refused("GET", f"/sessions?{query}", 400, "invalid_param")


@pytest.mark.parametrize("wrong", ["%00", "x", NOBODY])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("PATCH", ""), ("GET", "/turns")])
def test_an_unknown_session_is_not_found(client: SessionClient, method: str, path: str, wrong: str) -> None:
    body: dict[str, Any] | None = {} if method == "PATCH" else None

    client.refused(method, f"/sessions/{wrong}{path}", 404, "session_not_found", json=body)


def test_an_unknown_turn_is_not_found(client: SessionClient) -> None:
    agent = client.agent()
    session, other = client.session(agent), client.session(agent)
    client.say(other)
    foreign = client.turns(other)[0]["id"]

    for wrong in ("%00", "x", new_id(), foreign):
        client.refused("GET", f"/sessions/{session}/turns/{wrong}", 404, "turn_not_found")
        client.refused("GET", f"/sessions/{session}/turns/{wrong}/chat-events", 404, "turn_not_found")
    for wrong in ("x", new_id(), foreign):
        client.refused("GET", f"/sessions/{session}/turns?after={wrong}", 404, "turn_not_found")
    client.refused("GET", f"/sessions/{session}/turns?after=%00", 400, "invalid_param")


def test_a_change_of_a_session_changes_only_the_fields_sent(client: SessionClient) -> None:
    agent = client.agent()
    session = client.session(agent, name="Old", metadata={"a": 1})

    named = client.json("PATCH", f"/sessions/{session}", json={"name": "New", "metadata": None})
    told = client.json("PATCH", f"/sessions/{session}", json={"metadata": {"b": 2}})

    assert (named["name"], named["metadata"]) == ("New", {"a": 1})
    assert (told["name"], told["metadata"], told["version_id"]) == ("New", {"b": 2}, named["version_id"])
    assert client.json("GET", f"/sessions/{session}").items() >= told.items()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ([], 400, "invalid_param"),
        ({"name": 7}, 400, "invalid_param"),
        ({"name": "n" * 256}, 400, "invalid_param"),
        ({"name": "a\0"}, 400, "invalid_param"),
        ({"metadata": []}, 400, "invalid_param"),
        ({"metadata": {"large": "x" * 70_000}}, 422, "value_too_large"),
        ({"version_id": 7}, 400, "invalid_param"),
        ({"multitask_strategy": "reject"}, 400, "invalid_param"),
        ({"name": "New", "version_id": NOBODY}, 404, "agent_version_not_found"),
        ({"name": "New", "version_id": "\0"}, 404, "agent_version_not_found"),
    ],
    ids=lambda value: None if isinstance(value, int | str) else str(value)[:40],
)
def test_an_invalid_change_is_refused_as_a_whole(client: SessionClient, body: object, status: int, code: str) -> None:
    session = client.session(client.agent(), name="Old")

    client.refused("PATCH", f"/sessions/{session}", status, code, json=body)

    assert client.json("GET", f"/sessions/{session}")["name"] == "Old"


def test_a_session_with_a_composition_has_no_version_to_move_to(client: SessionClient) -> None:
    layers = [{"name": "system", "type": "plain.prompt", "config": {"prefix": "Be brief."}}]
    session = client.json("POST", "/sessions", 201, json={"composition": {"layers": layers}})["id"]
    version = client.active(client.agent()["id"])

    client.refused("PATCH", f"/sessions/{session}", 404, "agent_version_not_found", json={"version_id": version})
    body = {"query": "Hello?", "version_id": version}
    client.refused("POST", f"/sessions/{session}/runs", 404, "agent_version_not_found", json=body)
    assert client.turns(session) == []


def test_the_same_idempotency_key_at_once_makes_one_session(client: SessionClient) -> None:
    body, key = {"agent_id": client.agent()["id"]}, {"Idempotency-Key": "s-1"}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(
            pool.map(lambda _: client.json("POST", "/sessions", 201, json=body, headers=key), range(AT_ONCE))
        )

    assert len({answer["id"] for answer in answers}) == 1
    assert len(client.json("GET", "/sessions")["data"]) == 1
    other = {**body, "name": "Another"}
    client.refused("POST", "/sessions", 409, "idempotency_key_reused", json=other, headers=key)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", ""),
        ("GET", ""),
        ("GET", "/{session}"),
        ("PATCH", "/{session}"),
        ("DELETE", "/{session}"),
        ("POST", "/{session}/runs"),
        ("GET", "/{session}/turns"),
        ("GET", "/{session}/turns/{turn}"),
    ],
)
def test_the_key_of_an_app_follows_turns_and_opens_nothing_else(client: SessionClient, method: str, path: str) -> None:
    agent = client.agent()
    key = client.json("POST", "/keys", 201, json={"kind": "app", "agent_id": agent["id"]})["key"]
    app = AgentClient(client.url, tenant=client.tenant, key=key)
    session = client.session(agent)
    client.say(session)
    turn = client.turns(session)[0]["id"]
    body = {"query": "Hello?"} if path.endswith("runs") else {"agent_id": agent["id"]} if method == "POST" else None

    app.refused(method, f"/sessions{path.format(session=session, turn=turn)}", 403, "key_not_allowed", json=body)
    assert app.call("GET", f"/sessions/{session}/turns/{turn}/chat-events").status_code == 200
    assert len(client.turns(session)) == 1
