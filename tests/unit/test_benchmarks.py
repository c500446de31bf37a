"""Every benchmark can be started and is on the page about performance; what measures can be trusted."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.chat_recording import ChatRecording
from benchmarks.support.chat_statements import StatementLog
from benchmarks.support.http_stream import HttpRecording
from benchmarks.support.measure import cpu_seconds
from benchmarks.support.recording import AnyRecording, Recording
from benchmarks.support.socket_stream import SocketRecording
from runtime.protocol import sse, ws

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "performance.md"
YARDSTICK = "yardstick"
PATCHES_ITS_PROCESS = "structured_output"
"""For gevent, so that it is imported in a process of its own."""
BENCHMARKS = sorted(path.stem for path in (CHECKOUT / "benchmarks").glob("[a-z]*.py") if path.stem != YARDSTICK)

LONG_TEXT = "x" * 70_000
"""Longer than the two shorter forms of a WebSocket frame's length can tell."""
DELTAS = ["one", "y" * 300, LONG_TEXT]
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADED_HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
CLOSE_FRAME = b"\x88\x02\x03\xe8"

CONVERSATION_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
LOST_TURNS = {
    "cut": CHUNKED_HEAD + b'1\r\ndata: {"event":"message","answer":"one"}\n\n\r\n',
    "failed": CHUNKED_HEAD + b'1\r\ndata: {"event":"error","code":"internal_server_error"}\n\n\r\n0\r\n\r\n',
    "refused": b'HTTP/1.1 503 Service Unavailable\r\n\r\n{"code":"service_unavailable"}',
}


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))


def test_there_are_benchmarks() -> None:
    assert "chunks" in BENCHMARKS


@pytest.mark.parametrize("names", [[PATCHES_ITS_PROCESS], sorted({*BENCHMARKS, YARDSTICK} - {PATCHES_ITS_PROCESS})])
def test_benchmarks_import_and_have_a_start(names: list[str]) -> None:
    starts = [f"from benchmarks.{name} import {'serve' if name == YARDSTICK else 'main'}" for name in names]
    command = [sys.executable, "-c", "\n".join(starts)]

    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_page_about_performance_names_a_benchmark(name: str) -> None:
    assert f"`dev/bench {name}`" in PAGE.read_text()


@pytest.mark.parametrize("size", [11, 4096, 1_000_000])
@pytest.mark.parametrize("kind", [HttpRecording, SocketRecording])
def test_a_recording_understands_a_stream_however_it_was_cut(kind: type[Recording], size: int) -> None:
    async def texts() -> list[str]:
        recording, _ = _record(kind, _pieces(_whole(kind), size))
        assert recording.ended_at
        return [event.text() for event in recording.events()]

    assert asyncio.run(texts()) == [*DELTAS, ""]


@pytest.mark.parametrize("kind", [HttpRecording, SocketRecording])
def test_a_recording_of_a_stream_without_its_end_is_refused(kind: type[Recording]) -> None:
    async def understand() -> None:
        recording, _ = _record(kind, [_whole(kind)[:-200]])
        recording.events()

    with pytest.raises(ValueError, match="not a whole stream"):
        asyncio.run(understand())


def test_the_socket_client_answers_a_ping_with_its_payload_and_closes_after_the_end() -> None:
    async def written() -> list[bytes]:
        _, wire = _record(SocketRecording, [b"\x89\x04abcd", _whole(SocketRecording)])
        return wire.written

    assert asyncio.run(written()) == [b"the request", b"\x8a\x84\0\0\0\0abcd", b"\x88\x82\0\0\0\0\x03\xe8"]


@pytest.mark.parametrize("size", [11, 4096, 1_000_000])
def test_a_recording_of_a_chat_turn_understands_it_however_it_was_cut(size: int) -> None:
    async def understand() -> ChatRecording:
        recording, _ = _record(ChatRecording, _pieces(_whole_turn(), size))
        return recording

    recording = asyncio.run(understand())

    assert recording.answer() == "".join(DELTAS)
    assert recording.conversation_id() == CONVERSATION_ID


def test_a_recording_of_a_chat_turn_notes_its_first_piece_and_its_end_as_they_arrive() -> None:
    async def told() -> list[tuple[bool, bool]]:
        recording, _ = _record(ChatRecording, [])
        seen = []
        for piece in (CHUNKED_HEAD, *_turn_chunks()):
            recording.data_received(piece)
            seen.append((bool(recording.first_at), recording.ended.done()))
        return seen

    assert asyncio.run(told()) == [(False, False), *[(True, False)] * len(DELTAS), (True, True)]


@pytest.mark.parametrize("answer", LOST_TURNS.values(), ids=LOST_TURNS)
def test_a_chat_turn_that_did_not_end_well_counts_as_lost(answer: bytes) -> None:
    async def understand() -> None:
        recording, _ = _record(ChatRecording, [answer])
        recording.connection_lost(None)
        assert recording.ended.done()
        recording.answer()

    with pytest.raises(ValueError, match=r"not a whole turn|was refused"):
        asyncio.run(understand())


def test_the_statements_of_one_database_are_found_in_postgresqls_log(tmp_path: Path) -> None:
    path = tmp_path / "postgres.log"
    earlier = "<mine> LOG:  statement: BEGIN READ ONLY\n"
    path.write_text(
        earlier + "<mine> LOG:  statement: ;\n"
        "<mine> LOG:  statement: BEGIN READ WRITE\n"
        "<theirs> LOG:  statement: SELECT 17\n"
        "<mine> LOG:  execute _pg3_0: SELECT a,\n\tb FROM c WHERE a: 1\n"
        "<mine> ERROR:  something else\n"
        "<mine> LOG:  execute <unnamed>: INSERT INTO c VALUES ($1)\n"
        "<mine> LOG:  statement: COMMIT\n"
    )

    statements = StatementLog(path, "postgresql://postgres@/mine?host=%2Ftmp").since(len(earlier))

    assert statements.of_work == ["SELECT a, b FROM c WHERE a: 1", "INSERT INTO c VALUES ($1)"]
    assert statements.of_transactions == ["BEGIN READ WRITE", "COMMIT"]
    assert statements.pings == [";"]
    assert len(statements.all) == 5


def test_cpu_seconds_are_those_of_the_process() -> None:
    before = time.process_time()

    told = cpu_seconds(os.getpid())

    assert before <= told <= time.process_time()


def _whole(kind: type[Recording]) -> bytes:
    """A run's answer as this transport carries it, to the end of the connection."""
    payloads = [json.dumps({"type": "agent_message", "agent_message_delta": text}).encode() for text in DELTAS]
    events = [(b"1-%d" % number, b"agent_message", payload) for number, payload in enumerate(payloads, 1)]
    events.append(
        (b"1700000000000-0", b"run_succeeded", b'{"type":"run_succeeded","data":{"output":"%b"}}' % (b"z" * 200))
    )
    if kind is HttpRecording:
        frames = [b": open\n\n", *(sse.frame(*event) for event in events)]
        return CHUNKED_HEAD + b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames)
    messages = (ws.text_frame(sse.event_with_id(cursor, payload)) for cursor, _, payload in events)
    return UPGRADED_HEAD + b"".join(messages) + CLOSE_FRAME


def _turn_chunks() -> list[bytes]:
    """The frames of a turn, each as a chunk of an HTTP answer, to the last one."""
    about = b'"conversation_id":"%b"' % CONVERSATION_ID.encode()
    frames = [b'{"event":"message",%b,"answer":"%b"}' % (about, text.encode()) for text in DELTAS]
    frames.append(b'{"event":"message_end",%b,"metadata":{}}' % about)
    return [b"%x\r\ndata: %b\n\n\r\n" % (len(frame) + 8, frame) for frame in frames]


def _whole_turn() -> bytes:
    return CHUNKED_HEAD + b"".join(_turn_chunks()) + b"0\r\n\r\n"


def _pieces(raw: bytes, size: int) -> Iterable[bytes]:
    return (raw[start : start + size] for start in range(0, len(raw), size))


def _record(kind: type[AnyRecording], pieces: Iterable[bytes]) -> tuple[AnyRecording, Wire]:
    recording, wire = kind(b"the request"), Wire()
    recording.connection_made(wire)
    for piece in pieces:
        recording.data_received(piece)
    return recording, wire
