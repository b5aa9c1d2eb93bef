"""Loops that come and go, many of them, in threads and in forked children."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvloop

from proxystore.connectors._asyncio import start
from proxystore.connectors.file import FileConnector
from proxystore.connectors.redis import RedisConnector, RedisKey
from tests.asynchronous.support import PATIENCE
from tests.support.leaks import descriptors, no_leaked_descriptors
from tests.support.processes import run_in_child

FACTORIES: dict[str, Any] = {'asyncio': asyncio.new_event_loop, 'uvloop': uvloop.new_event_loop}


@pytest.fixture(params=sorted(FACTORIES))
def new_loop(request: pytest.FixtureRequest) -> Any:
    """Makes loops of each kind."""
    return FACTORIES[request.param]


async def work(connector: Any, number: int) -> None:
    data = b'%d' % number * 100
    keys = await asyncio.gather(*[start(connector, 'aput', data) for _ in range(20)])
    for found in await asyncio.gather(*[start(connector, 'aget', key) for key in keys]):
        assert found == data
    await asyncio.gather(*[start(connector, 'aevict', key) for key in keys])


def test_loops_in_many_threads_share_a_connector(run, connector) -> None:
    begin = threading.Barrier(8)

    def thread(number: int) -> None:
        begin.wait(PATIENCE)
        for _ in range(3):
            run(work(connector, number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(thread, range(8), timeout=120))


def test_threads_and_loops_share_a_connector(run, connector) -> None:
    ended = threading.Event()

    def thread(number: int) -> int:
        rounds = 0
        while not ended.is_set() or rounds == 0:
            key = connector.put(b'%d' % number)
            assert connector.get(key) == b'%d' % number
            connector.evict(key)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(thread, number) for number in range(4)]
        try:
            run(work(connector, 7))
        finally:
            ended.set()
        assert all(other.result(PATIENCE) for other in others)


def test_a_loop_takes_its_descriptor_with_it(new_loop, tmp_path) -> None:
    connector = FileConnector(tmp_path)
    key = connector.put(b'x')

    async def get() -> Any:
        return await connector.aget(key)

    with no_leaked_descriptors():
        for _ in range(20):
            loop = new_loop()
            before = descriptors()
            assert loop.run_until_complete(get()) == b'x'
            # A loop can run again, and goes on with the same.
            assert loop.run_until_complete(get()) == b'x'
            assert any('eventfd' in to for to in descriptors().values() if to not in before)
            loop.close()


def test_a_loop_closed_with_operations_under_way(new_loop, silent) -> None:
    buffer = bytearray(8 << 20)

    async def begin() -> list[asyncio.Future[Any]]:
        futures: list[Any] = [connector.aget(RedisKey('x')), connector.aput(buffer)]
        await asyncio.to_thread(silent.received.acquire, timeout=PATIENCE)
        # These are not even handed over.
        return [*futures, connector.aget(RedisKey('y'))]

    with no_leaked_descriptors():
        connector = RedisConnector('127.0.0.1', silent.port)
        loop = new_loop()
        futures = loop.run_until_complete(begin())
        reference = weakref.ref(loop)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        assert not any(future.done() for future in futures)
        del futures, loop
        gc.collect()
        assert reference() is None
        # Nobody waits, so the requests are given up: their connections are closed.
        assert silent.ended.acquire(timeout=PATIENCE)
        for _ in range(int(PATIENCE * 100)):
            try:
                buffer.append(0)
                break
            except BufferError:
                threading.Event().wait(0.01)
        else:
            pytest.fail('the buffer is still borrowed')


def test_results_for_a_loop_that_does_not_run_are_kept(new_loop, tmp_path) -> None:
    connector = FileConnector(tmp_path)
    key = connector.put(b'x')

    async def begin() -> Any:
        future = connector.aget(key)
        await asyncio.sleep(0)
        return future

    loop = new_loop()
    future = loop.run_until_complete(begin())
    assert loop.run_until_complete(future) == b'x'
    loop.close()


@pytest.mark.filterwarnings('ignore:unclosed event loop:ResourceWarning')
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_loop_that_nobody_closes_is_collected(silent) -> None:
    connector = RedisConnector('127.0.0.1', silent.port)

    async def begin() -> None:
        connector.aget(RedisKey('x'))
        await asyncio.to_thread(silent.received.acquire, timeout=PATIENCE)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.run_until_complete(loop.shutdown_default_executor())
    reference = weakref.ref(loop)
    del loop
    gc.collect()
    assert reference() is None
    assert silent.ended.acquire(timeout=PATIENCE)


def test_a_forked_child_has_loops_of_its_own(run, connector) -> None:
    def child() -> bool:
        run(work(connector, 2))
        return True

    async def main() -> None:
        await work(connector, 1)
        # In the middle of the parent's turn, which waits.
        assert run_in_child('fork', child)
        await work(connector, 3)

    run(main())
    assert run_in_child('fork', child)


def test_a_fork_with_operations_under_way(run, silent, tmp_path) -> None:
    files = FileConnector(tmp_path)
    key = files.put(b'x')

    async def main() -> None:
        connector = RedisConnector('127.0.0.1', silent.port)
        buffer = bytearray(1 << 20)
        waiting = [connector.aget(RedisKey('x')), connector.aput(buffer), files.aget(key)]
        await asyncio.to_thread(silent.received.acquire, timeout=PATIENCE)
        more = [files.aget(key) for _ in range(100)]
        child = os.fork()
        if child == 0:
            status = 1
            try:
                # The parent's futures mean nothing here, and do no harm.
                for future in [*waiting, *more]:
                    future.cancel()
                status = 0 if asyncio.run(_get(files, key)) == b'x' else 2
                del waiting, more, future
                gc.collect()
            finally:
                os._exit(status)
        status = await asyncio.to_thread(os.waitpid, child, 0)
        assert status == (child, 0)
        # The child's doings are not the parent's.
        assert not waiting[0].done()
        assert not waiting[1].done()
        assert await asyncio.gather(*more, waiting[2]) == [b'x'] * 101
        for future in waiting[:2]:
            future.cancel()

    run(main())


def test_a_child_that_drops_its_parents_loop_takes_nothing_from_it(tmp_path) -> None:
    connector = FileConnector(tmp_path)
    key = connector.put(b'x')

    async def begin() -> Any:
        return connector.aget(key)

    loop = asyncio.new_event_loop()
    future = loop.run_until_complete(begin())
    # What the loop waits with is readable when the result is there.
    waits = select.poll()
    waits.register(loop._selector._selector.fileno(), select.POLLIN)  # type: ignore[attr-defined]
    assert waits.poll(PATIENCE * 1000)
    assert not future.done()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            reference = weakref.ref(loop)
            del loop, future
            gc.collect()
            status = 0 if reference() is None else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0) == (child, 0)
    assert loop.run_until_complete(asyncio.wait_for(future, PATIENCE)) == b'x'
    loop.close()


async def _get(connector: Any, key: Any) -> Any:
    # In a child, the loop of its parent does not run any more.
    return await connector.aget(key)
