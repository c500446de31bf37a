"""Posts runs, and reads them as server-sent events."""

from __future__ import annotations

import json

from benchmarks.support.recording import Recording, TimedEvent, send
from benchmarks.support.transport import Transport

DATA_FIELD = b"\ndata: "


class HttpRecording(Recording):
    """A chunked HTTP answer, if it is an event stream."""

    end_mark = b"event: run_succeeded"

    def events(self) -> list[TimedEvent]:
        events: list[TimedEvent] = []
        chunks, frames = b"", b""
        for at, data in self.body(200):
            contents, chunks = _chunks(chunks + data)
            *whole, frames = (frames + contents).split(b"\n\n")
            events += [TimedEvent(at, raw.partition(DATA_FIELD)[2]) for raw in whole if DATA_FIELD in raw]
        self.must_have_ended(events, chunks + frames)
        return events


async def follow(url: str, run_id: str) -> Recording:
    """Reads a run as server-sent events."""
    return await send(HttpRecording, "GET", url + Transport.SSE.path(run_id), {"Connection": "close"})


async def post(url: str, body: bytes) -> str:
    """Creates a run and returns its id."""
    headers = {"Connection": "close", "Content-Type": "application/json"}
    recording = await send(HttpRecording, "POST", f"{url}/runs", headers, body)
    await recording.closed
    raw = b"".join(data for _, data in recording.body(202))
    start, end = raw.rindex(b"{"), raw.rindex(b"}")
    return str(json.loads(raw[start : end + 1])["run_id"])


def _chunks(raw: bytes) -> tuple[bytes, bytes]:
    """Returns the contents of the whole chunks at the beginning, and the rest."""
    contents, start = [], 0
    while (line_end := raw.find(b"\r\n", start)) >= 0:
        size = int(raw[start:line_end], 16)
        end = line_end + 2 + size
        if len(raw) < end + 2:
            break
        contents.append(raw[line_end + 2 : end])
        start = end + 2
    return b"".join(contents), raw[start:]
