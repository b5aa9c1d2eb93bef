"""Counter for several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from proxystore.utils.counter import AtomicCounter


def test_counts_from_zero():
    counter = AtomicCounter()
    assert [counter.increment() for _ in range(4)] == [0, 1, 2, 3]


def test_ends_at_its_size():
    counter = AtomicCounter(2)
    assert [counter.increment(), counter.increment()] == [0, 1]
    for _ in range(2):
        with pytest.raises(ValueError, match=r'Max counter size exceeded \(2\)'):
            counter.increment()


def test_no_number_is_given_twice():
    counter = AtomicCounter()
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: counter.increment(), range(4000)))
    assert sorted(numbers) == list(range(4000))
