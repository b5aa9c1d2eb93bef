"""Stores over shared memory: lifetimes, futures, checksums."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

from proxystore.connectors.multi import MultiConnector, Policy
from proxystore.connectors.shm import ShmConnector
from proxystore.serialize import SerializationError
from proxystore.store import Store
from proxystore.store.lifetimes import ContextLifetime
from proxystore.store.ref import mut_borrow, update
from tests.connectors.shm.support import LARGE, array, report
from tests.support.threads import meanwhile


class TestStore:
    def test_lifetimes_end_and_views_stay(self, store: Store[ShmConnector]) -> None:
        with ContextLifetime(store) as lifetime:
            proxy = store.proxy(array(), lifetime=lifetime, populate_target=False)
            resolved = proxy + 0
            view = proxy[:]
        assert not store.exists(proxy.__proxy_factory__.key)
        for seed in range(1, 5):
            store.evict(store.put(array(seed=seed)))
        np.testing.assert_array_equal(view, resolved)

    def test_owned_proxies_evict(self, store: Store[ShmConnector]) -> None:
        owner = store.owned_proxy(array())
        key = owner.__proxy_factory__.key
        assert store.exists(key)
        del owner
        gc.collect()
        assert not store.exists(key)

    def test_owned_proxies_replace_their_objects(self, store: Store[ShmConnector]) -> None:
        for size in (8, LARGE):
            owner = store.owned_proxy(array(size))
            key = owner.__proxy_factory__.key
            before = store.get(key)
            writer = mut_borrow(owner)
            writer[0] = 7
            update(writer)
            assert store.get(key)[0] == 7
            np.testing.assert_array_equal(before, array(size))
            del writer, owner
            gc.collect()
            assert not store.exists(key)

    def test_owned_proxies_that_cannot_be_put_leave_nothing(
        self, store: Store[ShmConnector], memory: str
    ) -> None:
        with pytest.raises(SerializationError):
            store.owned_proxy(threading.Lock())
        (namespace,) = report(memory)
        assert namespace['objects'] == 0

    def test_futures(self, store: Store[ShmConnector]) -> None:
        for obj in ({'a': 1}, array()):
            future = store.future(polling_interval=0.01)
            proxy = future.proxy()
            with meanwhile(future.set_result, obj):
                assert (proxy == obj) if isinstance(obj, dict) else (proxy == obj).all()

    def test_two_setters_of_one_key_leave_one_object(self, memory: str) -> None:
        with ShmConnector(directory=memory) as connector:
            key = connector.new_key()
            for round_ in range(10):
                threads = [
                    threading.Thread(target=connector.set, args=(key, bytes([number]) * LARGE))
                    for number in (2 * round_, 2 * round_ + 1)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                found = connector.get(key)
                assert found in (bytes([2 * round_]) * LARGE, bytes([2 * round_ + 1]) * LARGE)
                del found
            connector.evict(key)
            assert connector.get(key) is None
            (namespace,) = report(memory)
            assert namespace['objects'] == 0

    def test_verified_objects_notice_flipped_bytes(self, memory: str) -> None:
        with Store('verified', ShmConnector(directory=memory), verify=True) as store:
            key = store.put(array())
            (segment,) = Path(memory, 'default').glob('s*')
            with segment.open('r+b') as file:
                file.seek(LARGE // 2)
                byte = file.read(1)
                file.seek(LARGE // 2)
                file.write(bytes([byte[0] ^ 1]))
            with pytest.raises(SerializationError) as caught:
                store.get(key)
            assert 'checksum' in ''.join(map(str, (caught.value, caught.value.__cause__)))

    def test_a_consumer_that_verifies_refuses_what_has_no_sums(self, memory: str) -> None:
        with (
            Store('plain', ShmConnector(directory=memory)) as plain,
            Store('verified', ShmConnector(directory=memory), verify=True) as verified,
        ):
            key = plain.put(array())
            with pytest.raises(SerializationError) as caught:
                verified.get(key)
            assert 'checksum' in str(caught.value.__cause__)

    def test_inside_a_multi_connector(self, memory: str) -> None:
        small = ShmConnector('small', directory=memory)
        large = ShmConnector('large', directory=memory)
        multi = MultiConnector(
            {'small': (small, Policy(1, max_size_bytes=1000)), 'large': (large, Policy())}
        )
        with Store('multi', multi) as store:
            key = store.put(array())
            assert key.connector_name == 'large'
            np.testing.assert_array_equal(store.get(key), array())
            assert not store.is_cached(key)
            assert store.get(store.put('x')) == 'x'
