"""Arrays behind proxies."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from proxystore.proxy import Proxy, extract, is_resolved


@pytest.fixture
def array():
    return np.arange(12.0).reshape(3, 4)


@pytest.fixture
def proxy(proxy_class, array):
    return proxy_class(lambda: array)


def test_asarray_does_not_copy(proxy, array):
    seen = np.asarray(proxy)
    assert type(seen) is np.ndarray
    assert np.shares_memory(seen, array)
    assert seen.dtype == array.dtype
    assert seen.flags.writeable
    seen[0, 0] = 7
    assert array[0, 0] == 7


def test_asarray_of_a_transposed_and_of_a_read_only_array(proxy_class, array):
    transposed = array.T[::2]
    seen = np.asarray(proxy_class(lambda: transposed))
    assert np.shares_memory(seen, array)
    assert seen.strides == transposed.strides
    array.flags.writeable = False
    assert not np.asarray(proxy_class(lambda: array)).flags.writeable


def test_asarray_with_a_type_converts(proxy, array):
    seen = np.asarray(proxy, dtype=np.int32)
    assert seen.dtype == np.int32
    assert not np.shares_memory(seen, array)
    assert (seen == array).all()


def test_array_copies_when_told(proxy, array):
    assert not np.shares_memory(np.array(proxy), array)
    assert np.shares_memory(np.array(proxy, copy=False), array)
    with pytest.raises(ValueError, match='copy'):
        np.array(proxy, dtype=np.int8, copy=False)


@pytest.mark.parametrize(
    'target',
    [
        np.array(['a', 'bc']),
        np.array([1, 'a', None], dtype=object),
        np.array(['2020-01-01'], dtype='datetime64[D]'),
        np.array([(1, 2.0)], dtype=[('a', 'i4'), ('b', 'f8')]),
        np.array([(1, 2.0)], dtype=np.dtype([('a', 'i1'), ('b', 'f8')], align=True)),
        np.array([1, 2], dtype='>i4'),
        np.array(5),
        np.array([], dtype='f4'),
        np.array([True]),
        np.array([1 + 2j]),
        np.zeros(3, dtype='f2'),
    ],
    ids=lambda target: str(target.dtype),
)
def test_every_type_of_element_survives(proxy_class, target):
    seen = np.asarray(proxy_class(lambda: target))
    assert seen.dtype == target.dtype
    assert seen.shape == target.shape
    assert np.shares_memory(seen, target) or target.size == 0
    assert seen.tolist() == target.tolist()


@pytest.mark.parametrize(
    'target',
    [[1, 2], (1.0,), 5, 2.5, 'text', [[1], [2]], b'bytes', range(3), {'a': 1}, {1, 2}, None],
    ids=repr,
)
def test_what_is_no_array_becomes_one_as_ever(proxy_class, target):
    plain = np.asarray(target)
    seen = np.asarray(proxy_class(lambda: target))
    if plain.dtype == object or isinstance(target, str | bytes):
        # An opaque object to numpy: it holds the proxy, or (bytes) its buffer.
        assert seen.shape in ((), (len(target or ()),))
    else:
        assert seen.tolist() == plain.tolist()


def test_the_array_method_is_the_targets(proxy, proxy_class, array):
    assert proxy.__array__() is array
    assert proxy.__array__(np.float32).dtype == np.float32
    assert proxy.__array_interface__ == array.__array_interface__
    assert not hasattr(proxy_class(lambda: 5), '__array__')


def test_frombuffer(proxy_class):
    assert np.frombuffer(proxy_class(lambda: b'\1\2\3'), dtype='u1').tolist() == [1, 2, 3]


def test_universal_functions_see_the_target(proxy, array):
    assert (np.sin(proxy) == np.sin(array)).all()
    assert (np.add(proxy, proxy) == 2 * array).all()
    assert np.add.reduce(proxy, axis=0).tolist() == array.sum(axis=0).tolist()
    assert np.multiply.outer(proxy, [1, 2]).shape == (3, 4, 2)


def test_universal_functions_write_into_the_target(proxy, array):
    result = np.add(1, 1, out=proxy)
    assert result is array
    assert (array == 2).all()
    np.multiply.at(proxy, 0, 5)
    assert array[0].tolist() == [10] * 4


def test_arrays_on_the_left(proxy_class, array):
    five = proxy_class(lambda: 5)
    assert (array + five == array + 5).all()
    assert (array + five).dtype == np.float64
    assert type(np.float64(1) + five) is np.float64
    assert type(np.int64(1) + five) is np.int64
    assert (np.arange(3) == proxy_class(lambda: np.arange(3))).all()
    assert np.arange(3) @ proxy_class(lambda: np.arange(3)) == 5
    array += five
    assert array[0, 0] == 5


def test_a_universal_function_of_a_proxy_of_a_proxy(proxy_class, array):
    nested = proxy_class(lambda: Proxy(lambda: array))
    assert (np.sin(nested) == np.sin(array)).all()


def test_an_unresolvable_operand_of_a_universal_function(proxy_class):
    with pytest.raises(Exception, match='ZeroDivisionError'):
        np.sin(proxy_class(lambda: 1 / 0))


def test_functions_of_numpy(proxy, array):
    assert np.sum(proxy) == array.sum()
    assert np.mean(proxy, axis=0).tolist() == array.mean(axis=0).tolist()
    assert np.concatenate([proxy, proxy]).shape == (6, 4)
    assert np.stack([proxy, array]).shape == (2, 3, 4)
    assert np.linalg.norm(proxy) == np.linalg.norm(array)
    assert np.shape(proxy) == (3, 4)
    assert np.allclose(proxy, array)
    assert np.dot(proxy, array.T).shape == (3, 3)
    assert np.where(proxy > 5, 1, 0).sum() == 6


def test_indexing_and_operators(proxy, array):
    assert proxy[1, 2] == array[1, 2]
    assert (proxy[:, 1] == array[:, 1]).all()
    assert (proxy[proxy > 3] == array[array > 3]).all()
    assert array[Proxy(lambda: 1)].tolist() == array[1].tolist()
    assert array[Proxy(lambda: np.array([0, 2]))].shape == (2, 4)
    proxy[0] = 0
    assert array[0].tolist() == [0] * 4
    assert proxy.sum() == array.sum()
    assert proxy.T.shape == (4, 3)


def test_in_place_operators_keep_the_memory(proxy, array):
    same = proxy
    proxy += 1
    assert proxy is same
    assert extract(proxy) is array
    assert array[0, 0] == 1


def test_looking_for_protocols_does_not_resolve(proxy_class):
    proxy = proxy_class(lambda: pytest.fail('resolved'))
    assert hasattr(type(proxy), '__array_ufunc__')
    assert not is_resolved(proxy)


def test_tables(proxy_class):
    table = pd.DataFrame({'a': [1, 2], 'b': [3.0, 4.0]})
    proxy = proxy_class(lambda: table)
    assert isinstance(proxy, pd.DataFrame)
    assert proxy['a'].tolist() == [1, 2]
    assert proxy.a.sum() == 3
    assert proxy.loc[0, 'b'] == 3.0
    assert (proxy + 1).equals(table + 1)
    assert (np.sqrt(proxy)).equals(np.sqrt(table))
    assert np.asarray(proxy).shape == (2, 2)
    assert (table + proxy).equals(table * 2)
    assert (table == proxy).all(axis=None)
    assert pd.concat([extract(proxy), table]).shape == (4, 2)
    proxy['c'] = 5
    assert table['c'].tolist() == [5, 5]
