"""A server that is a command: started for one run, spoken to through its pipes, ended with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client._transport import TransportStreams
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from runtime.mcp.child import Child, running_child
from runtime.mcp.limits import MAX_MESSAGE_BYTES

ToSession = MemoryObjectSendStream[SessionMessage | Exception]
FromSession = MemoryObjectReceiveStream[SessionMessage]


@asynccontextmanager
async def connect_command(
    lost: Callable[[str], None], *, argv: Sequence[str], turn: AbstractAsyncContextManager[object]
) -> AsyncGenerator[TransportStreams]:
    """The streams of a session with a new process. It waits for its ``turn``: they bound how many there are.

    Raises OSError when the command cannot be started.
    """
    to_session, from_child = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_child, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    async with (
        turn,
        to_session,
        from_child,
        to_child,
        from_session,
        running_child(argv, max_line_bytes=MAX_MESSAGE_BYTES) as child,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(_read, child, to_session, lost)
        tasks.start_soon(_write, child, from_session, lost)
        try:
            yield from_child, to_child
        finally:
            tasks.cancel_scope.cancel()


async def _read(child: Child, to_session: ToSession, lost: Callable[[str], None]) -> None:
    """Give the session what the command writes, line by line."""
    async with to_session:
        try:
            while line := await child.output.readline():
                message = _parse(line)
                if message is not None:
                    await to_session.send(message)
            lost("its command has ended")
        except ValueError:
            lost(f"it wrote a message larger than {MAX_MESSAGE_BYTES} bytes")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the session has left


async def _write(child: Child, from_session: FromSession, lost: Callable[[str], None]) -> None:
    async for message in from_session:
        text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
        try:
            child.input.write(text.encode() + b"\n")
            await child.input.drain()
        except ConnectionError:
            lost("its command has ended")
            return


def _parse(line: bytes) -> SessionMessage | None:
    """None for a line that is no message: commands print other things, too."""
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        return None
