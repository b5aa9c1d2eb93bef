"""Objects as bytes: formats, copies, and what damaged bytes get."""

from __future__ import annotations

import array
import contextlib
import io
import pickle
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from proxystore.serialize import (
    SerializationError,
    deserialize,
    is_bytes_like,
    serialize,
    serialize_buffers,
    takes_buffers,
)


class Bytes(bytes):
    pass


class Text(str):
    __slots__ = ()


class Array(np.ndarray):
    pass


ARRAYS = {
    'vector': np.arange(1000),
    'matrix': np.arange(12.0).reshape(3, 4),
    'fortran': np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    'scalar': np.array(5),
    'empty': np.empty((0, 3)),
    'strided': np.arange(20)[::3],
    'transposed block': np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    'structured': np.array([(1, 2.5)], dtype=[('a', 'i4'), ('b', 'f8')]),
    'nested structure': np.zeros(2, dtype=[('a', [('b', 'i2'), ('c', 'u1', (3,))])]),
    'aligned structure': np.zeros(2, dtype=np.dtype([('a', 'u1'), ('b', 'f8')], align=True)),
    'datetime': np.array(['2020-01-01', 'NaT'], dtype='M8[D]'),
    'timedelta': np.array([1, 2], dtype='m8[ms]'),
    'big endian': np.arange(3, dtype='>i4'),
    'bool': np.array([True, False]),
    'complex': np.array([1 + 2j]),
    'half': np.array([1.5], dtype='f2'),
    'text': np.array(['a', 'bcd', 'ü']),
    'bytes': np.array([b'a', b'bcd']),
    'no bytes': np.array([b'', b'']),
    'void': np.zeros(2, dtype='V5'),
    'objects': np.array(['a', None, {'b': 1}], dtype=object),
    'subclass': np.arange(4).view(Array),
    'masked': np.ma.array([1, 2], mask=[False, True]),
    'records': np.rec.array([(1, 2)], dtype=[('x', int), ('y', int)]),
    'many fields': np.zeros(1, dtype=[(f'field{i}', 'f8') for i in range(4000)]),
    'unicode field': np.zeros(1, dtype=[('größe', 'f8'), ('長さ', 'f8')]),
}


def assert_same_array(actual: np.ndarray, expected: np.ndarray) -> None:
    expected = np.asarray(expected)
    assert type(actual) is np.ndarray
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert str(actual.tolist()) == str(expected.tolist())
    assert actual.flags.writeable


@pytest.mark.parametrize(
    ('obj', 'identifier'),
    [
        (b'', b'BS'),
        (b'bytes', b'BS'),
        (Bytes(b'bytes'), b'BS'),
        ('text', b'US'),
        ('', b'US'),
        (Text('ü'), b'US'),
        ('\ud800', b'PK'),
        (np.arange(3), b'NP'),
        (pd.DataFrame([[1, 0.5], [2, 1.5]], index=[3, 4]), b'PD'),
        (pl.DataFrame({'a': [1, 2], 'b': ['x', 'y']}), b'PL'),
        (pd.Series([1]), b'PK'),
        (pl.Series('a', [1]), b'PK'),
        (bytearray(b'x'), b'PK'),
        ({'a': [1, (2, None)]}, b'PK'),
        ([np.arange(3)], b'PK'),
        (None, b'PK'),
        (5, b'PK'),
        (lambda: 7, b'CP'),
        (memoryview(b'abc'), b'CP'),
    ],
    ids=repr,
)
def test_formats_are_those_of_upstream(obj, identifier, upstream):
    data = serialize(obj)
    assert type(data) is bytes
    assert data[:3] == identifier + b'\n'
    theirs = upstream.run(
        """
        import pickle, proxystore.serialize as s
        obj = s.deserialize(data)
        if callable(obj):
            obj = obj()
        result = pickle.dumps(obj), s.serialize(obj)
        """,
        data=data,
    )
    expected = obj() if callable(obj) else obj
    for actual in (deserialize(data), pickle.loads(theirs[0]), deserialize(theirs[1])):
        actual = actual() if callable(actual) else actual
        if isinstance(expected, np.ndarray):
            assert_same_array(actual, expected)
        elif isinstance(expected, pd.DataFrame | pd.Series | pl.DataFrame | pl.Series):
            assert actual.equals(expected)
        elif isinstance(expected, list):
            assert_same_array(actual[0], expected[0])
        else:
            assert actual == expected


def test_subclasses_of_bytes_and_str_come_back_plain():
    assert type(deserialize(serialize(Bytes(b'x')))) is bytes
    assert type(deserialize(serialize(Text('x')))) is str


@pytest.mark.parametrize('name', ARRAYS)
@pytest.mark.filterwarnings('ignore:Stored array in format:UserWarning')
def test_arrays_are_read_by_upstream_and_read_from_upstream(name, upstream):
    expected = ARRAYS[name]
    data = serialize(expected)
    assert data.startswith(b'NP\n\x93NUMPY')
    assert_same_array(deserialize(data), expected)
    as_loaded, theirs = upstream.run(
        """
        import io, numpy as np, proxystore.serialize as s
        array = s.deserialize(data)
        file = io.BytesIO()
        np.save(file, array)
        result = file.getvalue(), s.serialize(array)
        """,
        data=data,
    )
    assert_same_array(np.load(io.BytesIO(as_loaded), allow_pickle=True), expected)
    assert_same_array(deserialize(theirs), expected)
    original = np.asarray(expected)
    if not original.dtype.hasobject and (
        original.flags.c_contiguous or original.flags.f_contiguous
    ):
        got = deserialize(data)
        assert got.flags.c_contiguous == original.flags.c_contiguous
        assert got.flags.f_contiguous == original.flags.f_contiguous


@given(
    hnp.arrays(
        dtype=hnp.array_dtypes() | hnp.scalar_dtypes(),
        shape=hnp.array_shapes(min_dims=0, min_side=0),
    ),
    st.sampled_from('CF'),
)
def test_any_array_survives(expected, order):
    expected = np.array(expected, order=order)
    actual = deserialize(serialize(expected))
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


@pytest.mark.parametrize('name', ['vector', 'matrix', 'fortran', 'scalar', 'structured'])
def test_array_data_is_aligned_from_the_start_of_the_object(name):
    header, data = serialize_buffers(ARRAYS[name])
    assert len(header) % 64 == 0
    assert data.nbytes == ARRAYS[name].nbytes


def test_arrays_and_bytes_travel_uncopied():
    matrix = np.arange(100_000.0).reshape(100, 1000)
    assert np.shares_memory(np.frombuffer(serialize_buffers(matrix)[1]), matrix)
    assert np.shares_memory(np.frombuffer(serialize_buffers(matrix.T)[1]), matrix)
    data = bytes(1000)
    assert serialize_buffers(data)[1] is data


def test_large_buffers_in_a_container_travel_uncopied():
    vector = np.arange(100_000)
    blob = bytes(100_000)
    obj = {'vector': vector, 'fortran': np.asfortranarray(vector.reshape(100, 1000)), 'blob': blob}
    buffers = serialize_buffers(obj)
    assert any(part is blob for part in buffers)
    shared = [np.shares_memory(np.frombuffer(part, 'u1'), vector) for part in buffers]
    assert sum(shared) == 1
    joined = b''.join(buffers)
    assert joined == serialize(obj)
    got = deserialize(joined)
    assert_same_array(got['vector'], vector)
    assert_same_array(got['fortran'], obj['fortran'])
    assert got['blob'] == blob


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text()
        | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    )
)
def test_buffers_joined_are_the_serialized_object(obj):
    data = serialize(obj)
    assert deserialize(data) == obj
    assert deserialize(b''.join(serialize_buffers(obj))) == obj


@pytest.mark.parametrize('wrap', [bytes, bytearray, memoryview, lambda b: memoryview(bytearray(b))])
def test_array_made_from_shared_memory_is_private(wrap):
    data = wrap(serialize(np.arange(10)))
    before = bytes(data)
    got = deserialize(data)
    got[:] = 7
    assert bytes(data) == before


def test_input_may_be_any_contiguous_view():
    data = serialize([1, 2])
    assert deserialize(memoryview(data).cast('b')) == [1, 2]
    assert deserialize(memoryview(b'xx' + data)[2:]) == [1, 2]


def test_is_bytes_like():
    assert all(map(is_bytes_like, (b'', bytearray(), memoryview(b''), Bytes())))
    assert not any(map(is_bytes_like, ('', [b''], None, 1)))
    assert is_bytes_like(array.array('B')) == (sys.version_info >= (3, 12))


class Refuses:
    def __reduce__(self):
        msg = 'not today'
        raise RuntimeError(msg)


class Interrupted:
    def __reduce__(self):
        raise KeyboardInterrupt


def nest(depth):
    nested = []
    for _ in range(depth):
        nested = [nested]
    return nested


@pytest.mark.parametrize('obj', [threading.Lock(), Refuses(), [Refuses()], {'a': threading.Lock()}])
def test_object_that_cannot_be_serialized(obj):
    for function in (serialize, serialize_buffers):
        with pytest.raises(SerializationError, match='is not supported') as caught:
            function(obj)
        assert str(type(obj)) in str(caught.value)
        assert caught.value.__cause__ is not None


def test_object_too_deep_to_be_serialized():
    nested = nest(100_000)
    with pytest.raises(SerializationError, match='list'):
        serialize(nested)
    while nested:
        nested = nested.pop()


def test_interrupt_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt):
        serialize([Interrupted()])


@pytest.mark.parametrize('obj', [1, 'PK\n', None, [b'PK\n'], np.arange(3).tolist()])
def test_deserialize_takes_only_bytes(obj):
    with pytest.raises(ValueError, match=r'Expected data to be a bytes-like type, not <class'):
        deserialize(obj)


@pytest.mark.parametrize('data', [b'', b'\n', b'P', b'XX\nabc', b'XX', b'PKabc', b'\nPK\n.', b'no'])
def test_unknown_identifier_is_named(data, upstream):
    with pytest.raises(SerializationError, match='Unknown identifier'):
        deserialize(data)
    message = upstream.run(
        """
        import proxystore.serialize as s
        try:
            s.deserialize(data)
        except s.SerializationError as error:
            result = str(error)
        """,
        data=data,
    )
    assert message.startswith('Unknown identifier')


@pytest.mark.parametrize(
    ('data', 'name'),
    [
        (b'PK\n', 'pickle'),
        (b'PK', 'pickle'),
        (b'PK\nabc', 'pickle'),
        (b'PK\n' + bytes(5000), 'pickle'),
        (b'CP\nxx', 'cloudpickle'),
        (b'US\n\xff', 'string'),
        (b'NP\n', 'numpy'),
        (b'NP\nabc', 'numpy'),
        (b'PD\nabc', 'pandas'),
        (b'PL\nabc', 'polars'),
    ],
)
def test_damaged_body_is_an_error(data, name):
    for wrapped in (data, bytearray(data), memoryview(data)):
        with pytest.raises(SerializationError, match=f'using the {name} serializer') as caught:
            deserialize(wrapped)
        assert caught.value.__cause__ is not None


def npy(header: bytes, data: bytes = b'', version: bytes = b'\x01\x00') -> bytes:
    width = 2 if version[0] == 1 else 4
    return b'NP\n\x93NUMPY' + version + len(header).to_bytes(width, 'little') + header + data


@pytest.mark.parametrize(
    'data',
    [
        npy(b''),
        npy(b'{'),
        npy(b'[]'),
        npy(b'{}'),
        npy(b"{'descr': '<i8', 'fortran_order': False}"),
        npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': 5}"),
        npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (1.0,)}"),
        npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (-1,)}"),
        npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (-1, -1)}", bytes(8)),
        npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (2,)}", bytes(15)),
        npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (10**3,)}", bytes(8000)),
        npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000000,)}"),
        npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (4294967296, 4294967296)}"),
        npy(b"{'descr': '<nope', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        npy(b"{'descr': ['x'], 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        npy(b"{'descr': ('<i4', (3,)), 'fortran_order': False, 'shape': (1,)}", bytes(12)),
        npy(b"{'descr': '<i8', 'fortran_order': False, 'shape': (__import__('os').getpid(),)}"),
        npy(b'(' * 60_000),
        npy(b'-' * 60_000 + b'1'),
        npy(b'{}', version=b'\x09\x00'),
        npy(b'\xff\xfe', version=b'\x03\x00'),
        b'NP\n\x93NUMPY',
        b'NP\n\x93NUMPY\x01',
        b'NP\n\x93NUMPY\x01\x00\xff',
        b'NP\n\x93NUMPY\x01\x00\xff\xff{}',
        b'NP\n\x93NUMPY\x02\x00\xff\xff\xff\xff{}',
    ],
)
def test_damaged_header_of_an_array(data):
    for wrapped in (data, bytearray(data)):
        with pytest.raises(SerializationError, match='numpy'):
            deserialize(wrapped)


@given(st.data())
def test_flipped_bytes_in_an_array_never_crash(data):
    original = bytearray(serialize(np.arange(4, dtype='>u2').reshape(2, 2)))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(3, len(original) - 1))
        original[position] = data.draw(st.integers(0, 255))
    try:
        got = deserialize(bytes(original))
    except SerializationError:
        return
    assert isinstance(got, np.ndarray)
    assert got.nbytes <= len(original)


@given(st.binary(max_size=200))
def test_any_bytes_as_a_body_give_an_object_or_the_error(body):
    for identifier in (b'BS\n', b'US\n', b'NP\n\x93NUMPY'):
        with contextlib.suppress(SerializationError):
            deserialize(identifier + body)


def test_archives_and_pickles_of_numpy_are_read_as_upstream_does():
    file = io.BytesIO()
    np.savez(file, a=np.arange(3))
    assert_same_array(deserialize(b'NP\n' + file.getvalue())['a'], np.arange(3))
    assert deserialize(b'NP\n' + pickle.dumps([1])) == [1]
    assert_same_array(deserialize(serialize(np.arange(3)) + b'rest'), np.arange(3))


def test_takes_buffers_marks_the_function_itself():
    def function(data):
        return data

    assert takes_buffers(function) is function
    assert function.__takes_buffers__ is True
    assert deserialize.__takes_buffers__ is True


def test_nothing_heavy_is_imported():
    code = (
        'import sys, proxystore.serialize as s\n'
        's.deserialize(s.serialize([1])), s.deserialize(s.serialize("a"))\n'
        'print(*{"numpy", "pandas", "polars", "cloudpickle"} & set(sys.modules))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
