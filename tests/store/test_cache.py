"""Cache of the objects used last."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.store.cache import LRUCache


def test_get_set_exists_evict():
    cache = LRUCache(2)
    assert cache.get('a') is None
    assert cache.get('a', 5) == 5
    cache.set('a', 1)
    assert cache.get('a') == 1
    assert cache.exists('a')
    cache.evict('a')
    cache.evict('a')
    assert not cache.exists('a')
    assert (cache.hits, cache.misses) == (1, 2)


def test_none_is_a_value():
    cache = LRUCache()
    cache.set('a', None)
    assert cache.exists('a')
    assert cache.get('a', 5) is None


def test_sixteen_values_are_kept_by_default():
    assert LRUCache().maxsize == 16


def test_no_size_keeps_nothing():
    cache = LRUCache(0)
    cache.set('a', 1)
    assert not cache.exists('a')
    assert cache.get('a') is None
    assert (cache.hits, cache.misses) == (0, 1)


def test_negative_size_is_refused():
    with pytest.raises(ValueError, match='Cache size'):
        LRUCache(-1)


def test_value_used_least_recently_goes():
    cache = LRUCache(2)
    cache.set('a', 1)
    cache.set('b', 2)
    cache.get('a')
    cache.exists('b')
    cache.set('c', 3)
    assert [cache.exists(key) for key in 'abc'] == [True, False, True]


def test_set_again_replaces_and_counts_as_a_use():
    cache = LRUCache(2)
    cache.set('a', 1)
    cache.set('b', 2)
    cache.set('a', 3)
    cache.set('c', 4)
    cache.set('d', 5)
    assert [cache.get(key) for key in 'abcd'] == [None, None, 4, 5]


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(['get', 'set', 'evict', 'exists']), st.integers(0, 8))),
)
def test_behaves_like_a_model(size, operations):
    cache = LRUCache(size)
    model = OrderedDict()
    for step, (operation, key) in enumerate(operations):
        if operation == 'set':
            cache.set(key, step)
            model[key] = step
            model.move_to_end(key)
            if len(model) > size:
                model.popitem(last=False)
        elif operation == 'get':
            assert cache.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
        elif operation == 'evict':
            cache.evict(key)
            model.pop(key, None)
        else:
            assert cache.exists(key) == (key in model)
        assert {key for key in range(9) if cache.exists(key)} == set(model)


def test_what_is_remembered_of_uses_is_bounded():
    cache = LRUCache(4)
    for number in range(10_000):
        cache.set(number % 4, number)
        cache.evict(number % 4)
    assert len(cache._heap) <= 2 * 4 + 65


def test_values_are_let_go():
    class Value:
        pass

    cache = LRUCache(1)
    values = [Value(), Value(), Value()]
    alive = [weakref.ref(value) for value in values]
    cache.set('a', values.pop(0))
    cache.set('a', values.pop(0))
    cache.set('b', values.pop(0))
    gc.collect()
    assert [value() is None for value in alive] == [True, True, False]
    cache.evict('b')
    assert alive[2]() is None


def test_finalizer_of_a_value_may_use_the_cache():
    cache = LRUCache(1)

    class Value:
        def __del__(self):
            cache.evict('other')
            cache.set('finalized', 1)

    cache.set('a', Value())
    cache.set('b', 2)
    assert cache.exists('finalized') != cache.exists('b')


def test_threads_share_a_cache():
    cache = LRUCache(8)
    errors = []

    def work():
        try:
            for number in range(3000):
                key = number % 12
                cache.set(key, key)
                assert cache.get(key, key) == key
                if number % 5 == 0:
                    cache.evict(key)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sum(cache.exists(key) for key in range(12)) <= 8


def test_forked_child_is_not_held_up_by_a_lock_of_another_thread():
    cache = LRUCache()
    held, release = threading.Event(), threading.Event()

    def hold():
        with cache._lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        cache.set('a', 1)
        os._exit(cache.get('a') - 1)
    release.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
