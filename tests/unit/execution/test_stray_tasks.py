"""Tasks that a cancelled run has begun end with it."""

from __future__ import annotations

import asyncio

import pytest

from runtime.execution.stray_tasks import leaving_no_tasks, task_factory


async def begin_and_wait(begun: list[asyncio.Task[bool]]) -> None:
    async def nested() -> None:
        begun.append(asyncio.create_task(asyncio.Event().wait()))

    begun.append(asyncio.create_task(asyncio.Event().wait()))
    await asyncio.create_task(nested())
    await asyncio.Event().wait()


def test_a_cancelled_run_leaves_no_task_behind_and_touches_no_other() -> None:
    async def scenario() -> None:
        asyncio.get_running_loop().set_task_factory(task_factory)
        ours: list[asyncio.Task[bool]] = []
        others: list[asyncio.Task[bool]] = []
        run = asyncio.create_task(leaving_no_tasks(begin_and_wait(ours)))
        other = asyncio.create_task(leaving_no_tasks(begin_and_wait(others)))
        while len(ours) + len(others) < 4:
            await asyncio.sleep(0)

        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await asyncio.wait(ours)

        assert all(task.cancelled() for task in ours)
        assert not any(task.done() for task in (*others, other))
        other.cancel()
        await asyncio.wait([*others, other])

    asyncio.run(scenario())


def test_a_run_that_ends_by_itself_leaves_its_tasks_alone() -> None:
    async def scenario() -> None:
        asyncio.get_running_loop().set_task_factory(task_factory)
        going_on = asyncio.Event()

        async def run() -> asyncio.Task[bool]:
            return asyncio.create_task(going_on.wait())

        task = await leaving_no_tasks(run())
        await asyncio.sleep(0)
        going_on.set()

        assert await task

    asyncio.run(scenario())
