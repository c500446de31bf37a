"""Following runs: every reader sees every event once and in order, whenever and wherever it joins."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest
import requests

from runtime.protocol.dialects import Dialect
from tests.conftest import StartServer, environment
from tests.support.client import (
    TERMINAL_TYPES,
    Frame,
    RunClient,
    demo_llm,
    parse_frames,
    plugin_layers,
    prompt,
    wait_until,
)
from tests.support.gunicorn_server import GunicornServer, running_server
from tests.support.plugin_daemon import ScriptedDaemon
from tests.support.redis_server import RedisServer

RUNS = 50
CHUNKS = 200


@pytest.fixture(scope="module")
def server_of(redis_server: RedisServer, daemon: ScriptedDaemon) -> Iterator[Callable[[Dialect], RunClient]]:
    """A function that returns a client of a server with a fixed dialect; the server starts when first needed."""
    with ExitStack() as stack:

        @cache
        def client(dialect: Dialect) -> RunClient:
            variables = environment(
                redis_server.url, daemon.url, redis_prefix=f"stream-{dialect}", wire_dialect=dialect
            )
            return RunClient(stack.enter_context(running_server(variables)).url)

        yield client


def text_of(frames: Sequence[Frame]) -> str:
    return "".join(frame.data.get("agent_message_delta") or "" for frame in frames)


def assert_whole(frames: Sequence[Frame]) -> None:
    """Asserts that every event is there once, in order, with one terminal event at the end."""
    positions = [tuple(int(part) for part in frame.id.split("-")) for frame in frames]
    assert positions == sorted(set(positions))
    assert frames[0].event == "run_started"
    assert [frame.event in TERMINAL_TYPES for frame in frames] == [False] * (len(frames) - 1) + [True]
    for frame in frames:
        assert frame.data["id"] == frame.id
        assert frame.data["type"] == frame.event


def test_fifty_concurrent_runs_are_each_followed_whole_by_their_own_reader(
    server: GunicornServer, daemon: ScriptedDaemon
) -> None:
    daemon.script("fifty", [{"stream": {"chunks": CHUNKS, "rate": 0, "text": "word "}}, {"finish": "stop"}])

    def follow_one(_: int) -> list[Frame]:
        client = RunClient(server.url)
        return client.follow(client.create(prompt(), *plugin_layers("fifty")))

    with ThreadPoolExecutor(RUNS) as readers:
        streams = list(readers.map(follow_one, range(RUNS)))

    for frames in streams:
        assert_whole(frames)
        assert frames[-1].data["data"]["output"] == "word " * CHUNKS
        assert text_of(frames) == "word " * CHUNKS
    assert len({frames[0].data["run_id"] for frames in streams}) == RUNS


def test_without_merging_every_chunk_of_the_model_is_an_event(
    start_server: StartServer, daemon: ScriptedDaemon
) -> None:
    daemon.script("unmerged", [{"stream": {"chunks": CHUNKS, "rate": 0, "text": "word "}}, {"finish": "stop"}])
    client = RunClient(start_server(redis_prefix="unmerged", delta_merging="off").url)

    frames = client.follow(client.create(prompt(), *plugin_layers("unmerged")))

    # started, part start, final result, all but the first chunk as deltas, part end, succeeded
    assert len(frames) == CHUNKS + 4
    assert text_of(frames) == "word " * CHUNKS


def test_chunks_that_arrived_together_are_fewer_events_with_the_same_text(
    client: RunClient, daemon: ScriptedDaemon
) -> None:
    frame = {"code": 0, "message": "", "data": {"model": "m", "delta": {"index": 0, "message": {"content": "word "}}}}
    daemon.script("at-once", [{"write": f"data: {json.dumps(frame)}\n\n" * CHUNKS}, {"finish": "stop"}])

    frames = client.follow(client.create(prompt(), *plugin_layers("at-once")))

    assert len(frames) < CHUNKS
    assert frames[-1].data["data"]["output"] == text_of(frames) == "word " * CHUNKS


def test_readers_that_join_at_any_moment_on_any_worker_see_the_same_events(client: RunClient) -> None:
    run_id = client.create(prompt(), demo_llm(answer="word " * 150, delay_ms=10))

    def join_after(seconds: float) -> list[Frame]:
        time.sleep(seconds)
        return RunClient(client.url).follow(run_id)

    with ThreadPoolExecutor(20) as viewers:
        streams = list(viewers.map(join_after, [number * 0.1 for number in range(20)]))

    assert_whole(streams[0])
    assert all(frames == streams[0] for frames in streams)


def test_readers_see_runs_that_another_server_executes(start_server: StartServer) -> None:
    executing, viewing = (RunClient(start_server(redis_prefix="two-servers").url) for _ in range(2))
    run_id = executing.create(prompt(), demo_llm(answer="word " * 50, delay_ms=10))

    frames = viewing.follow(run_id)

    assert_whole(frames)
    assert text_of(frames) == ("word " * 50).strip()


def test_a_worker_holds_four_redis_connections_however_many_readers_it_has(
    start_server: StartServer, redis_server: RedisServer
) -> None:
    def connections() -> int:
        names = [connection["name"] for connection in redis_server.client().client_list()]
        return sum(name.startswith("greenrun-") for name in names)

    others = connections()
    client = RunClient(start_server(redis_prefix="connections").url)
    run_id = client.create(prompt(), demo_llm(answer="word " * 100, delay_ms=20))

    with ThreadPoolExecutor(40) as readers:
        streams = [readers.submit(RunClient(client.url).follow, run_id) for _ in range(40)]
        time.sleep(0.5)
        held = connections() - others
        whole = streams[0].result()
        assert all(stream.result() == whole for stream in streams)

    assert held <= 4


def test_a_stream_resumes_behind_the_cursor_of_the_query_or_the_header(client: RunClient) -> None:
    run_id = client.create(prompt(), demo_llm(answer="one two three"))
    whole = client.follow(run_id)

    assert client.follow(run_id, after=whole[2].id) == whole[3:]
    assert client.follow(run_id, last_event_id=whole[3].id) == whole[4:]
    assert client.follow(run_id, after=whole[4].id, last_event_id=whole[1].id) == whole[5:]
    assert client.follow(run_id, after="", last_event_id=whole[1].id) == whole[2:]


@pytest.mark.parametrize("beyond", ["terminal", "18446744073709551615-18446744073709551615", "99999999999999"])
def test_a_stream_from_the_terminal_event_or_beyond_ends_at_once(client: RunClient, beyond: str) -> None:
    run_id = client.create(prompt())
    terminal = client.finish(run_id)

    assert client.follow(run_id, after=terminal["id"] if beyond == "terminal" else beyond) == []


def stream_at(client: RunClient, run_id: str, *, after: str | None = None, header: str) -> requests.Response:
    """The answer to a reader that has read up to a cursor."""
    url = f"{client.url}/runs/{run_id}/events/sse"
    return client.session.get(url, params={"after": after}, headers={"Last-Event-ID": header}, timeout=30)


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("end", ["run_succeeded", "run_failed", "run_cancelled"])
def test_an_event_source_that_has_read_to_the_end_is_asked_not_to_reconnect(
    server_of: Callable[[Dialect], RunClient], daemon: ScriptedDaemon, dialect: Dialect, end: str
) -> None:
    client = server_of(dialect)
    daemon.script("run_succeeded", [{"text": "done"}, {"finish": "stop"}])
    daemon.script("run_failed", [{"error": {"error_type": "InvokeError", "message": "no"}}])
    daemon.script("run_cancelled", [{"hang": True}])
    run_id = client.create(prompt(), *plugin_layers(end))
    if end == "run_cancelled":
        client.cancel(run_id)
    whole = client.follow(run_id)
    last, before = whole[-1].id, whole[-2].id

    gone = stream_at(client, run_id, header=last)
    rest = stream_at(client, run_id, header=before)

    assert (gone.status_code, gone.content, gone.headers["Cache-Control"]) == (204, b"", "no-cache")
    assert (rest.status_code, [frame.id for frame in parse_frames(iter([rest.content]))]) == (200, [last])
    # Dify's clients of every date resume by the query, and treat an empty stream as the end.
    by_query = client.session.get(f"{client.url}/runs/{run_id}/events/sse", params={"after": last}, timeout=30)
    assert (by_query.status_code, by_query.content) == (200, b"")
    assert by_query.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert stream_at(client, run_id, after=last, header=last).status_code == 200
    assert client.page(run_id, after=last)["events"] == []


def test_an_event_source_ahead_of_a_running_run_stays_connected(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("goes-on", [{"text": "some"}, {"hang": True}])
    run_id = client.create(prompt(), *plugin_layers("goes-on"))
    daemon.wait_for_call("goes-on")

    with client.session.get(
        f"{client.url}/runs/{run_id}/events/sse", headers={"Last-Event-ID": "9-0"}, stream=True, timeout=30
    ) as response:
        assert response.status_code == 200
        client.cancel(run_id)
    wait_until(lambda: client.status(run_id)["status"] == "cancelled")
    terminal = client.finish(run_id)

    assert stream_at(client, run_id, header=terminal["id"]).status_code == 204


def test_a_cursor_beyond_the_end_of_a_live_run_does_not_disturb_other_readers(client: RunClient) -> None:
    run_id = client.create(prompt(), demo_llm(answer="word " * 30, delay_ms=20))

    with ThreadPoolExecutor(2) as viewers:
        beyond = viewers.submit(RunClient(client.url).follow, run_id, after="99999999999999-0")
        time.sleep(0.1)
        whole = viewers.submit(RunClient(client.url).follow, run_id)

        assert beyond.result() == []
        assert_whole(whole.result())


def test_pages_hold_the_same_events_as_the_stream(client: RunClient) -> None:
    run_id = client.create(prompt(), demo_llm(answer="a b c d e f g"))
    whole = [frame.data for frame in client.follow(run_id)]

    events, cursor = [], "0-0"
    while True:
        page = client.page(run_id, after=cursor, limit=3)
        assert page["run_id"] == run_id
        if not page["events"]:
            break
        assert page["next_cursor"] == page["events"][-1]["id"]
        events += page["events"]
        cursor = page["next_cursor"]

    assert events == whole
    assert page["next_cursor"] == cursor


def test_the_status_agrees_as_soon_as_the_terminal_event_is_seen(client: RunClient) -> None:
    for _ in range(20):
        run_id = client.create(prompt(), demo_llm(answer="quick"))
        for frame in client.stream(run_id):
            if frame.event == "run_succeeded":
                assert client.status(run_id)["status"] == "succeeded"


def test_a_stream_has_the_headers_that_keep_proxies_from_buffering(client: RunClient) -> None:
    run_id = client.create(prompt())

    with client.session.get(f"{client.url}/runs/{run_id}/events/sse", stream=True, timeout=30) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in response.headers


def test_an_idle_stream_carries_a_keepalive_within_fifteen_seconds(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("idle", [{"hang": True}])
    run_id = client.create(prompt(), *plugin_layers("idle"))

    with client.session.get(f"{client.url}/runs/{run_id}/events/sse", stream=True, timeout=20) as response:
        received = b""
        for chunk in response.iter_content(None):
            received += chunk
            if b": keepalive\n\n" in received:
                break

    assert received.startswith(b"id: 1-1\n")
    client.cancel(run_id)


def test_a_reader_that_stalls_loses_nothing_and_holds_up_nobody(client: RunClient, daemon: ScriptedDaemon) -> None:
    chunk = "x" * 10_000
    daemon.script("large", [{"stream": {"chunks": 1500, "rate": 0, "text": chunk}}, {"finish": "stop"}])
    run_id = client.create(prompt(), *plugin_layers("large"))
    stalled = client.stream(run_id)
    first = next(stalled)

    brisk = RunClient(client.url).follow(run_id)
    rest = list(stalled)

    assert_whole(brisk)
    assert len(text_of(brisk)) == 1500 * 10_000
    assert [first, *rest] == brisk


def test_a_reader_that_never_reads_is_cut_and_resumes_by_its_cursor(
    start_server: StartServer, daemon: ScriptedDaemon
) -> None:
    server = start_server(redis_prefix="stalled", stalled_reader_seconds=1)
    client = RunClient(server.url)
    daemon.script("endless", [{"stream": {"chunks": 1500, "rate": 0, "text": "x" * 10_000}}, {"finish": "stop"}])
    run_id = client.create(prompt(), *plugin_layers("endless"))
    whole = RunClient(client.url).follow(run_id)

    with client.session.get(f"{client.url}/runs/{run_id}/events/sse", stream=True, timeout=60) as response:
        wait_until(lambda: "took nothing" in server.log, timeout=60)
        with pytest.raises(requests.RequestException):
            list(response.iter_content(None))

    assert RunClient(client.url).follow(run_id, after=whole[1].id) == whole[2:]
    assert "Traceback" not in server.log


def test_a_stream_from_the_live_end_of_an_idle_run_begins_at_once(client: RunClient, daemon: ScriptedDaemon) -> None:
    daemon.script("quiet", [{"hang": True}])
    run_id = client.create(prompt(), *plugin_layers("quiet"))

    url = f"{client.url}/runs/{run_id}/events/sse?after=1-1"
    with client.session.get(url, stream=True, timeout=10) as response:
        assert response.status_code == 200
        assert next(response.iter_content(None)) == b": keepalive\n\n"

    client.cancel(run_id)


def test_text_with_unusual_line_breaks_arrives_as_one_data_line(client: RunClient) -> None:
    answer = "a\u0085b\u2028c\u2029d\ne"
    run_id = client.create(prompt(), demo_llm(answer=answer))

    raw = client.session.get(f"{client.url}/runs/{run_id}/events/sse", timeout=30).content.decode()

    assert not {"\u0085", "\u2028", "\u2029"} & set(raw)
    assert client.finish(run_id)["data"]["output"] == answer


def test_keys_are_laid_out_as_difys_server_has_them(start_server: StartServer, redis_server: RedisServer) -> None:
    client = RunClient(start_server(redis_prefix="layout", run_retention_seconds=600).url)
    run_id = client.create(prompt())
    client.finish(run_id)

    redis: Any = redis_server.client()
    keys = [f"layout:runs:{run_id}:record", f"layout:runs:{run_id}:events"]
    assert redis.type(keys[0]) == b"string"
    assert redis.type(keys[1]) == b"stream"
    assert all(590 < redis.ttl(key) <= 600 for key in keys)
    assert all(set(fields) == {b"type", b"payload"} for _, fields in redis.xrange(keys[1]))


def test_a_run_that_is_silent_for_longer_than_the_retention_is_kept_until_it_has_ended(
    start_server: StartServer, daemon: ScriptedDaemon
) -> None:
    daemon.script("silent", [{"pause": 5}, {"text": "at last"}, {"finish": "stop"}])
    client = RunClient(start_server(redis_prefix="short", run_retention_seconds=2).url)
    run_id = client.create(prompt(), *plugin_layers("silent"))

    assert client.finish(run_id)["data"]["output"] == "at last"
    assert client.status(run_id)["status"] == "succeeded"
    wait_until(lambda: client.session.get(f"{client.url}/runs/{run_id}", timeout=30).status_code == 404, timeout=10)


def test_a_lost_redis_connection_costs_no_event(start_server: StartServer, redis_server: RedisServer) -> None:
    client = RunClient(start_server(redis_prefix="flaky").url)
    run_id = client.create(prompt(), demo_llm(answer="word " * 100, delay_ms=20))
    stop = threading.Event()

    def kill_connections() -> None:
        while not stop.wait(0.3):
            redis: Any = redis_server.client()
            for connection in redis.client_list():
                if connection["name"].startswith("greenrun-"):
                    redis.client_kill_filter(_id=connection["id"])

    killer = threading.Thread(target=kill_connections)
    killer.start()
    frames = client.follow(run_id)
    stop.set()
    killer.join()

    assert_whole(frames)
    assert text_of(frames) == ("word " * 100).strip()


def test_a_run_ends_also_when_the_scripts_were_flushed(start_server: StartServer, redis_server: RedisServer) -> None:
    client = RunClient(start_server(redis_prefix="flushed").url)
    client.finish(client.create(prompt()))
    run_id = client.create(prompt(), demo_llm(answer="word " * 10, delay_ms=50))

    redis_server.client().script_flush()

    assert client.finish(run_id)["type"] == "run_succeeded"
    assert client.finish(client.create(prompt()))["type"] == "run_succeeded"


def test_a_run_whose_stream_is_gone_stops_and_its_readers_see_the_end(
    start_server: StartServer, redis_server: RedisServer, daemon: ScriptedDaemon
) -> None:
    daemon.script("gone", [{"stream": {"chunks": 2000, "rate": 50, "text": "word "}}])
    client = RunClient(start_server(redis_prefix="gone").url)
    run_id = client.create(prompt(), *plugin_layers("gone"))
    daemon.wait_for_call("gone")

    redis_server.client().delete(f"gone:runs:{run_id}:events")

    assert daemon.wait_until_ended("gone")["closed_by_client"]
    client.wait_for_status(run_id, "failed")
    assert client.page(run_id)["events"][-1]["data"]["reason"] == "storage"


def test_a_run_with_too_many_event_bytes_fails_with_reason_storage(start_server: StartServer) -> None:
    client = RunClient(start_server(redis_prefix="bytes", max_run_event_bytes=20_000).url)
    run_id = client.create(prompt(), demo_llm(answer="word " * 1000))

    terminal = client.finish(run_id)

    assert terminal["type"] == "run_failed"
    assert terminal["data"]["reason"] == "storage"


def test_a_page_is_bounded_in_bytes_and_all_pages_together_are_the_whole_run(
    client: RunClient, daemon: ScriptedDaemon
) -> None:
    size = 3 * 1024 * 1024
    pieces: list[dict[str, Any]] = [{"text": letter * size} for letter in "abcdef"]
    daemon.script("large", [*pieces, {"finish": "stop"}])
    run_id = client.create(prompt(), *plugin_layers("large"))
    client.finish(run_id)

    pages, after = [], "0-0"
    while (page := client.page(run_id, after=after, limit=500))["events"]:
        pages.append(page["events"])
        after = page["next_cursor"]

    assert [event["id"] for page in pages for event in page] == [frame.id for frame in client.follow(run_id)]
    assert pages[-1][-1]["type"] == "run_succeeded"
    assert len(pages) >= 4
    for events in pages:
        assert len(events) == 1 or sum(len(json.dumps(event["data"])) for event in events) < 9 * 1024 * 1024
