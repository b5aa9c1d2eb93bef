"""Objects in shared memory: their keys, and the views that a get returns."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path

import numpy as np
import pytest

from proxystore.connectors.exceptions import (
    ConnectorKeyError,
    ConnectorUnavailableError,
)
from proxystore.connectors.shm import ShmConnector, ShmKey
from proxystore.store import Store
from tests.connectors.shm.support import LARGE, array, python


class TestKeys:
    def test_a_key_is_a_small_named_tuple(self, connector: ShmConnector) -> None:
        for size in (0, 100, 1 << 20):
            key = connector.put(bytes(size))
            assert type(key) is ShmKey
            assert pickle.loads(pickle.dumps(key)) == key
            assert len(pickle.dumps(key)) < 100

    def test_keys_of_others_are_refused(self, connector: ShmConnector) -> None:
        key = connector.put(b'x')
        for forged in (
            ShmKey(key.namespace, 0),
            ShmKey(key.namespace, -1),
            ShmKey(-1, key.reference),
            ShmKey(key.namespace, 1 << 62),
            ShmKey('x', 'y'),  # type: ignore[arg-type]
            (key.namespace, key.reference),
        ):
            with pytest.raises(ConnectorKeyError):
                connector.get(forged)  # type: ignore[arg-type]
        assert connector.get(key) == b'x'

    def test_another_namespace_is_an_error_that_says_so(
        self, connector: ShmConnector, memory: str
    ) -> None:
        key = connector.put(b'x')
        with ShmConnector('another', directory=memory) as other:
            for operation in (other.get, other.exists, other.evict):
                with pytest.raises(ConnectorUnavailableError, match='namespace'):
                    operation(key)

    def test_a_stale_key_never_names_what_came_later(self, connector: ShmConnector) -> None:
        for size in (100, LARGE):
            stale = connector.put(b'a' * size)
            connector.evict(stale)
            later = [connector.put(b'b' * size) for _ in range(10)]
            assert connector.get(stale) is None
            assert not connector.exists(stale)
            connector.evict(stale)
            assert all(connector.exists(key) for key in later)


class TestViews:
    def test_a_view_is_private_and_writable(self, store: Store[ShmConnector]) -> None:
        original = array()
        key = store.put(original)
        first, second = store.get(key), store.get(key)
        first[:] = 0
        np.testing.assert_array_equal(second, original)
        np.testing.assert_array_equal(store.get(key), original)

    def test_a_view_survives_key_store_and_producer(self, memory: str) -> None:
        store = Store('views', ShmConnector(directory=memory))
        key = store.put(array())
        view = store.get(key)
        store.evict(key)
        for seed in range(1, 10):
            store.evict(store.put(array(seed=seed)))
        store.close()
        del store
        gc.collect()
        with ShmConnector(directory=memory) as another:
            for seed in range(10):
                another.evict(another.put(array(seed=seed)))
            np.testing.assert_array_equal(view, array())

    def test_views_are_not_cached(self, store: Store[ShmConnector]) -> None:
        key = store.put(array())
        view = store.get(key)
        assert not store.is_cached(key)
        assert store.exists(key)
        del view
        small = store.put({'a': 1})
        store.get(small)
        assert store.is_cached(small)

    def test_what_was_copied_out_of_a_view_is_cached(self, store: Store[ShmConnector]) -> None:
        key = store.put(b'x' * LARGE)
        assert store.get(key) is store.get(key)
        assert store.is_cached(key)

    def test_a_copy_is_equal_and_keeps_nothing_back(self, store: Store[ShmConnector]) -> None:
        key = store.put(array())
        copied = store.get(key, copy=True)
        np.testing.assert_array_equal(copied, array())
        copied[:] = 1
        np.testing.assert_array_equal(store.get(key), array())

    def test_memory_is_used_again_only_when_no_view_is_left(
        self, store: Store[ShmConnector], memory: str
    ) -> None:
        def segments() -> set[str]:
            return {path.name for path in Path(memory, 'default').glob('s*')}

        key = store.put(array())
        (used,) = segments()
        one, two = store.get(key), store.get(key)
        store.evict(key)
        store.evict(store.put(array(seed=1)))
        assert len(segments()) == 2, 'the views of the first segment kept it'
        del one
        store.evict(store.put(array(seed=2)))
        np.testing.assert_array_equal(two, array())
        del two
        for seed in range(5):
            store.evict(store.put(array(seed=seed)))
        assert len(segments()) == 2
        assert used in segments()

    def test_ten_thousand_views_need_no_descriptors(self, memory: str) -> None:
        code = """
import resource, sys
import numpy as np
from proxystore.connectors.shm import ShmConnector
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
connector = ShmConnector(directory=sys.argv[1])
keys = [connector.put(index.to_bytes(4, 'little') * 8192) for index in range(100)]
views = [connector.get(keys[index % 100]) for index in range(10_000)]
for key in keys:
    connector.evict(key)
for index in range(100):
    connector.put(b'other' * 8192)
assert all(bytes(view[:4]) == (index % 100).to_bytes(4, 'little')
           for index, view in enumerate(views))
"""
        python(code, memory)

    def test_where_the_kernel_maps_no_more_objects_are_copied(self, memory: str) -> None:
        code = """
import mmap, sys
from proxystore.connectors.shm import ShmConnector
connector = ShmConnector(directory=sys.argv[1])
key = connector.put(b'x' * 100_000)
limit = int(open('/proc/sys/vm/max_map_count').read())
# At the limit the heap does not grow any more: copies need room that it has already.
room = [bytearray(120_000) for _ in range(200)]
above = room.pop()
kept = []
try:
    for index in range(limit):
        # Mappings of two kinds in turn, which the kernel cannot join.
        kept.append(mmap.mmap(-1, 4096, prot=mmap.PROT_READ | (mmap.PROT_WRITE * (index % 2))))
except OSError:
    pass
del kept[:20], room
views = [connector.get(key) for _ in range(100)]
assert all(view == b'x' * 100_000 for view in views)
print(sum(view.obj.is_guarded for view in views), len(views))
"""
        mapped, everything = map(int, python(code, memory).stdout.split())
        assert mapped < everything
