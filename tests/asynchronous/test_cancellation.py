"""Cancelling a future cancels its operation, and nothing of it is left."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from typing import Any

import pytest

from proxystore.connectors._asyncio import start
from proxystore.connectors.exceptions import ConnectorKeyError
from proxystore.connectors.file import FileConnector
from proxystore.connectors.redis import RedisConnector, RedisKey
from proxystore.connectors.shm import ShmConnector
from proxystore.connectors.tcp import TCPConnector
from tests.asynchronous.support import PATIENCE, GatedConnector, own_namespace
from tests.support.leaks import no_leaked_descriptors

LARGE = 8 << 20


async def is_released(buffer: bytearray) -> bool:
    """Waits until nobody borrows a buffer any more."""
    for _ in range(int(PATIENCE * 100)):
        try:
            buffer.append(0)
        except BufferError:
            await asyncio.sleep(0.01)
        else:
            return True
    return False


@pytest.mark.parametrize('kind', ['file', 'shm'])
@pytest.mark.parametrize('operation', ['aput', 'aput_batch'])
def test_a_cancelled_put_leaves_nothing(run, tmp_path, kind, operation) -> None:
    async def main() -> None:
        connector: Any = (
            FileConnector(tmp_path / 'objects')
            if kind == 'file'
            else ShmConnector(own_namespace(), hold=0)
        )
        buffer = bytearray(LARGE)
        for turns in range(6):
            put = getattr(connector, operation)(buffer if operation == 'aput' else [buffer])
            with pytest.raises(BufferError):
                buffer.append(0)
            for _ in range(turns):
                await asyncio.sleep(0)
            if put.cancel():
                assert put.cancelled()
                assert not put.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await put
            else:
                # It was faster.
                assert turns > 0
                keys = await put
                for key in keys if operation == 'aput_batch' else [keys]:
                    await connector.aevict(key)
            assert await is_released(buffer)
        if kind == 'file':
            for _ in range(int(PATIENCE * 100)):
                if not os.listdir(tmp_path / 'objects'):
                    break
                await asyncio.sleep(0.01)
            assert os.listdir(tmp_path / 'objects') == []
        await connector.aclose()

    run(main())


def test_cancelling_before_the_end_of_the_turn_sends_nothing(run, silent) -> None:
    async def main() -> None:
        connector = RedisConnector('127.0.0.1', silent.port)
        buffer = bytearray(1000)
        futures = [connector.aget(RedisKey('x')), connector.aput(buffer)]
        for future in futures:
            future.cancel()
        await asyncio.gather(*futures, return_exceptions=True)
        assert await is_released(buffer)
        connector.close()
        assert not silent.received.acquire(blocking=False)

    run(main())


@pytest.mark.parametrize('turns', [0, 1, 2])
def test_gets_that_go_together_are_cancelled_one_by_one(run, turns) -> None:
    async def main() -> None:
        with TCPConnector(port=0) as connector:
            objects = [bytes([number]) * number for number in range(200)]
            keys = connector.put_batch(objects)
            gets = [connector.aget(key) for key in keys]
            for _ in range(turns):
                await asyncio.sleep(0)
            cancelled = [get.cancel() for get in gets[::3]]
            outcomes = await asyncio.gather(*gets, return_exceptions=True)
            for number, outcome in enumerate(outcomes):
                if number % 3 == 0 and cancelled[number // 3]:
                    assert isinstance(outcome, asyncio.CancelledError)
                else:
                    assert outcome == objects[number]
            assert turns > 0 or all(cancelled)

    run(main())


def test_each_of_the_gets_that_go_together_fails_for_itself(run) -> None:
    async def main() -> None:
        with TCPConnector(port=0) as connector:
            key = connector.put(b'x')
            large = connector.put(bytes(LARGE))
            wrong = key._replace(object_id='no number')
            keys = [key, wrong, large]
            got, refused, whole = await asyncio.gather(
                *[connector.aget(key) for key in keys], return_exceptions=True
            )
            assert got == b'x'
            assert isinstance(refused, ConnectorKeyError)
            assert len(whole) == LARGE
            absent = key._replace(object_id='0' * 32)
            assert await asyncio.gather(*map(connector.aget, [absent, large, key])) == [
                None,
                whole,
                b'x',
            ]

    run(main())


def test_a_cancelled_request_is_not_waited_for(run, silent) -> None:
    async def main() -> None:
        connector = RedisConnector('127.0.0.1', silent.port)
        buffer = bytearray(LARGE)
        requests = [
            asyncio.ensure_future(request)
            for request in (
                connector.aget(RedisKey('x')),
                connector.aexists(RedisKey('x')),
                connector.aput(buffer),
                connector.aput_batch([buffer, b'y']),
                connector.aget_batch([RedisKey('x')] * 10),
            )
        ]
        await asyncio.to_thread(silent.received.acquire, timeout=PATIENCE)
        done, pending = await asyncio.wait(requests, timeout=0)
        assert not done
        assert len(pending) == len(requests)
        for request in requests:
            request.cancel()
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert await is_released(buffer)

    with no_leaked_descriptors():
        run(main())


def test_timeouts_and_task_groups_cancel_requests(run, silent) -> None:
    async def main() -> None:
        connector = RedisConnector('127.0.0.1', silent.port)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connector.aget(RedisKey('x')), 0.01)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await connector.aget(RedisKey('x'))

        async def fail() -> None:
            await asyncio.to_thread(silent.received.acquire, timeout=PATIENCE)
            msg = 'enough'
            raise ValueError(msg)

        async def get() -> None:
            await connector.aget(RedisKey('x'))

        tasks: list[asyncio.Task[None]] = []

        async def group() -> None:
            async with asyncio.TaskGroup() as group:
                tasks.extend(group.create_task(get()) for _ in range(10))
                group.create_task(fail())

        with pytest.raises(ExceptionGroup) as caught:
            await group()
        assert [type(error) for error in caught.value.exceptions] == [ValueError]
        assert len(tasks) == 10
        assert all(task.cancelled() for task in tasks)

    run(main())


def test_a_cancelled_future_is_let_go_of(run, silent) -> None:
    async def main() -> None:
        connector = RedisConnector('127.0.0.1', silent.port)
        futures = [connector.aget(RedisKey('x')) for _ in range(100)]
        references = [weakref.ref(future) for future in futures]
        await asyncio.sleep(0)
        for future in futures:
            future.cancel()
        del future
        futures.clear()
        await asyncio.sleep(0)
        gc.collect()
        assert not [reference() for reference in references if reference() is not None]

    run(main())


def test_a_thread_that_has_not_begun_does_not_begin(run) -> None:
    async def main() -> None:
        connector = GatedConnector()
        key = await start(connector, 'aset', connector.new_key(), b'x')
        assert key is None
        gets = [start(connector, 'aget', connector.new_key()) for _ in range(200)]
        await asyncio.to_thread(connector.entered.acquire, timeout=PATIENCE)
        for get in gets:
            get.cancel()
        connector.gate.set()
        await asyncio.gather(*gets, return_exceptions=True)
        begun = 1
        while connector.entered.acquire(blocking=False):
            begun += 1
        assert begun < 100

    run(main())


def test_what_a_thread_put_for_nobody_is_evicted(run) -> None:
    async def main() -> None:
        connector = GatedConnector()
        puts = [start(connector, 'aput', b'x') for _ in range(3)]
        for _ in puts:
            assert await asyncio.to_thread(connector.entered.acquire, timeout=PATIENCE)
        for put in puts:
            put.cancel()
        evicted = asyncio.Event()
        loop = asyncio.get_running_loop()
        evict = connector.evict
        left = iter(range(len(puts)))

        def notice(key: Any) -> None:
            evict(key)
            if next(left) == len(puts) - 1:
                loop.call_soon_threadsafe(evicted.set)

        for put in puts:
            put.undo = notice
        connector.gate.set()
        await asyncio.wait_for(evicted.wait(), PATIENCE)
        assert not connector._store

    run(main())
