"""The load of chats: a process of its own that speaks with an app, or posts bare runs in the same way.

As the load of runs it reads jobs from standard input, one line of JSON each, answers each with a line, and understands
what it has read only when all of it has come.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from benchmarks.support import http_stream
from benchmarks.support.chat_recording import ChatRecording
from benchmarks.support.recording import Recording, send

PATH = "/v1/chat-messages"
SHOWN_CHARS = 200
"""The most characters that are shown of what came instead of an answer."""


@dataclass(slots=True)
class _Turn:
    query: str
    recording: ChatRecording


@dataclass(slots=True)
class _Conversation:
    id: str | None = None
    turns: list[_Turn] = field(default_factory=list)


async def _talk(
    url: str, key: str, subject: str, conversations: int, turns: int, at_once: int, answer: str
) -> dict[str, Any]:
    headers = {"Connection": "close", "Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    lanes = asyncio.Semaphore(at_once)

    async def converse(number: int) -> _Conversation:
        conversation = _Conversation()
        async with lanes:
            for turn in range(turns):
                query = f"{subject}: question {turn} of {number}"
                body = {"inputs": {}, "query": query, "user": f"user-{number}", "response_mode": "streaming"}
                if conversation.id is not None:
                    body["conversation_id"] = conversation.id
                recording = await send(ChatRecording, "POST", url + PATH, headers, json.dumps(body).encode())
                await recording.ended
                conversation.turns.append(_Turn(query, recording))
                conversation.id = conversation.id or recording.conversation_id()
                if conversation.id is None:  # further queries would only begin other conversations
                    break
        return conversation

    began, cpu = time.monotonic(), time.process_time()
    held = await asyncio.gather(*(converse(number) for number in range(conversations)))
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    await asyncio.gather(*(turn.recording.closed for one in held for turn in one.turns))
    told = [_told(one, turns, answer) for one in held]
    return {
        "conversations": [found for found, _ in told],
        "lost": [problem for _, problems in told for problem in problems],
        "waits": sorted(wait for one in held for wait in _waits(one)),
        "seconds": seconds,
        "client_share": cpu / seconds,
    }


def _told(conversation: _Conversation, turns: int, answer: str) -> tuple[dict[str, Any], list[str]]:
    """Returns a conversation with the queries that were answered, and what happened to each of the others."""
    answered, lost = [], []
    for turn in conversation.turns:
        try:
            given = turn.recording.answer()
        except ValueError as problem:
            lost.append(str(problem)[-SHOWN_CHARS:])
            continue
        answered.append(turn.query)
        if given != answer:
            lost.append(f"another answer: {given[:SHOWN_CHARS]!r}")
    lost += ["not sent, as there was no conversation"] * (turns - len(conversation.turns))
    return {"id": conversation.id, "queries": answered}, lost


def _waits(conversation: _Conversation) -> list[float]:
    """Returns the seconds from the end of each turn to the first piece of the next one's answer."""
    recordings = [turn.recording for turn in conversation.turns]
    pairs = pairwise(recordings)
    return [after.first_at - before.ended_at for before, after in pairs if after.first_at]


async def _post(url: str, body: dict[str, Any], lanes: int, runs: int) -> dict[str, Any]:
    raw = json.dumps(body).encode()
    recordings: list[Recording] = []

    async def lane() -> None:
        for _ in range(runs):
            recording = await http_stream.follow(url, await http_stream.post(url, raw))
            await recording.closed
            recordings.append(recording)

    began, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*(lane() for _ in range(lanes)))
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    for recording in recordings:
        recording.events()
    return {"seconds": seconds, "client_share": cpu / seconds}


def main() -> None:
    """Does jobs until standard input ends."""
    jobs: dict[str, Callable[..., Coroutine[Any, Any, dict[str, Any]]]] = {"talk": _talk, "post": _post}
    gc.disable()  # it is collected between jobs, when nothing waits for it
    for line in sys.stdin:
        job = json.loads(line)
        answer = asyncio.run(jobs[job.pop("job")](**job))
        gc.collect()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
