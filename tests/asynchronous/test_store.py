"""Asynchronous operations of stores: what their synchronous twins do, without waiting."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from typing import Any

import numpy as np
import pytest

from proxystore.connectors.exceptions import ConnectorClosedError
from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.connectors.shm import ShmConnector
from proxystore.proxy import is_resolved
from proxystore.serialize import SerializationError, deserialize, serialize
from proxystore.store import Store, get_store
from proxystore.store.exceptions import NonProxiableTypeError
from proxystore.store.lifetimes import ContextLifetime
from proxystore.store.utils import get_key
from tests.asynchronous.support import own_namespace

OBJECTS = ([1, 2], 'text', {'a': None}, b'bytes', np.arange(100_000), bytes(300_000))


def same(left: Any, right: Any) -> bool:
    return bool(np.array_equal(left, right)) if isinstance(left, np.ndarray) else left == right


def test_objects_are_put_and_got(run, connector) -> None:
    async def main() -> None:
        async with Store('store', connector, cache_size=0) as store:
            for obj in OBJECTS:
                key = await store.aput(obj)
                assert same(obj, await store.aget(key))
                assert same(obj, await store.aget(key, copy=True))
                assert same(obj, store.get(key))
                assert await store.aexists(key)
                await store.aevict(key)
                assert not await store.aexists(key)
                assert await store.aget(key) is None
                assert await store.aget(key, default='none') == 'none'
            keys = await store.aput_batch(OBJECTS)
            for found in (await store.aget_batch([*keys, keys[0]]), store.get_batch(keys)):
                assert all(map(same, OBJECTS, found[: len(OBJECTS)]))
            await asyncio.gather(*[store.aevict(key) for key in keys])
            assert await store.aget_batch(keys, default=0) == [0] * len(keys)
            assert await store.aget_batch([]) == []

    run(main())


def test_what_is_cached_is_there_at_once(run, tmp_path) -> None:
    async def main() -> None:
        async with Store('store', FileConnector(tmp_path / 'objects')) as store:
            key = await store.aput([1])
            first = await store.aget(key)
            again = store.aget(key)
            assert again.done()
            assert again.result() is first
            assert store.get(key) is first
            assert store.aexists(key).done()
            assert (await store.aget_batch([key, key]))[1] is first
            assert await store.aget(key, copy=True) is not first
            await store.aevict(key)
            assert not store.is_cached(key)

    run(main())


def test_what_is_copied_out_of_memory_that_is_wanted_back_is_cached(run) -> None:
    async def main() -> None:
        async with Store('store', ShmConnector(own_namespace(), hold=0, clear=True)) as store:
            copied, kept = await store.aput_batch(['x' * 500_000, np.zeros(500_000)])
            await store.aget(copied)
            array = await store.aget(kept)
            # The memory is let go of after the turn.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert store.is_cached(copied)
            assert not store.is_cached(kept)
            del array

    run(main())


def test_both_colours_are_measured_alike(run, tmp_path) -> None:
    def measured(store: Store[Any], key: Any) -> Any:
        metrics = store.metrics.get_metrics(key)
        assert metrics is not None
        return (
            {name: stats.count for name, stats in metrics.times.items()},
            dict(metrics.counters),
            dict(metrics.attributes),
        )

    async def awaited(store: Store[Any]) -> list[Any]:
        key = await store.aput([1])
        await store.aget(key)
        await store.aget(key)
        await store.aexists(key)
        await store.aevict(key)
        await store.aexists(key)
        await store.aget(key)
        keys = await store.aput_batch([1, 2])
        await store.aget_batch(keys)
        proxy = await store.aproxy('p')
        return [measured(store, key), measured(store, keys), measured(store, get_key(proxy))]

    def called(store: Store[Any]) -> list[Any]:
        key = store.put([1])
        store.get(key)
        store.get(key)
        store.exists(key)
        store.evict(key)
        store.exists(key)
        store.get(key)
        keys = store.put_batch([1, 2])
        store.get_batch(keys)
        proxy = store.proxy('p')
        return [measured(store, key), measured(store, keys), measured(store, get_key(proxy))]

    with (
        Store('a', FileConnector(tmp_path / 'a'), metrics=True) as first,
        Store('b', FileConnector(tmp_path / 'b'), metrics=True) as second,
    ):
        assert run(awaited(first)) == called(second)


def test_proxies(run, connector) -> None:
    async def main() -> None:
        async with Store('store', connector, register=True) as store:
            proxy = await store.aproxy([1], populate_target=False)
            assert not is_resolved(proxy)
            assert proxy == [1]
            assert is_resolved(await store.aproxy([1]))
            evicting = await store.aproxy([2], evict=True, populate_target=False)
            assert evicting == [2]
            assert not await store.aexists(get_key(evicting))
            with ContextLifetime(store) as lifetime:
                kept = await store.aproxy([3], lifetime=lifetime)
                key = await store.aput(4, lifetime=lifetime)
                keys = await store.aput_batch([5], lifetime=lifetime)
            for ended in (get_key(kept), key, *keys):
                assert not await store.aexists(ended)
            assert await store.aproxy(None, skip_nonproxiable=True) is None
            with pytest.raises(NonProxiableTypeError):
                await store.aproxy(True)
            with pytest.raises(ValueError, match='mutually exclusive'):
                await store.aproxy([1], evict=True, lifetime=lifetime)

    run(main())


class Unserializable:
    def __reduce__(self) -> Any:
        msg = 'not me'
        raise TypeError(msg)


def test_errors_say_what_the_synchronous_ones_say(run, tmp_path) -> None:
    async def main() -> None:
        store = Store('store', FileConnector(tmp_path / 'objects'), cache_size=0)
        for put in (store.aput(Unserializable()), store.aput_batch([Unserializable()])):
            with pytest.raises(SerializationError, match='not supported'):
                await put

        def refuse(data: Any) -> Any:
            msg = 'no'
            raise ValueError(msg)

        key = await store.aput(1)
        with pytest.raises(SerializationError, match='refuse'):
            await store.aget(key, deserializer=refuse)
        with pytest.raises(SerializationError, match='refuse'):
            await store.aget_batch([key], deserializer=refuse)
        with pytest.raises(TypeError, match='bytes-like'):
            await store.aput(1, serializer=lambda _: 1)  # type: ignore[arg-type,return-value]
        await store.aclose()
        for operation in (
            store.aget(key),
            store.aexists(key),
            store.aevict(key),
            store.aput(1),
            store.aput_batch([1]),
            store.aget_batch([key]),
            store.aproxy([1]),
        ):
            with pytest.raises(ConnectorClosedError) as caught:
                await operation
            assert any('Store(name="store"' in note for note in caught.value.__notes__)

    run(main())


def test_users_serializers_run_in_the_callers_context_and_thread(run, connector) -> None:
    variable = contextvars.ContextVar('variable', default='unset')
    seen: list[Any] = []

    def note(function: Any, data: Any) -> Any:
        seen.append((variable.get(), threading.current_thread()))
        return function(data)

    async def caller(store: Store[Any], name: str) -> None:
        variable.set(name)
        key = await store.aput(name, serializer=lambda obj: note(serialize, obj))
        found = await store.aget(key, deserializer=lambda data: note(deserialize, data))
        assert found == name

    async def main() -> None:
        async with Store('store', connector, cache_size=0) as store:
            await asyncio.gather(*[caller(store, f'{number}') for number in range(20)])
        here = threading.current_thread()
        assert sorted(seen, key=lambda item: int(item[0])) == [
            (f'{number}', here) for number in range(20) for _ in range(2)
        ]

    run(main())


def test_the_end_of_the_block_closes_and_unregisters(run, tmp_path) -> None:
    async def main() -> None:
        async with Store('store', FileConnector(tmp_path / 'x'), register=True) as store:
            assert get_store('store') is store
        assert get_store('store') is None
        assert not (tmp_path / 'x').exists()
        await store.aclose()
        async with Store('kept', FileConnector(tmp_path / 'y')) as store:
            key = await store.aput(1)
            await store.aclose(clear=False)
        assert await FileConnector(tmp_path / 'y').aexists(key)

    run(main())


def test_a_large_array_is_not_copied_on_its_way(run) -> None:
    async def main() -> None:
        async with Store('store', ShmConnector(own_namespace(), hold=0, clear=True)) as store:
            array = np.arange(2_000_000)
            put = store.aput(array)
            assert not put.done()
            key = await put
            found = await store.aget(key)
            assert np.array_equal(array, found)
            found += 1
            assert np.array_equal(array, await store.aget(key))

    run(main())


def test_a_store_without_a_loop_is_as_ever() -> None:
    with Store('store', LocalConnector()) as store:
        key = store.put([1])
        with pytest.raises(RuntimeError, match='no running event loop'):
            store.aget(key)
        with pytest.raises(RuntimeError, match='no running event loop'):
            store.aput([1])
        assert store.get(key) == [1]
    gc.collect()
