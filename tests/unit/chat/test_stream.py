"""A turn as a chat client receives it, from the events of real runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.events.entries import StreamEntry
from runtime.protocol.dialects import Dialect
from runtime.protocol.events import Event, EventEncoder, RunEnd
from runtime.protocol.ids import new_id
from services.chat.frames import ChatTurn, FormTicket
from services.chat.stream import ChatStream
from services.sessions.answers import answer_text
from services.sessions.thoughts import thoughts_of, thoughts_so_far
from services.sessions.transcript import answer_so_far
from tests.unit.sessions.scripted_runs import (
    QUESTION,
    Call,
    Response,
    ScriptedRun,
    Text,
    Thinking,
    as_entries,
    run_script,
)

MESSAGE_ID = new_id()
TURN = ChatTurn(new_id(), MESSAGE_ID, new_id(), new_id(), 1780000000)
FORM = FormTicket("token", datetime(2026, 11, 20, tzinfo=UTC))

SPOKEN: Response = [Text(("It ", "is ", "so."))]


def no_form() -> FormTicket | None:
    raise AssertionError("nobody asked for a form")


def chat(find_form: Any = no_form) -> ChatStream:
    return ChatStream(TURN, find_form)


def read(data: bytes) -> list[dict[str, Any]]:
    """The frames that a client reads."""
    assert data == b"" or data.endswith(b"\n\n")
    raw = data.split(b"\n\n")[:-1]
    assert all(one.startswith(b"data: ") and b"\n" not in one for one in raw)
    return [json.loads(one[len(b"data: ") :]) for one in raw]


def feed_singly(stream: ChatStream, entries: Sequence[StreamEntry]) -> list[dict[str, Any]]:
    return [frame for entry in entries for frame in read(stream.feed([entry]))]


def ended(run: ScriptedRun, end: RunEnd) -> list[StreamEntry]:
    """The entries of a run that ended in another way."""
    return as_entries([*run.events[:-1], EventEncoder(run.run_id, Dialect.CURRENT).ended(end)])


def success(output: object) -> Event:
    end = RunEnd.succeeded(output=output, snapshot={}, usage=None)
    return EventEncoder("run", Dialect.CURRENT).ended(end)


def kinds(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["event"] for frame in frames]


def joined(frames: list[dict[str, Any]]) -> str:
    return "".join(frame["answer"] for frame in frames if frame["event"] in ("message", "agent_message"))


def test_text_is_streamed_piece_by_piece_and_not_repeated_at_the_end() -> None:
    stream = chat()

    frames = feed_singly(stream, run_script(SPOKEN).entries)

    assert kinds(frames) == ["message", "message", "message", "message_end"]
    assert [frame["answer"] for frame in frames[:3]] == ["It ", "is ", "so."]
    assert stream.answer == "It is so."
    assert stream.is_finished


def test_text_of_one_batch_is_one_frame() -> None:
    frames = read(chat().feed(run_script(SPOKEN).entries))

    assert [frame.get("answer") for frame in frames] == ["It is so.", None]
    assert frames[1]["metadata"]["usage"]["total_tokens"] == 12
    assert frames[1]["metadata"]["usage"]["total_price"] == "0.000017"


def test_a_growing_thought_is_one_frame_per_batch_and_keeps_its_id() -> None:
    run = run_script([Thinking(("a", "b", "c")), *SPOKEN])
    one, two = chat(), chat()

    at_once = read(one.feed(run.entries))
    singly = feed_singly(two, run.entries)

    assert kinds(at_once) == ["agent_thought", "message", "message_end"]
    assert at_once[0]["thought"] == "abc"
    thoughts = [frame for frame in singly if frame["event"] == "agent_thought"]
    assert [thought["thought"] for thought in thoughts] == ["a", "ab", "abc"]
    assert {thought["id"] for thought in thoughts} == {at_once[0]["id"]}


def test_text_before_a_tool_call_is_replaced_by_the_answer() -> None:
    stream = chat()
    run = run_script([Text(("I look it up.",)), Call("lookup", '{"answer": "so"}', "c1")], SPOKEN)

    frames = read(stream.feed(run.entries))

    assert kinds(frames) == ["message", "agent_thought", "message", "message_replace", "message_end"]
    assert frames[1]["tool"] == "lookup"
    assert frames[1]["observation"] == "so"
    assert frames[3]["answer"] == stream.answer == "It is so."
    assert frames[3]["reason"] == "answer_changed"


def test_an_answer_after_a_failed_validation_replaces_what_was_streamed() -> None:
    run = run_script([Text(("no json",))], [Call("final_output", '{"valid": true}', "c1")], structured=True)

    frames = read(chat().feed(run.entries))

    assert kinds(frames) == ["message", "message_replace", "message_end"]
    assert frames[1]["answer"] == '{"valid":true}'


def test_of_an_output_longer_than_the_streamed_text_only_the_rest_is_sent() -> None:
    stream = chat()
    run = run_script(SPOKEN)

    frames = feed_singly(stream, [*run.entries[:-1], *as_entries([success({"text": "It is so. Really."})])])

    assert kinds(frames) == ["message", "message", "message", "message", "message_end"]
    assert frames[3]["answer"] == " Really."


def test_an_output_that_was_not_streamed_is_sent_whole() -> None:
    frames = read(chat().feed(as_entries([success(["ä"])])))

    assert [frame.get("answer") for frame in frames] == ['["ä"]', None]


def test_an_empty_answer_after_text_is_a_replacement() -> None:
    run = run_script(SPOKEN)
    stream = chat()

    frames = read(stream.feed([*run.entries[:-1], *as_entries([success(None)])]))

    assert kinds(frames) == ["message", "message_replace", "message_end"]
    assert frames[1]["answer"] == stream.answer == ""


def test_an_empty_run_ends_at_once() -> None:
    assert kinds(read(chat().feed(as_entries([success(None)])))) == ["message_end"]


def test_a_question_is_the_answer_and_its_end_has_the_form() -> None:
    run = run_script([Call("ask_human", json.dumps(QUESTION), "c1")])
    stream = chat(lambda: FORM)

    frames = read(stream.feed(run.entries))

    assert kinds(frames) == ["agent_thought", "message", "message_end"]
    assert frames[1]["answer"] == stream.answer == "Go?\n\n*Really?*"
    assert frames[2]["metadata"]["human_input"] == FORM.as_json()
    assert stream.result.form == FORM


def test_a_question_without_a_form_ends_all_the_same() -> None:
    run = run_script([Call("ask_human", json.dumps(QUESTION), "c1")])

    frames = read(chat(lambda: None).feed(run.entries))

    assert "human_input" not in frames[-1]["metadata"]


def test_a_cancelled_turn_ends_with_what_was_said() -> None:
    stream = chat()
    run = run_script([Text(("I ", "look")), Call("wait", "{}", "c1")], cancel_after=7)

    frames = read(stream.feed(run.entries))

    assert kinds(frames) == ["message", "agent_thought", "message_end"]
    assert stream.answer == "I look" == answer_so_far(run.data)
    assert frames[-1]["metadata"]["usage"]["total_tokens"] == 0
    assert stream.result.error is None


def test_a_failed_turn_ends_with_an_error_and_nothing_else() -> None:
    stream = chat()
    end = RunEnd.failed("slow down", reason="InvokeRateLimitError")

    frames = read(stream.feed(ended(run_script(SPOKEN), end)))

    assert kinds(frames) == ["message", "error"]
    assert (frames[1]["code"], frames[1]["status"]) == ("rate_limit_error", 429)
    assert frames[1]["message"] == f"slow down (agent_run_id={TURN.run_id})"
    assert "task_id" not in frames[1]
    assert stream.result.error is not None
    assert stream.answer == "It is so."


def test_a_stream_without_an_end_is_an_error_of_the_server() -> None:
    stream = chat()
    stream.feed(run_script(SPOKEN).entries[:-1])
    assert not stream.is_finished

    (frame,) = read(stream.break_off())

    assert (frame["event"], frame["code"], frame["status"]) == ("error", "internal_server_error", 500)
    assert stream.is_finished
    assert stream.break_off() == b""


def test_nothing_comes_after_the_end() -> None:
    stream = chat()
    entries = run_script(SPOKEN).entries
    stream.feed(entries)

    assert stream.feed(entries) == b""
    assert stream.break_off() == b""
    assert stream.answer == "It is so."


def test_a_blocking_answer_is_drained_from_the_same_stream() -> None:
    stream = chat()
    run = run_script([Thinking(("Hm.",)), Text(("I look.",)), Call("lookup", '{"answer": 1}', "c1")], SPOKEN)

    feed_singly(stream, run.entries)

    result = stream.result
    assert result.answer == "It is so."
    assert result.usage.total_tokens == 12
    assert result.thoughts == thoughts_of(MESSAGE_ID, run.messages)
    assert result.error is None
    assert result.form is None


def test_no_frame_has_characters_that_postgresql_refuses() -> None:
    stream = chat()
    run = run_script([Thinking(("a\0b",)), Text(("c\0", "\0d")), Call("lookup", '{"answer": "e"}', "c1")], SPOKEN)

    data = b"".join(stream.feed([entry]) for entry in run.entries)

    assert b"\\u0000" not in data


# Whatever a model says, and however the entries come.

pieces = st.lists(st.text("ab \0\u2028é", max_size=3), min_size=1, max_size=3).map(tuple)
texts = st.builds(Text, pieces)
thinking = st.builds(Thinking, pieces, st.sampled_from([None, "signed"]))
arguments = st.sampled_from(["", "{}", '{"answer": "é"}', '{"answer": [{"a": null}]}', '{"answer', '{"wrong": 1}'])
calls = st.tuples(st.sampled_from(["lookup", "refuse", "nothing", "ask_human"]), arguments, st.integers(1, 4))


@st.composite
def scripts(draw: Any) -> list[Response]:
    """Some responses that call tools, and one that answers. Calls get ids of their own."""
    responses: list[Response] = []
    for number in range(draw(st.integers(0, 2))):
        parts = draw(st.lists(st.one_of(texts, thinking, calls), max_size=4))
        parts.append(draw(calls))
        responses.append(
            [
                Call(part[0], part[1], f"{number}-{place}", part[2]) if isinstance(part, tuple) else part
                for place, part in enumerate(parts)
            ]
        )
    responses.append([*draw(st.lists(st.one_of(texts, thinking), max_size=2)), Text(("So.",))])
    return responses


outputs = st.one_of(
    st.none(), st.text("ab \0é", max_size=4), st.dictionaries(st.just("text"), st.text("ab"), max_size=1)
)
others = st.one_of(
    st.none(), outputs.map(success), st.just(RunEnd.cancelled()), st.just(RunEnd.failed("x")), st.just("no end")
)


@settings(max_examples=60, deadline=None)
@given(script=scripts(), other=others, data=st.data())
def test_the_pieces_are_the_stored_answer_unless_it_was_replaced(
    script: list[Response], other: Any, data: st.DataObject
) -> None:
    run = run_script(*script)
    entries = run.entries
    if isinstance(other, Event):
        entries = [*entries[:-1], *as_entries([other])]
    elif other is not None:
        cut = data.draw(st.integers(1, len(entries) - 1))
        end = [] if other == "no end" else [EventEncoder("run", Dialect.CURRENT).ended(other)]
        entries = as_entries([*run.events[:cut], *end])
    stream = chat()
    frames = []
    while entries:
        size = data.draw(st.integers(1, len(entries)))
        batch, entries = entries[:size], entries[size:]
        fed = read(stream.feed(batch))
        assert joined(fed) == "" or "message" in kinds(fed)
        rows = [frame["id"] for frame in fed if frame["event"] == "agent_thought"]
        assert len(rows) == len(set(rows))
        frames += fed
    frames += read(stream.break_off())

    replacements = [frame for frame in frames if frame["event"] == "message_replace"]
    if replacements:
        (replacement,) = replacements
        assert replacement["answer"] == stream.answer
        assert kinds(frames)[-2:] == ["message_replace", "message_end"]
    else:
        assert joined(frames) == stream.answer
    assert all(frame["answer"] for frame in frames if frame["event"] == "message")
    assert kinds(frames)[-1] in ("message_end", "error")
    assert kinds(frames).count("message_end") + kinds(frames).count("error") == 1
    last_shown = {frame["id"]: frame for frame in frames if frame["event"] == "agent_thought"}
    stored = stream.result.thoughts
    assert [last_shown[row.id]["observation"] for row in stored] == [row.observation for row in stored]
    assert len(last_shown) == len(stored)
    if other is None:
        assert list(stored) == thoughts_of(MESSAGE_ID, run.messages) == thoughts_so_far(MESSAGE_ID, run.data)
        assert stream.answer == answer_text(run_output(run))


def run_output(run: ScriptedRun) -> object:
    """The output in the run's terminal event."""
    data = json.loads(run.events[-1].payload)["data"]
    return data["output"]


@pytest.mark.parametrize("cancel_after", range(1, 17))
def test_a_turn_cancelled_anywhere_is_stored_as_it_was_shown(cancel_after: int) -> None:
    script: list[Response] = [
        [
            Thinking(("Hm", ".")),
            Text(("I ", "look.")),
            Call("lookup", '{"answer": "a"}', "c1", 3),
            Call("wait", "{}", "c2"),
        ],
        SPOKEN,
    ]
    stream = chat()
    run = run_script(*script, cancel_after=cancel_after)

    frames = feed_singly(stream, run.entries)

    assert joined(frames) == stream.answer == answer_so_far(run.data)
    assert kinds(frames)[-1] == "message_end"
    assert stream.result.thoughts == thoughts_so_far(MESSAGE_ID, run.data)
