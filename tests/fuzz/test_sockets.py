"""Whatever a client sends over a WebSocket, the server keeps to the protocol and keeps serving."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from runtime.protocol.feed import PingCommand, Subscribe, SubscribeRuns, Unsubscribe, UnsubscribeRuns
from runtime.protocol.requests import CancelRunRequest
from tests.fuzz.bodies import damaged
from tests.fuzz.conftest import ADMIN_TOKEN, API_TOKEN, Fuzzed
from tests.fuzz.effort import effort
from tests.fuzz.frames import CONTINUATION, PING, PONG, TEXT, Frame, assert_sound, converse, frames
from tests.fuzz.schemas import TEXTS, values_of
from tests.support.socket_client import UPGRADE

COMMANDS: list[type[BaseModel]] = [Subscribe, Unsubscribe, SubscribeRuns, UnsubscribeRuns, PingCommand]
CURSORS = st.sampled_from([None, "", "0-0", "1-1", "1-9", "0", "x", f"{2**64 - 1}-{2**64 - 1}", f"{2**64}"])
CUTS = st.integers(0, 300)


def cancels() -> st.SearchStrategy[Any]:
    return values_of(CancelRunRequest).map(lambda fields: {"type": "cancel", **fields})


@st.composite
def commands(draw: st.DrawFn, *run_ids: str) -> Any:
    """A command of the feed, mostly about existing runs."""
    fields = draw(values_of(draw(st.sampled_from(COMMANDS))))
    if "run_id" in fields:
        fields["run_id"] = draw(st.sampled_from(run_ids) | TEXTS)
    if "after" in fields or draw(st.integers(0, 3)) == 0:
        fields["after"] = draw(CURSORS)
    return fields


@pytest.mark.parametrize("ended", [True, False])
def test_no_frames_break_the_events_of_a_run(fuzzed: Fuzzed, ended: bool) -> None:
    @effort(100)
    @given(sent=frames(damaged(cancels())), cut=CUTS)
    def attack(sent: list[Frame], cut: int) -> None:
        run_id = fuzzed.ended if ended else fuzzed.create_running()
        raw = converse(fuzzed.url, f"/runs/{run_id}/events/ws", API_TOKEN, sent, cut=cut)
        fuzzed.assert_whole()
        assert_sound(raw)

    attack()
    fuzzed.assert_serves()


def test_no_frames_break_the_feed(fuzzed: Fuzzed) -> None:
    running = fuzzed.create_running()

    @effort(200)
    @given(sent=frames(damaged(commands(fuzzed.ended, running))), cut=CUTS)
    def attack(sent: list[Frame], cut: int) -> None:
        raw = converse(fuzzed.url, "/events/ws", ADMIN_TOKEN, sent, cut=cut)
        fuzzed.assert_whole()
        assert_sound(raw)

    attack()
    fuzzed.assert_serves()


@pytest.mark.parametrize("between", [[], [Frame(PING, b"still there?")], [Frame(PONG)]])
def test_a_message_in_parts_is_obeyed(fuzzed: Fuzzed, between: list[Frame]) -> None:
    sent = [Frame(TEXT, b'{"type": "pi', is_last=False), *between, Frame(CONTINUATION, b'ng"}')]

    raw = converse(fuzzed.url, "/events/ws", ADMIN_TOKEN, sent, cut=3)

    assert assert_sound(raw) == [{"type": "pong"}]


def test_an_upgrade_from_a_page_whose_origin_is_no_url_is_refused(fuzzed: Fuzzed) -> None:
    for path, token in ((f"/runs/{fuzzed.ended}/events/ws", API_TOKEN), ("/events/ws", ADMIN_TOKEN)):
        headers = {**UPGRADE, "Authorization": f"Bearer {token}", "Origin": "http://["}
        response = fuzzed.server.get(path, headers=headers)

        assert (response.status_code, response.json()["code"]) == (403, "origin_not_allowed")
    fuzzed.assert_whole()
