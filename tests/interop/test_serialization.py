"""What either implementation serializes the other deserializes, to the same object."""

from __future__ import annotations

import inspect
import io
import math
import pickle
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from hypothesis.extra import pandas as pdst

from proxystore.serialize import SerializationError, deserialize, serialize
from tests.interop import description

if TYPE_CHECKING:
    from tests.support.interpreter import Interpreter

# Both ends of each example run in processes that are up already.
crossing = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
fewer = settings(crossing, max_examples=25)

# The reading side has the libraries loaded, as a program that uses them has.
_THERE = f"""
import io, pickle
import cloudpickle, numpy, pandas, polars
from proxystore.serialize import deserialize, serialize
{inspect.getsource(description).replace('from __future__ import annotations', '')}
"""


def check_both_ways(obj: Any, upstream: Interpreter) -> None:
    ours = serialize(obj)
    theirs, there_theirs, there_ours = upstream.run(
        _THERE
        + """
obj = pickle.loads(pickled)
if saved is not None:
    obj = numpy.load(io.BytesIO(saved), allow_pickle=True)
theirs = serialize(obj)
result = (theirs, describe(deserialize(theirs)), describe(deserialize(ours)))
""",
        pickled=cloudpickle.dumps(obj),
        saved=saved(obj) if type(obj) is np.ndarray else None,
        ours=ours,
    )
    assert type(ours) is bytes
    assert ours[:3] == theirs[:3]
    here_ours = description.describe(deserialize(ours))
    here_theirs = description.describe(deserialize(theirs))
    assert there_ours == there_theirs, 'upstream reads ours as it reads its own'
    assert here_theirs == there_theirs, 'we read theirs as upstream does'
    assert here_ours == there_theirs, 'we read ours as upstream reads its own'


def saved(array: np.ndarray) -> bytes:
    """An array as bytes: pickles of it forget the byte order of dates."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.binary()
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.dictionaries(scalars.filter(lambda key: key == key), inner, max_size=5)
        | st.frozensets(st.integers(), max_size=5)
    ),
    max_leaves=20,
)


@crossing
@given(obj=anything)
def test_plain_objects(obj: Any, upstream: Interpreter) -> None:
    check_both_ways(obj, upstream)


class Text(str):
    __slots__ = ()


class Octets(bytes):
    __slots__ = ()


@pytest.mark.parametrize(
    'obj',
    ['', 'ü\x00\n', '\ud7ff\U0010ffff', b'', b'\n', b'BS\n', bytes(range(256)), 'x' * 100_000,
     b'x' * 100_000, Text('a'), Octets(b'a'), bytearray(b'a'), [bytearray(100_000)],
     math.nan, math.inf, 1 << 10_000, 'lone \ud800'],
    ids=repr,
)  # fmt: skip
def test_strings_bytes_and_their_edges(obj: Any, upstream: Interpreter) -> None:
    if type(obj) in {Text, Octets}:
        # Upstream knows no such class; as text and bytes both take them.
        assert serialize(obj) == serialize(type(obj).__bases__[0](obj))
        obj = type(obj).__bases__[0](obj)
    check_both_ways(obj, upstream)


dtypes = npst.scalar_dtypes() | npst.array_dtypes(max_size=3)


@pytest.mark.filterwarnings('ignore:Stored array in format 3.0')
@crossing
@given(data=st.data())
def test_numpy_arrays_of_any_type_shape_and_order(data: st.DataObject, upstream) -> None:
    array = data.draw(npst.arrays(data.draw(dtypes), npst.array_shapes(min_dims=0, min_side=0)))
    match data.draw(st.sampled_from(['C', 'F', 'transposed', 'strided', 'reversed', 'readonly'])):
        case 'F':
            array = np.asfortranarray(array)
        case 'transposed':
            array = array.T
        case 'strided' if array.ndim:
            array = array[::2]
        case 'reversed' if array.ndim:
            array = array[::-1]
        case 'readonly':
            array.setflags(write=False)
    check_both_ways(array, upstream)


@pytest.mark.parametrize(
    'dtype',
    ['?', 'b', 'B', '<i2', '>i2', '<u4', '>u4', '<i8', '>i8', '<f2', '<f4', '>f4', '<f8', '>f8',
     'g', '<c8', '>c16', 'S5', '<U3', '>U3', 'V7', '<M8[ns]', '<M8[D]', '<m8[s]'],
)  # fmt: skip
@pytest.mark.parametrize('order', ['C', 'F'])
def test_numpy_types(dtype: str, order: Any, upstream: Interpreter) -> None:
    raw = np.arange(48 * np.dtype(dtype).itemsize, dtype='B') % 2
    check_both_ways(raw.view(dtype).reshape((6, 8), order=order), upstream)


@pytest.mark.parametrize(
    'array',
    [
        np.array(1.5),
        np.empty((0, 3)),
        np.empty((3, 0), order='F'),
        np.array([1, 'a', None, [2]], dtype=object),
        np.array([(1, 'a')], dtype=[('x', '<i4'), ('y', 'O')]),
        np.array([(1, 2.5, (3, 4))], dtype=[('a', 'u1'), ('b', '>f8'), ('c', '<i4', (2,))]),
        np.zeros(3, dtype=np.dtype([('a', 'u1'), ('b', 'f8')], align=True)),
        np.array([(1, 2)], dtype=[('x', 'i4'), ('y', 'i4')]).view(np.recarray),
        np.ma.masked_array([1, 2], [0, 1]),
        np.arange(1_000_000),
        np.arange(1_000_000).reshape(1000, 1000)[:, ::3],
        np.broadcast_to(np.arange(3), (4, 3)),
        np.arange(3, dtype='O'),
    ],
    ids=lambda array: f'{type(array).__name__}-{array.dtype}-{array.shape}',
)
def test_numpy_arrays_out_of_the_ordinary(array: Any, upstream: Interpreter) -> None:
    check_both_ways(array, upstream)


def test_numpy_scalars_and_nested_arrays(upstream: Interpreter) -> None:
    check_both_ways(np.float32(1.5), upstream)
    check_both_ways({'a': [np.arange(10), np.arange(200_000)]}, upstream)


columns = [
    pdst.column('i', dtype='int64'),
    pdst.column('f', dtype='float64'),
    pdst.column('b', dtype=bool),
    pdst.column('s', elements=st.text(st.characters(codec='utf-8'))),
    pdst.column('t', dtype='datetime64[ns]'),
]


@fewer
@given(frame=pdst.data_frames(columns, index=pdst.range_indexes(max_size=5)))
def test_pandas_frames(frame: pd.DataFrame, upstream: Interpreter) -> None:
    check_both_ways(frame, upstream)


FRAMES = {
    'empty': lambda: pd.DataFrame(),
    'categorical': lambda: pd.DataFrame({'a': pd.Categorical(['x', 'y', 'x'])}, index=[*'pqr']),
    'multi_index': lambda: pd.DataFrame({('a', 1): [1, 2], ('b', 2): [None, 'ü']}),
    'nullable': lambda: pd.DataFrame({'a': pd.array([1, None], dtype='Int64'), 'b': [[1], {2: 3}]}),
    'large': lambda: pd.DataFrame(np.arange(200_000.0).reshape(1000, 200)),
}


@pytest.mark.parametrize('name', FRAMES)
def test_pandas_frames_out_of_the_ordinary(name: str, upstream: Interpreter) -> None:
    frame = FRAMES[name]()
    frame.attrs['note'] = 'kept'
    check_both_ways(frame, upstream)


@fewer
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1) | st.none(),
            st.floats(allow_nan=False) | st.none(),
            st.text(st.characters(codec='utf-8')) | st.none(),
            st.lists(st.booleans(), max_size=3),
        ),
        max_size=6,
    ),
)
def test_polars_frames(rows: list[Any], upstream: Interpreter) -> None:
    schema = {'i': pl.Int64, 'f': pl.Float64, 's': pl.String, 'l': pl.List(pl.Boolean)}
    check_both_ways(pl.DataFrame(rows, schema=schema, orient='row'), upstream)


def test_polars_frames_out_of_the_ordinary(upstream: Interpreter) -> None:
    check_both_ways(pl.DataFrame(), upstream)
    frame = pl.DataFrame({'a': range(100_000), 'c': ['x', 'y'] * 50_000})
    check_both_ways(frame.with_columns(pl.col('c').cast(pl.Categorical)), upstream)


def test_what_only_cloudpickle_takes(upstream: Interpreter) -> None:
    offset = 41
    check_both_ways(lambda x: x + offset, upstream)

    class Local:
        def __init__(self) -> None:
            self.value = [1, 'a']

    ours = serialize(Local())
    assert ours[:3] == b'CP\n'
    assert upstream.run(_THERE + 'result = deserialize(ours).value', ours=ours) == [1, 'a']


@crossing
@given(data=st.binary(max_size=40))
def test_both_refuse_the_same_bytes(data: bytes, upstream: Interpreter) -> None:
    _check_refusal(data, upstream)


@pytest.mark.parametrize(
    'data',
    [b'', b'\n', b'B', b'BS', b'BS\n', b'US\n', b'US\n\xff', b'PK\n', b'PK\nx', b'NP\n',
     b'NP\nx', b'NP\n\x93NUMPY', b'PD\nx', b'PL\nx', b'CP\nx', b'XX\nabc', b'BSabc', b'bs\n',
     b'PK\n' + pickle.dumps(1)[:-1], serialize(np.arange(9))[:-1]],
)  # fmt: skip
def test_both_refuse_the_same_damage(data: bytes, upstream: Interpreter) -> None:
    _check_refusal(data, upstream)


def _check_refusal(data: bytes, upstream: Interpreter) -> None:
    theirs = upstream.run(
        _THERE
        + """
try:
    result = describe(deserialize(data))
except Exception as e:
    result = type(e).__name__
""",
        data=data,
    )
    try:
        ours = description.describe(deserialize(data))
    except SerializationError:
        ours = 'SerializationError'
    assert ours == theirs


@pytest.mark.parametrize('buffer', [bytearray, memoryview, lambda b: memoryview(b + b'x')[:-1]])
@pytest.mark.parametrize('obj', ['a', b'b', [1], np.arange(5)], ids=str)
def test_any_buffer_is_taken(buffer: Any, obj: Any, upstream: Interpreter) -> None:
    theirs = upstream.run(
        _THERE + 'result = serialize(pickle.loads(pickled))', pickled=pickle.dumps(obj)
    )
    assert description.describe(deserialize(buffer(theirs))) == description.describe(obj)
