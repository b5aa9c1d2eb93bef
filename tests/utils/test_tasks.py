"""Background tasks whose failure must not pass unseen."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from proxystore.utils.tasks import SafeTaskExitError, spawn_guarded_background_task


def test_success_gives_a_task():
    ran = []

    async def work(value, *, other):
        ran.append((value, other))

    async def main():
        task = spawn_guarded_background_task(work, 1, other=2)
        assert isinstance(task, asyncio.Task)
        await task

    asyncio.run(main())
    assert ran == [(1, 2)]


def test_cancelling_ends_nothing_else():
    async def main():
        task = spawn_guarded_background_task(asyncio.Event().wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_safe_exit_ends_nothing_else():
    async def work():
        raise SafeTaskExitError

    async def main():
        with pytest.raises(SafeTaskExitError):
            await spawn_guarded_background_task(work)
        await asyncio.sleep(0)

    asyncio.run(main())


def test_failure_ends_the_process_with_its_traceback():
    code = (
        'import asyncio\n'
        'from proxystore.utils.tasks import spawn_guarded_background_task\n'
        'async def work(): raise ValueError("the reason")\n'
        'async def main():\n'
        '    task = spawn_guarded_background_task(work)\n'
        '    await asyncio.Event().wait()\n'
        'asyncio.run(main())\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'Exception in background task' in done.stderr
    assert 'ValueError: the reason' in done.stderr
    assert 'in work' in done.stderr
