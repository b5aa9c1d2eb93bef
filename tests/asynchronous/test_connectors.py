"""Asynchronous operations of connectors of every kind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxystore.connectors._asyncio import start
from proxystore.connectors.exceptions import ConnectorClosedError, ConnectorKeyError
from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalKey
from proxystore.connectors.shm import ShmConnector
from tests.asynchronous.support import own_namespace

SIZES = (0, 1, 100, 64 << 10, (64 << 10) + 1, 5 << 20)


def test_what_is_put_is_got(run, connector) -> None:
    async def main() -> None:
        for size in SIZES:
            data = bytes(range(256)) * (size // 256 + 1)
            data = data[:size]
            key = await start(connector, 'aput', data)
            assert await start(connector, 'aexists', key) is True
            found = await start(connector, 'aget', key)
            assert bytes(found) == data
            # One implementation: the other colour sees the same.
            assert bytes(connector.get(key)) == data
            await start(connector, 'aevict', key)
            assert await start(connector, 'aexists', key) is False
            assert await start(connector, 'aget', key) is None

    run(main())


def test_batches_keep_their_order(run, connector) -> None:
    async def main() -> None:
        objects = [bytes([i]) * (i * 40) for i in range(50)]
        keys = await start(connector, 'aput_batch', objects)
        await start(connector, 'aevict', keys[7])
        found = await start(connector, 'aget_batch', keys[::-1])
        expected = [None if i == 7 else data for i, data in enumerate(objects)]
        assert [part if part is None else bytes(part) for part in found] == expected[::-1]
        assert await start(connector, 'aget_batch', []) == []
        assert await start(connector, 'aput_batch', []) == []

    run(main())


def test_objects_that_come_later(run, deferrable) -> None:
    async def main() -> None:
        key = deferrable.new_key()
        assert await start(deferrable, 'aget', key) is None
        await start(deferrable, 'aset', key, b'first')
        await start(deferrable, 'aset', key, b'second')
        assert bytes(await start(deferrable, 'aget', key)) == b'second'

    run(main())


def test_ten_thousand_gets_at_once(run, connector) -> None:
    async def main() -> None:
        keys = await start(connector, 'aput_batch', [b'%d' % i * 100 for i in range(100)])
        gets = [start(connector, 'aget', keys[i % 100]) for i in range(10_000)]
        found = await asyncio.wait_for(asyncio.gather(*gets), 120)
        assert all(found[i] == b'%d' % (i % 100) * 100 for i in range(10_000))

    run(main())


def test_ten_thousand_puts_at_once(run, connector) -> None:
    async def main() -> None:
        keys = await asyncio.gather(*[start(connector, 'aput', b'%d' % i) for i in range(10_000)])
        assert len(set(keys)) == 10_000
        assert [bytes(data) for data in await start(connector, 'aget_batch', keys[:9])] == [
            b'%d' % i for i in range(9)
        ]
        await asyncio.gather(*[start(connector, 'aevict', key) for key in keys])

    run(main())


def test_errors_are_for_whoever_awaits(run, connector) -> None:
    async def main() -> None:
        foreign = ('foreign',)
        for operation in ('aget', 'aexists', 'aevict'):
            # Nothing is raised before it is awaited.
            future = start(connector, operation, foreign)
            if connector.__class__.__name__ not in ('LocalConnector', 'ThreadedConnector'):
                with pytest.raises(ConnectorKeyError):
                    await future
            else:
                await future
        outcomes = await asyncio.gather(
            *[start(connector, 'aput', object()) for _ in range(3)], return_exceptions=True
        )
        kinds = {type(outcome) for outcome in outcomes}
        assert kinds == {TypeError} or not all(isinstance(o, BaseException) for o in outcomes)
        key = await start(connector, 'aput', b'x')
        await start(connector, 'aclose')
        await start(connector, 'aclose')
        with pytest.raises(ConnectorClosedError):
            await start(connector, 'aget', key)
        with pytest.raises(ConnectorClosedError):
            connector.get(key)

    run(main())


def test_an_operation_is_begun_whether_it_is_awaited_or_not(run, connector) -> None:
    async def main() -> None:
        key = await start(connector, 'aput', b'x')
        start(connector, 'aevict', key)
        while await start(connector, 'aexists', key):
            pass

    run(main())


def test_without_a_loop_there_is_no_future(connector) -> None:
    key = connector.put(b'x')
    with pytest.raises(RuntimeError, match='no running event loop'):
        start(connector, 'aget', key)
    assert connector.get(key) == b'x'


def test_memory_answers_at_once(run) -> None:
    async def main() -> None:
        with ShmConnector(own_namespace(), hold=0, clear=True) as connector:
            put = connector.aput(b'x' * 1000)
            assert put.done()
            key = put.result()
            large = await connector.aput(bytes(10 << 20))
            for future in (
                connector.aget(key),
                connector.aget(large),
                connector.aexists(key),
                connector.aget_batch([key, large]),
                connector.aevict(large),
                connector.aevict(key),
            ):
                assert future.done()
                assert future.exception() is None

    run(main())


def test_a_subclass_that_overrides_one_colour_changes_both(run, tmp_path) -> None:
    class Shouting(FileConnector):
        def get(self, key: Any, **kwargs: Any) -> Any:
            found = super().get(key, **kwargs)
            return None if found is None else bytes(found).upper()

    class Whispering(FileConnector):
        def get(self, key: Any, **kwargs: Any) -> Any:
            return super().get(key, **kwargs)

        async def aget(self, key: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            return b'whispered'

    async def main() -> None:
        connector = Shouting(tmp_path)
        key = await connector.aput(b'quiet')
        assert await connector.aget(key) == b'QUIET'
        assert connector.fetch(key) is None
        assert await start(Whispering(tmp_path), 'aget', key) == b'whispered'

    run(main())


def test_an_exception_of_a_loop_of_its_own_kind_does_not_get_lost(run) -> None:
    # A future takes no StopIteration.
    class Stopping:
        def get(self, key: Any) -> Any:
            raise StopIteration

    async def main() -> None:
        with pytest.raises(RuntimeError, match='StopIteration'):
            await start(Stopping(), 'aget', LocalKey('x'))

    run(main())
