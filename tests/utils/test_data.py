"""Sizes as text, and data in chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.utils import bytes_to_readable, chunk_bytes, readable_to_bytes


@pytest.mark.parametrize(
    ('size', 'precision', 'expected'),
    [
        (0, 3, '0 B'),
        (1, 3, '1 B'),
        (999, 3, '999 B'),
        (1000, 3, '1 KB'),
        (1024, 3, '1.024 KB'),
        (12345, 3, '12.345 KB'),
        (123456789, 3, '123.457 MB'),
        (10**9, 3, '1 GB'),
        (10**12, 3, '1 TB'),
        (10**15, 3, '1000 TB'),
        (1234, 0, '1 KB'),
        (1234, 1, '1.2 KB'),
        (1234, 5, '1.234 KB'),
        (999999, 2, '1000 KB'),
        (1500, 0, '2 KB'),
    ],
)
def test_bytes_to_readable(size, precision, expected, upstream):
    assert bytes_to_readable(size, precision) == expected
    code = 'from proxystore.utils.data import bytes_to_readable as f; result = f(size, precision)'
    assert upstream.run(code, size=size, precision=precision) == expected


def test_negative_size_is_refused():
    with pytest.raises(ValueError, match=r'Size \(-1\) cannot be negative'):
        bytes_to_readable(-1)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('1', 1),
        ('0', 0),
        ('1 B', 1),
        ('1 kB', 1000),
        ('1KB', 1000),
        ('1 KiB', 1024),
        ('1gb', 10**9),
        ('1.5 GB', 1_500_000_000),
        (' 2 MB ', 2_000_000),
        ('2 TB', 2 * 10**12),
        ('2TiB', 2 * 2**40),
        ('.5 kB', 500),
        ('1.7', 1),
        ('-1 B', -1),
    ],
)
def test_readable_to_bytes(text, expected):
    assert readable_to_bytes(text) == expected


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'must contain only a value and a unit'),
        ('abc', 'must contain only a value and a unit'),
        ('kB', 'must contain only a value and a unit'),
        ('1e3 B', 'must contain only a value and a unit'),
        ('1 B 2', 'must contain only a value and a unit'),
        ('1,000 B', 'Unable to interpret "1,000" as a float'),
        ('1.2.3 GB', 'Unable to interpret "1.2.3" as a float'),
        ('1 XB', 'Unknown unit type XB'),
        ('1 PB', 'Unknown unit type PB'),
        ('1k', 'Unknown unit type k'),
    ],
)
def test_unreadable_size_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        readable_to_bytes(text)


@given(st.integers(0, 10**15))
def test_a_readable_size_reads_back_within_its_precision(size):
    back = readable_to_bytes(bytes_to_readable(size))
    assert abs(back - size) <= size * 0.0005


@given(st.binary(), st.integers(1, 10))
def test_chunks_join_to_the_data(data, size):
    chunks = list(chunk_bytes(data, size))
    assert b''.join(chunks) == data
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(chunks)


def test_chunks_of_no_size():
    with pytest.raises(ValueError, match='zero'):
        list(chunk_bytes(b'abc', 0))
