"""Runs whose models answer oddly: on every wire, through the real server, from servers that write raw bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import environment
from tests.support.client import RunClient, plugin_layers, prompt
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.openai_server import running_openai_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer
from tests.support.wires import frames
from tests.support.wires.frames import BEGINS, CHAT_USAGE, DONE, ENDS, TEXTS, answer
from tests.support.wires.shape import WIRES

SECRET_TEXT = "what-the-model-wrote"
DIRECT = [wire for wire in WIRES if wire != "plugin"]
HTML = b"<!DOCTYPE html><html>" + SECRET_TEXT.encode() + b"</html>\n"
PATHS = {"openai": "/v1", "openai-responses": "/v1", "anthropic": "", "google": ""}
FIRST, SECOND = "\ud83d", "\ude00"

CALLS = {
    "openai": frames.chat_call('{"query":"a"}', name="get", call_id="1")
    + frames.chat_call('{"query":"b"}', name="get", call_id="2"),
    "openai-responses": frames.responses_call('{"query":"a"}') + frames.responses_call('{"query":"b"}', call_id="2"),
    "anthropic": frames.anthropic_call('{"query":"a"}') + frames.anthropic_call('{"query":"b"}'),
    "google": frames.google(
        {"functionCall": {"name": "get", "id": "1", "args": {"query": "a"}}},
        {"functionCall": {"name": "get", "id": "1", "args": {"query": "b"}}},
    ),
    "plugin": frames.plugin_call('{"query":"a"}', name="get", call_id="1")
    + frames.plugin_call('{"query":"b"}', name="get", call_id="2"),
}
"""Two calls with wrong indices or ids."""

BEGUN_CALLS = {
    "openai": frames.chat_call("", name="get", call_id="1"),
    "openai-responses": frames.responses_call("").partition(b"event: response.function_call_arguments.done")[0],
    "anthropic": frames.anthropic_call(stops=False),
    "google": frames.google({"functionCall": {"name": "get", "args": {}}}),
    "plugin": frames.plugin_call(name="get", call_id="1"),
}
"""A call of which only the beginning has arrived; Google's arrive complete."""

LIMITS = {
    "openai": frames.chat(finish="length") + DONE,
    "openai-responses": frames.responses(
        "incomplete", response=frames.response("incomplete", incomplete_details={"reason": "max_output_tokens"})
    ),
    "anthropic": frames.anthropic_end("max_tokens"),
    "plugin": frames.plugin(finish="length", usage=CHAT_USAGE),
}

FILTERED = {
    "openai": frames.chat({"refusal": SECRET_TEXT}) + frames.chat(finish="stop") + DONE,
    "openai-responses": frames.responses(
        "refusal.done", item_id="m", output_index=0, content_index=0, refusal=SECRET_TEXT
    )
    + ENDS["openai-responses"],
    "anthropic": frames.anthropic_thinking(SECRET_TEXT) + frames.anthropic_end("refusal"),
    "google": frames.google_text(SECRET_TEXT, thought=True) + frames.google(finish="SAFETY"),
    "plugin": frames.plugin(f"<think>{SECRET_TEXT}</think>") + frames.plugin(finish="content_filter"),
}

USAGE_THRICE = {
    "openai": frames.chat({"content": "Hel"}, usage=CHAT_USAGE)
    + frames.chat({"content": "lo"}, finish="stop", usage=CHAT_USAGE)
    + frames.frame({"choices": [], "usage": {**CHAT_USAGE, "prompt_tokens": None}})
    + DONE,
    "openai-responses": frames.responses("in_progress", response=frames.response("in_progress", frames.RESPONSES_USAGE))
    + answer("openai-responses", "Hello")
    + ENDS["openai-responses"],
    "anthropic": BEGINS["anthropic"]
    + frames.anthropic_text("Hello")
    + frames.anthropic("message_delta", delta={}, usage={"input_tokens": 7, "output_tokens": 5})
    + frames.anthropic_end(),
    "google": frames.google({"text": "Hel"}, usage=frames.GOOGLE_USAGE)
    + frames.google({"text": "lo"}, usage=frames.GOOGLE_USAGE)
    + ENDS["google"],
    "plugin": frames.plugin("Hel", usage=CHAT_USAGE) + frames.plugin("lo", usage=CHAT_USAGE) + ENDS["plugin"],
}

TOOL = {
    "plugin_id": "langgenius/google",
    "provider": "langgenius/google/google",
    "name": "get",
    "credential_type": "unauthorized",
    "parameters": [{"name": "query", "type": "string", "form": "llm", "label": {"en_US": "Query"}}],
    "parameters_json_schema": {"type": "object", "properties": {"query": {"type": "string"}}},
}


@dataclass
class Site:
    """A server, and the two servers that its models call."""

    client: RunClient
    daemon: ScriptedDaemon
    provider: ScriptedDaemon

    def scripted(self, wire: str) -> ScriptedDaemon:
        return self.daemon if wire == "plugin" else self.provider

    def script(self, wire: str, name: str, *bodies: bytes) -> None:
        """Sets the answers to the calls of a model, byte for byte."""
        self.scripted(wire).script(name, *([{"write": body.decode()}] for body in bodies))

    def layers(self, wire: str, name: str, *, fallback: str | None = None, **config: Any) -> list[dict[str, Any]]:
        """The layers of a model, scripted under ``name``, and of a tool, scripted under ``name`` with ``-tool``."""
        tools = {"tools": [{**TOOL, "tool_name": f"{name}-tool"}]}
        layers = [*plugin_layers(name), {"name": "tools", "type": "dify.plugin.tools", "config": tools}]
        layers[-1]["deps"] = {"execution_context": "execution_context"}
        if wire == "plugin":
            return layers
        model = {"model": f"{wire}:{name}", "base_url": self.provider.url + PATHS[wire], **config}
        if fallback is not None:
            model["fallback_models"] = [{**model, "model": f"{wire}:{fallback}"}]
        llm = {"name": "llm", "type": "greenrun.llm", "config": model}
        return [llm if layer["name"] == "llm" else layer for layer in layers]

    def run(self, wire: str, name: str, *bodies: bytes, **config: Any) -> dict[str, Any]:
        """Returns the terminal event of a run whose model gives these answers."""
        self.script(wire, name, *bodies)
        return self.client.finish(self.client.create(prompt(), *self.layers(wire, name, **config)))


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedDaemon]:
    with running_openai_server() as server:
        yield server


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[GunicornServer]:
    settings = environment(redis_server.url, daemon.url, redis_prefix="answers", allow_private_urls=True)
    with running_server(settings, workers=1) as running:
        yield running


@pytest.fixture
def site(server: GunicornServer, daemon: ScriptedDaemon, provider: ScriptedDaemon) -> Site:
    return Site(RunClient(server.url), daemon, provider)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name for the model and the tool of this test alone, so that no two tests share a script."""
    return re.sub(r"\W+", "-", str(request.node.name))[-60:].strip("-")


def failure(end: dict[str, Any]) -> str:
    """Returns the reason of a failed run, which must show nothing of the model's answer or address."""
    assert end["type"] == "run_failed", end
    assert not re.search(f"{SECRET_TEXT}|http|127.0.0.1|pydantic|max_tokens", json.dumps(end["data"])), end
    assert len(end["data"]["error"]) < 160
    reason: str = end["data"]["reason"]
    return reason


# Answers that are not whole


@pytest.mark.parametrize("wire", DIRECT)
def test_half_an_answer_that_ends_politely_fails_the_run(site: Site, name: str, wire: str) -> None:
    assert failure(site.run(wire, name, BEGINS[wire] + TEXTS[wire](SECRET_TEXT))) == "model_stream_incomplete"


@pytest.mark.parametrize("wire", DIRECT)
def test_an_answer_that_ends_before_its_first_text_passes_on(site: Site, name: str, wire: str) -> None:
    fallback = f"{name}-fallback"
    site.script(wire, fallback, answer(wire, "Hello"))

    end = site.run(wire, name, BEGINS[wire] or frames.google(), fallback=fallback)

    assert end["data"]["output"] == "Hello"


@pytest.mark.parametrize("wire", WIRES)
def test_no_tool_runs_when_the_answer_ends_inside_its_call(site: Site, name: str, wire: str) -> None:
    end = site.run(wire, name, BEGINS[wire] + BEGUN_CALLS[wire], answer(wire, "done"))

    assert failure(end) == "model_stream_incomplete"
    assert len(site.scripted(wire).calls(name)) == 1
    assert site.daemon.calls(f"{name}-tool") == []


@pytest.mark.parametrize("wire", LIMITS)
def test_a_call_that_the_limit_cut_off_is_reported_to_the_model_and_not_run(site: Site, name: str, wire: str) -> None:
    end = site.run(wire, name, BEGINS[wire] + BEGUN_CALLS[wire] + LIMITS[wire], answer(wire, "done"))

    assert end["data"]["output"] == "done"
    assert "Invalid JSON" in json.dumps(site.scripted(wire).calls(name)[1]["body"])
    assert site.daemon.calls(f"{name}-tool") == []


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        ("openai", frames.chat_text(SECRET_TEXT) + frames.chat(finish="error") + DONE),
        (
            "openai-responses",
            BEGINS["openai-responses"] + frames.responses("failed", response=frames.response("failed")),
        ),
        ("plugin", frames.plugin(SECRET_TEXT) + frames.plugin(finish="error")),
    ],
)
def test_an_answer_that_says_that_it_failed_fails_the_run(site: Site, name: str, wire: str, body: bytes) -> None:
    assert failure(site.run(wire, name, body)) == "model_server_error"


def test_a_compatible_server_may_end_with_its_mark_alone(site: Site, name: str) -> None:
    body = frames.chat_text("Hello") + DONE

    assert site.run("openai", name, body)["data"]["output"] == "Hello"
    assert failure(site.run("openai", name, body, compatibility="openai")) == "model_stream_incomplete"


# Calls, thinking, text and usage


@pytest.mark.parametrize("wire", WIRES)
def test_calls_whose_ids_and_indices_lie_are_all_run(site: Site, name: str, wire: str) -> None:
    site.daemon.script(f"{name}-tool", [{"data": {"type": "text", "message": {"text": "42"}}}])

    end = site.run(wire, name, BEGINS[wire] + CALLS[wire] + ENDS[wire], answer(wire, "done"))

    assert end["data"]["output"] == "done"
    called = [call["body"]["data"]["tool_parameters"] for call in site.daemon.calls(f"{name}-tool")]
    assert sorted(parameters["query"] for parameters in called) == ["a", "b"]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("pieces", [("<think>why</think>so",), ("<th", "ink>why</thi", "nk>so"), ("why</think>so",)])
def test_thinking_is_no_part_of_the_answer(site: Site, name: str, wire: str, pieces: tuple[str, ...]) -> None:
    site.script(wire, name, answer(wire, *pieces))

    events = site.client.follow(site.client.create(prompt(), *site.layers(wire, name)))

    assert events[-1].data["data"]["output"] == "so"
    shown: dict[int, str] = {}
    for event in (frame.data["data"] for frame in events if frame.event == "pydantic_ai_event"):
        if event["event_kind"] == "part_start":
            shown[event["index"]] = event["part"]["part_kind"]
    assert shown == {0: "thinking", 1: "text"}


@pytest.mark.parametrize("wire", WIRES)
def test_halves_of_a_character_are_joined_or_replaced(site: Site, name: str, wire: str) -> None:
    end = site.run(wire, name, answer(wire, f"<think>{FIRST}", f"{SECOND}</think>a{FIRST}", f"{SECOND}b{FIRST}"))

    assert end["data"]["output"] == "a\U0001f600b\ufffd"


@pytest.mark.parametrize("wire", WIRES)
def test_the_last_usage_counts(site: Site, name: str, wire: str) -> None:
    end = site.run(wire, name, USAGE_THRICE[wire])

    assert end["data"]["output"] == "Hello"
    assert (end["data"]["usage"]["prompt_tokens"], end["data"]["usage"]["completion_tokens"]) == (7, 5)


@pytest.mark.parametrize("wire", WIRES)
def test_a_blank_answer_stays_out_of_the_next_turn(site: Site, name: str, wire: str) -> None:
    site.script(wire, name, answer(wire, " \n"), answer(wire, "Hello"))
    layers = [{"name": "history", "type": "pydantic_ai.history"}, *site.layers(wire, name)]
    first = site.client.finish(site.client.create(prompt("First."), *layers))

    snapshot = first["data"]["session_snapshot"]
    second = site.client.finish(site.client.create(prompt("Second."), *layers, session_snapshot=snapshot))

    assert second["data"]["output"] == "Hello"
    asked = json.dumps(site.scripted(wire).calls(name)[1]["body"])
    assert "First." in asked
    assert '" \\n"' not in asked


def test_thinking_without_a_signature_goes_back_to_its_server(site: Site, name: str) -> None:
    site.daemon.script(f"{name}-tool", [{"data": {"type": "text", "message": {"text": "42"}}}])
    thinking = BEGINS["anthropic"] + frames.anthropic_thinking("why") + CALLS["anthropic"] + ENDS["anthropic"]

    assert site.run("anthropic", name, thinking, answer("anthropic", "done"))["data"]["output"] == "done"

    told = site.provider.calls(name)[1]["body"]["messages"][1]["content"][0]
    assert told == {"type": "thinking", "thinking": "why", "signature": ""}


# Bodies that are not an answer


@pytest.mark.parametrize("wire", DIRECT)
@pytest.mark.parametrize(
    "body", [HTML, b'{"error": "what-the-model-wrote"}', b"data: null\n\n", b"data:\n\n", b": hi\n\n"]
)
def test_a_body_that_is_no_answer_passes_on(site: Site, name: str, wire: str, body: bytes) -> None:
    fallback = f"{name}-fallback"
    site.script(wire, fallback, answer(wire, "Hello"))

    assert site.run(wire, name, body, fallback=fallback)["data"]["output"] == "Hello"


@pytest.mark.parametrize("wire", WIRES)
def test_a_body_that_is_no_answer_is_reported_as_such(site: Site, name: str, wire: str) -> None:
    end = site.run(wire, name, HTML)

    assert failure(end) == "model_protocol_error"
    assert wire == "plugin" or end["data"]["error"].startswith(f"{wire}:{name}: ")


@pytest.mark.parametrize("wire", FILTERED)
def test_a_refusal_and_a_filter_are_reported_in_a_sentence(site: Site, name: str, wire: str) -> None:
    reason = failure(site.run(wire, name, BEGINS[wire] + FILTERED[wire]))

    assert reason == ("content_filter" if wire in ("google", "plugin") else "refusal")


@pytest.mark.parametrize("place", ["blockReason", "blockReasonMessage"])
def test_why_a_prompt_was_blocked_is_not_told_in_the_providers_words(site: Site, name: str, place: str) -> None:
    blocked = {"blockReason": "SAFETY", "blockReasonMessage": "no", place: SECRET_TEXT}

    end = site.run("google", name, frames.frame({"promptFeedback": blocked, "candidates": []}))

    assert failure(end) == "content_filter"
    assert SECRET_TEXT not in str(end)


def test_a_model_that_never_answers_anything_of_use_is_told_in_a_sentence(site: Site, name: str) -> None:
    call = frames.chat_call("{broken " + SECRET_TEXT, name="get", call_id="1") + ENDS["openai"]

    assert failure(site.run("openai", name, call)) == "unexpected_model_behavior"


# Compatible servers


def test_the_config_says_how_much_of_openais_api_a_server_takes(site: Site, name: str) -> None:
    settings = {"max_tokens": 9}
    site.run("openai", name, answer("openai", "Hello"), model_settings=settings)
    generic = site.provider.calls(name)[0]["body"]
    site.run("openai", name, answer("openai", "Hello"), model_settings=settings, compatibility="openai")
    full = site.provider.calls(name)[0]["body"]

    assert generic["max_tokens"] == full["max_completion_tokens"] == 9
    assert "stream_options" not in generic
    assert full["stream_options"] == {"include_usage": True}
