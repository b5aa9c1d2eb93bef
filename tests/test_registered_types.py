"""Serializers that users register for types of their own."""

from __future__ import annotations

import array
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from proxystore.serialize import (
    SerializationError,
    deserialize,
    register_serializer,
    unregister_serializer,
)
from tests.support.frames import N, Sample, framed, is_frame, round_trip


class Matrix:
    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce__(self) -> Any:
        msg = 'not to be pickled'
        raise TypeError(msg)


NAME = f'{Matrix.__module__}.Matrix'


@pytest.fixture
def registered():
    register_serializer(NAME, lambda matrix: matrix.data, lambda data: Matrix(np.frombuffer(data)))
    yield
    unregister_serializer(NAME)


@pytest.mark.usefixtures('registered')
@pytest.mark.parametrize('size', [1, 100, 100_000])
def test_registered_types(size):
    data = np.arange(size * 1.0)
    assert is_frame(Matrix(data))
    obj = {'a': [Matrix(data), Sample(Matrix(data), 'x')], 'b': data}
    got = round_trip(obj)
    for matrix in (round_trip(Matrix(data)), got['a'][0], got['a'][1].data):
        assert type(matrix) is Matrix
        assert (matrix.data == data).all()
    if size == 100_000:
        assert round_trip(Matrix(data)).data.flags.writeable
        assert sum(map(len, framed(Matrix(data))[:1])) < 200


def test_a_registered_type_may_have_several_buffers():
    register_serializer(NAME, lambda m: [b'head', m.data], lambda parts: Matrix(parts))
    try:
        for obj in (Matrix(np.arange(N)), [Matrix(np.arange(N))]):
            got = round_trip(obj)
            head, data = (got[0] if isinstance(got, list) else got).data
            assert bytes(head) == b'head'
            assert (np.frombuffer(data, 'i8') == np.arange(N)).all()
    finally:
        unregister_serializer(NAME)


def test_an_unregistered_type_is_named():
    register_serializer(NAME, lambda m: m.data, Matrix)
    alone, nested = (b''.join(framed(obj)) for obj in (Matrix(b'x'), [Matrix(b'x')]))
    unregister_serializer(NAME)
    unregister_serializer(NAME)
    for data in (alone, nested):
        with pytest.raises(SerializationError, match=r'register_serializer') as caught:
            deserialize(data)
        assert NAME in str(caught.value)
    with pytest.raises(SerializationError):
        framed(Matrix(b'x'))


@pytest.mark.usefixtures('registered')
def test_a_type_is_registered_once():
    with pytest.raises(ValueError, match=NAME):
        register_serializer(NAME, bytes, bytes)


@pytest.mark.parametrize('result', [None, 'text', [b'x', 5]])
def test_a_registered_serializer_that_returns_no_buffers(result):
    register_serializer(NAME, lambda m: result, Matrix)
    try:
        for obj in (Matrix(1), [Matrix(1)]):
            with pytest.raises(SerializationError) as caught:
                framed(obj)
            assert 'bytes-like' in str(caught.value.__cause__) or 'pickle' in str(
                caught.value.__cause__
            )
    finally:
        unregister_serializer(NAME)


def test_any_buffer_will_do_for_a_registered_type():
    values = array.array('d', [1.0, 2.0])
    register_serializer(NAME, lambda m: values, lambda data: np.frombuffer(data).tolist())
    try:
        assert round_trip(Matrix(None)) == [1.0, 2.0]
    finally:
        unregister_serializer(NAME)


def test_registering_imports_nothing():
    code = (
        'import sys, proxystore.serialize as s\n'
        's.register_serializer("decimal.Decimal", lambda d: str(d).encode(), print)\n'
        's.register_serializer("no.such.Class", bytes, bytes)\n'
        'assert "decimal" not in sys.modules, "imported"\n'
        's.serialize_buffers([1], compatible=False)\n'
        'from decimal import Decimal\n'
        'data = b"".join(s.serialize_buffers([Decimal(5)], compatible=False))\n'
        's.deserialize(data)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "b'5'" or 'memory at' in done.stdout
