"""The frames of Dify's service API, byte for byte."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from runtime.llm.usage import ModelUsage
from services.chat import frames
from services.chat.failures import ChatFailure
from services.chat.frames import ChatTurn, FormTicket
from services.sessions.thoughts import Thought
from tests.support.plugin_daemon import USAGE

TURN = ChatTurn(conversation_id="C", message_id="M", task_id="T", run_id="R", created_at=1780000000)
HEAD = '"conversation_id":"C","message_id":"M","created_at":1780000000,"task_id":"T"'
USED = ModelUsage.model_validate(USAGE)
STREAMED_USAGE = (
    '{"prompt_tokens":7,"prompt_unit_price":"0.001","prompt_price_unit":"0.001","prompt_price":"0.000007",'
    '"completion_tokens":5,"completion_unit_price":"0.002","completion_price_unit":"0.001",'
    '"completion_price":"0.00001","total_tokens":12,"total_price":"0.000017","currency":"USD","latency":0.25,'
    '"time_to_first_token":null,"time_to_generate":null}'
)
FORM = FormTicket("token", datetime(2026, 11, 20, 12, 0, 0, 999999, UTC))


def frame(line: str) -> bytes:
    return f"data: {line}\n\n".encode()


def test_a_ping_has_no_data() -> None:
    assert frames.PING == b"event: ping\n\n"


def test_a_piece_of_the_answer() -> None:
    assert frames.message(TURN, "Hel") == frame(
        f'{{"event":"message",{HEAD},"id":"M","answer":"Hel","from_variable_selector":[]}}'
    )


def test_a_thought_of_a_tool() -> None:
    thought = Thought("TH", 1, tool="current_time", tool_input="{}")

    assert frames.agent_thought(TURN, thought) == frame(
        f'{{"event":"agent_thought",{HEAD},"id":"TH","position":1,"thought":"","observation":"","tool":"current_time",'
        '"tool_labels":{"current_time":{"en_US":"current_time","zh_Hans":"current_time"}},"tool_input":"{}",'
        '"message_files":[]}'
    )


def test_a_thought_without_a_tool_has_no_labels() -> None:
    assert b'"tool":"","tool_labels":{},' in frames.agent_thought(TURN, Thought("TH", 1, thought="Hm."))


def test_a_replacement() -> None:
    assert frames.message_replace(TURN, "All.", "answer_changed") == frame(
        f'{{"event":"message_replace",{HEAD},"answer":"All.","reason":"answer_changed"}}'
    )


def test_the_end() -> None:
    assert frames.message_end(TURN, USED) == frame(
        f'{{"event":"message_end",{HEAD},"id":"M",'
        f'"metadata":{{"retriever_resources":[],"usage":{STREAMED_USAGE}}},"files":[]}}'
    )


def test_the_end_with_a_form() -> None:
    line = frames.message_end(TURN, USED, FORM).decode()

    assert '"human_input":{"form_token":"token","expires_at":1795176000}},"files":[]}' in line


def test_an_error_names_no_task() -> None:
    failure = ChatFailure("completion_request_error", 400, "it broke")

    assert frames.error(TURN, failure) == frame(
        '{"event":"error","conversation_id":"C","message_id":"M","created_at":1780000000,'
        '"code":"completion_request_error","status":400,"message":"it broke"}'
    )


@pytest.mark.parametrize("text", ["Grüße 👋", "a\nb\r\n", "a\u0085b\u2028c\u2029d", '"\\'])
def test_a_frame_is_one_line_whatever_the_text(text: str) -> None:
    data = frames.message(TURN, text)

    assert len(data.decode().splitlines()) == 2
    assert data.endswith(b"\n\n")
    assert json.loads(data[len(b"data: ") :])["answer"] == text


def test_text_beyond_ascii_is_not_escaped() -> None:
    assert "Grüße 👋".encode() in frames.message(TURN, "Grüße 👋")


def test_the_blocking_answer_has_its_usage_twice_and_prices_as_numbers() -> None:
    body: dict[str, Any] = frames.blocking_body(TURN, "Hello", USED)

    usage = body["metadata"]["usage"]
    assert body == {
        "event": "message",
        "task_id": "T",
        "id": "M",
        "message_id": "M",
        "conversation_id": "C",
        "mode": "agent",
        "answer": "Hello",
        "metadata": {"annotation_reply": None, "retriever_resources": [], "usage": usage},
        "usage": usage,
        "created_at": 1780000000,
    }
    assert usage["total_price"] == 0.000017
    assert json.loads(json.dumps(body)) == body


def test_the_blocking_answer_to_a_question_has_its_form() -> None:
    body = frames.blocking_body(TURN, "Go?", USED, FORM)

    assert body["metadata"]["human_input"] == {"form_token": "token", "expires_at": 1795176000}
