"""Frames: what travels in them uncopied, and comes back as it was."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from proxystore.proxy import Proxy
from proxystore.serialize import (
    deserialize,
    serialize,
    serialize_buffers,
)
from tests.support.frames import LARGE, N, Sample, framed, is_frame, round_trip, same_array


class Subclass(np.ndarray):
    pass


ARRAYS: dict[str, Any] = {
    'vector': np.arange(N),
    'matrix': np.arange(N * 4.0).reshape(400, 200),
    'fortran': np.asfortranarray(np.arange(N * 1.0).reshape(100, 200)),
    'permuted': np.arange(24_000).reshape(20, 30, 40).transpose(1, 2, 0),
    'strided': np.arange(2 * N)[::2],
    'reversed': np.arange(N)[::-1],
    'broadcast': np.broadcast_to(np.arange(1000), (100, 1000)),
    'structured': np.zeros(N, dtype=[('a', 'i4'), ('b', 'f8', (2,))]),
    'datetime': np.arange(N).astype('M8[s]'),
    'timedelta': np.arange(N).astype('m8[ms]'),
    'big endian': np.arange(N, dtype='>i4'),
    'half': np.ones(2 * LARGE, dtype='f2'),
    'text': np.array(['abcdefgh'] * N),
    'void': np.zeros(N, dtype='V9'),
    'read-only': np.frombuffer(bytes(2 * LARGE), dtype='u1'),
    'subclass': np.arange(N).view(Subclass),
    'records': np.zeros(N, dtype=[('a', 'i4')]).view(np.recarray),
}


@pytest.mark.parametrize('name', ARRAYS)
@pytest.mark.parametrize('wrap', [lambda a: a, lambda a: {'x': [a]}], ids=['alone', 'nested'])
def test_large_arrays_come_back_as_they_were(name, wrap):
    expected = ARRAYS[name]
    obj = wrap(expected)
    assert is_frame(obj)
    got = round_trip(obj)
    got = got if isinstance(got, np.ndarray) else got['x'][0]
    if name == 'read-only' and isinstance(obj, dict):
        got = got.copy()
    assert same_array(got, expected)
    if not isinstance(obj, dict) and name in {'fortran', 'permuted'}:
        assert got.strides == expected.strides


@given(
    hnp.arrays(
        dtype=hnp.array_dtypes() | hnp.scalar_dtypes(),
        shape=hnp.array_shapes(min_dims=0, min_side=0),
    ),
    st.sampled_from('CF'),
    st.booleans(),
)
def test_any_array_survives(expected, order, nested):
    expected = np.array(expected, order=order)
    obj = [expected] if nested else expected
    got = round_trip(obj)
    got = got[0] if nested else got
    if nested and expected.dtype.kind in 'Mm':
        # numpy pickles small arrays of times in the byte order of the machine.
        got = got.astype(expected.dtype)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert got.tobytes() == expected.tobytes()
    assert type(got) is np.ndarray


@given(
    st.recursive(
        st.none()
        | st.integers()
        | st.text()
        | st.binary()
        | hnp.arrays('i4', st.integers(0, 3)).map(lambda a: np.tile(a, 3000)),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
        max_leaves=8,
    )
)
def test_any_nesting_survives(obj):
    assert repr(round_trip(obj)) == repr(obj)
    assert pickle.dumps(round_trip(obj)) == pickle.dumps(obj)


def test_masked_arrays_keep_their_mask():
    for mask in (np.arange(N) % 3 == 0, np.ma.nomask):
        expected = np.ma.array(np.arange(N), mask=mask, fill_value=7)
        for got in (round_trip(expected), round_trip([expected])[0]):
            assert type(got) is np.ma.MaskedArray
            assert got.fill_value == 7
            assert (np.ma.getmaskarray(got) == np.ma.getmaskarray(expected)).all()
            assert (got.data == expected.data).all()


def test_memory_mapped_arrays_come_back_plain(tmp_path):
    np.save(tmp_path / 'array.npy', np.arange(N))
    mapped = np.load(tmp_path / 'array.npy', mmap_mode='r')
    assert same_array(round_trip(mapped), np.arange(N))


def test_arrays_within_object_arrays_travel_beside_the_pickle():
    expected = np.array([np.arange(N), None, 'x'], dtype=object)
    assert is_frame(expected)
    got = round_trip(expected)
    assert got.dtype == object
    assert same_array(got[0], expected[0])
    assert list(got[1:]) == [None, 'x']


def frames() -> dict[str, Any]:
    numbers = np.arange(N)
    pandas = pd.DataFrame(
        {
            'float': numbers * 0.5,
            'int': numbers,
            'str': [f'row {i}' for i in numbers],
            'category': pd.Categorical(['a', 'b'] * (N // 2)),
            'nullable': pd.array([1, None] * (N // 2), dtype='Int64'),
            'arrow': pd.array([1, None] * (N // 2), dtype='int64[pyarrow]'),
            'arrow text': pd.array(['x', None] * (N // 2), dtype='string[pyarrow]'),
            'boolean': pd.array([True, None] * (N // 2), dtype='boolean'),
            'date': pd.date_range('2020', periods=N, freq='s'),
            'zone': pd.date_range('2020', periods=N, freq='s', tz='Europe/Berlin'),
            'period': pd.period_range('2000', periods=N, freq='h'),
            'interval': pd.interval_range(0, periods=N),
            'object': pd.array([{'a': 1}] * N, dtype=object),
        }
    )
    polars = pl.DataFrame(
        {
            'float': numbers * 0.5,
            'text': [f'row {i}' for i in numbers],
            'list': [[1, 2], None] * (N // 2),
            'struct': [{'a': 1, 'b': 'x'}] * N,
            'date': pl.datetime_range(
                pl.datetime(2020, 1, 1), pl.datetime(2021, 1, 1), '1h', eager=True
            )
            .head(1)
            .sample(N, with_replacement=True),
        }
    )
    table = pa.table({'a': numbers, 'b': [f'row {i}' for i in numbers]})
    return {
        'pandas': pandas,
        'series': pandas['date'],
        'sliced pandas': pandas.iloc[10:-10:3],
        'transposed pandas': pd.DataFrame(np.arange(N * 1.0).reshape(100, -1)).T,
        'multi-index': pandas.set_index(['int', 'category']),
        'polars': polars,
        'sliced polars': polars.slice(5, N - 100),
        'polars series': polars['text'],
        'arrow': table,
        'sliced arrow': table.slice(3, N // 3),
        'arrow array': pa.array(numbers),
        'arrow chunks': pa.chunked_array([numbers, numbers[::2]]),
        'arrow batch': table.to_batches()[0].slice(7, N // 5),
    }


FRAMES = frames()


@pytest.mark.parametrize('name', FRAMES)
@pytest.mark.parametrize('nested', [False, True])
def test_tables_come_back_as_they_were(name, nested):
    expected = FRAMES[name]
    obj = [expected, 1] if nested else expected
    assert is_frame(obj)
    got = round_trip(obj)
    got = got[0] if nested else got
    assert type(got) is type(expected)
    assert got.equals(expected)
    if isinstance(expected, pd.DataFrame):
        assert (got.dtypes == expected.dtypes).all()
    if isinstance(expected, pl.DataFrame):
        assert got.schema == expected.schema
    if isinstance(expected, pl.Series):
        assert got.name == expected.name


@pytest.mark.parametrize('dtype', [pl.Categorical, pl.Enum(['x', 'y']), pl.Decimal(10, 2)])
def test_polars_types_that_arrow_does_not_have_keep_polars_format(dtype):
    values = [1, 2] if dtype == pl.Decimal(10, 2) else ['x', 'y']
    frame = pl.DataFrame({'a': values * N}, schema={'a': dtype}, strict=False)
    got = round_trip(frame)
    assert got.equals(frame)
    assert got.schema == frame.schema


@pytest.mark.parametrize('layout', ['csr', 'csc', 'coo', 'bsr'])
def test_sparse_matrices(layout):
    matrix = scipy.sparse.random(2000, 2000, 0.01, format=layout, random_state=1)
    assert is_frame(matrix)
    got = round_trip(matrix)
    assert got.format == layout
    assert (got != matrix).nnz == 0


def test_containers_of_large_things():
    array = np.arange(N)
    obj = Sample(array, 'x', [{'a': (array * 2, FRAMES['pandas'])}, FRAMES['polars']])
    assert is_frame(obj)
    got = round_trip(obj)
    assert same_array(got.data, array)
    assert same_array(got.more[0]['a'][0], array * 2)
    assert got.more[0]['a'][1].equals(FRAMES['pandas'])
    assert got.more[1].equals(FRAMES['polars'])
    assert got.label == 'x'


def test_what_pickle_refuses_is_left_to_cloudpickle():
    array = np.arange(N)
    obj = [lambda: array, array]
    assert is_frame(obj)
    got = round_trip(obj)
    assert same_array(got[1], array)
    assert same_array(got[0](), array)


def test_targets_of_proxies_are_framed():
    for target in (np.arange(N), np.arange(N).view(Subclass), FRAMES['pandas'], FRAMES['polars']):
        proxy = Proxy(lambda target=target: target)
        got = round_trip(proxy)
        assert type(got) is type(target)
        assert (got == target).all() if isinstance(target, np.ndarray) else got.equals(target)


def test_buffers_are_not_copied_on_the_way_in():
    array = np.arange(N)
    for obj in (array, [array], array[:, None].T, np.asfortranarray(array.reshape(100, 200))):
        parts = [np.frombuffer(part, 'u1') for part in framed(obj)]
        assert any(np.shares_memory(part, array) or part.nbytes == array.nbytes for part in parts)
    blob = bytes(5_000_000)
    parts = framed({'deep': [[{'blob': blob}]], 'array': array})
    assert any(part is blob for part in parts)
    text = pl.DataFrame({'a': [f'row {i}' for i in range(N)]})
    in_all = sum(memoryview(part).nbytes for part in framed(text))
    # A view of 16 bytes for each row holds these short strings.
    assert in_all < 16 * N + 2000


def test_long_pickles_follow_the_header_in_parts():
    obj = [bytes([i]) * 700_000 for i in range(5)] + [
        np.arange(N),
        list(range(300_000)),
        'x' * LARGE,
    ]
    for checksums in (False, True):
        parts = framed(obj, checksums=checksums)
        assert len(parts[0]) < 1000
        got = deserialize(b''.join(parts))
        assert got[:5] == obj[:5]
        assert same_array(got[5], obj[5])
        assert got[6:] == obj[6:]


@pytest.mark.parametrize(
    'obj',
    [
        b'x' * LARGE,
        'x' * LARGE,
        [1, 2],
        {'a': np.arange(5)},
        np.arange(10),
        list(range(LARGE)),
        None,
    ],
    ids=lambda obj: type(obj).__name__,
)
def test_what_has_no_large_buffers_keeps_upstream_format(obj):
    assert b''.join(framed(obj)) == serialize(obj)


@pytest.mark.parametrize(
    'obj', [b'', b'abc', '', 'ü', None, [1], np.arange(3), np.array([None, 1])]
)
def test_everything_is_framed_to_have_checksums(obj):
    data = b''.join(framed(obj, checksums=True))
    assert data.startswith(b'PF\n')
    got = deserialize(data, verify=True)
    assert type(got) is type(obj)
    assert repr(got) == repr(obj)


def test_compatible_objects_have_no_checksums():
    with pytest.raises(ValueError, match='checksums'):
        serialize_buffers([1], checksums=True)


def test_buffers_begin_at_multiples_of_64():
    got = deserialize(b''.join(framed([np.arange(N + i, dtype='u1') for i in range(5)])))
    position = 0
    for part in framed([np.arange(100_000 + i, dtype='u1') for i in range(5)]):
        if memoryview(part).nbytes >= 100_000:
            assert position % 64 == 0
        position += memoryview(part).nbytes
    assert all(array.ctypes.data % 16 == 0 for array in got)


@pytest.mark.parametrize('wrap', [bytes, bytearray, memoryview, lambda b: memoryview(bytearray(b))])
def test_memory_of_others_is_not_kept(wrap):
    data = wrap(b''.join(framed([np.arange(N), np.arange(N)])))
    before = bytes(data)
    got = deserialize(data)
    got[0][:] = 7
    assert bytes(data) == before
    assert (got[1] == np.arange(N)).all()


def test_without_numpy():
    code = (
        'import sys; sys.modules["numpy"] = None\n'
        'import pickle, array, proxystore.serialize as s\n'
        'class Big:\n'
        '    def __init__(self, data): self.data = data\n'
        '    def __reduce_ex__(self, protocol):\n'
        '        return Big, (pickle.PickleBuffer(self.data),)\n'
        'parts = s.serialize_buffers([Big(bytearray(b"x" * 100_000))], compatible=False)\n'
        'data = b"".join(parts)\n'
        'assert data.startswith(b"PF"), data[:9]\n'
        'got = s.deserialize(data)\n'
        'assert bytes(got[0].data) == b"x" * 100_000\n'
    )
    subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
