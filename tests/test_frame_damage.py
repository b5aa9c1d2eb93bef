"""Frames that were changed, cut or forged, and headers that are completed late."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore import _native
from proxystore.connectors.exceptions import ObjectCorruptedError
from proxystore.serialize import (
    CorruptedObjectError,
    MissingChecksumError,
    SerializationError,
    deserialize,
    serialize,
)
from tests.support.frames import LARGE, N, framed, same_array


@pytest.fixture(scope='module')
def whole() -> bytes:
    return b''.join(
        framed([np.arange(9000, dtype='u1'), np.arange(LARGE, dtype='u1')], checksums=True)
    )


def test_every_flipped_byte_of_the_header_is_noticed(whole):
    length = len(
        framed([np.arange(9000, dtype='u1'), np.arange(LARGE, dtype='u1')], checksums=True)[0]
    )
    for position in range(length):
        for bits in (1, 128):
            damaged = bytearray(whole)
            damaged[position] ^= bits
            with pytest.raises(SerializationError) as caught:
                deserialize(damaged)
            if position > 3:
                assert isinstance(caught.value, CorruptedObjectError)
                assert isinstance(caught.value, ObjectCorruptedError)


@pytest.mark.parametrize('position', [-1, -LARGE, -LARGE - 200, 4000])
def test_a_flipped_byte_of_a_buffer_is_noticed_if_looked_for(whole, position):
    damaged = bytearray(whole)
    damaged[position] ^= 1
    for verify in (None, True):
        with pytest.raises(CorruptedObjectError, match='checksum does not match'):
            deserialize(damaged, verify=verify)
    assert deserialize(damaged, verify=False) is not None


def test_what_is_cut_or_longer_is_noticed(whole):
    for length in [*range(300), 5000, 9500, len(whole) - 1]:
        with pytest.raises(SerializationError):
            deserialize(whole[:length])
    with pytest.raises(CorruptedObjectError, match=f'should have {len(whole)} bytes'):
        deserialize(whole + b'x')


@pytest.mark.parametrize('data', [serialize(5), serialize(b'x'), b''.join(framed(np.arange(N)))])
def test_what_has_no_checksums_is_refused_if_they_are_demanded(data):
    with pytest.raises(MissingChecksumError, match='carries no checksum'):
        deserialize(data, verify=True)


def test_a_newer_version_is_named(whole):
    newer = bytearray(whole)
    newer[3] = 2
    with pytest.raises(SerializationError, match='version 2') as caught:
        deserialize(newer)
    assert not isinstance(caught.value, CorruptedObjectError)


@given(st.binary(max_size=300))
def test_any_bytes_give_an_error(body):
    with pytest.raises(SerializationError):
        deserialize(b'PF\n' + body)


@pytest.mark.parametrize(
    ('kind', 'stream', 'buffers'),
    [
        (1, b'', []),
        (1, b'\x80\x05\x97.', []),
        (1, b'\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\x7f', []),
        (2, b'', []),
        (3, b'', [b'\xff']),
        (5, pickle.dumps((np.dtype('i8'), (10,), None)), [bytes(79)]),
        (5, pickle.dumps((np.dtype('i8'), (2**62, 2**62), None)), [bytes(79)]),
        (5, pickle.dumps((np.dtype('i8'), (-1,), None)), [bytes(79)]),
        (5, pickle.dumps((np.dtype(object), (2,), None)), [bytes(16)]),
        (5, pickle.dumps((np.dtype('i8'), (2,), (5,))), [bytes(16)]),
        (5, b'', [bytes(16)]),
        (6, b'', []),
        (6, b'\0\xff', [b'']),
        (7, b'', [b'x']),
    ],
)
def test_forged_frames_are_errors(kind, stream, buffers):
    data = b''.join(_native.make_frame(kind, stream, [], buffers, True))
    with pytest.raises(SerializationError):
        deserialize(data)
    long = b''.join(_native.make_frame(kind, b'', [stream, b''], buffers, True))
    with pytest.raises(SerializationError):
        deserialize(long)


def test_frames_of_no_known_kind_cannot_be_made():
    with pytest.raises(ValueError, match='kind 9'):
        _native.make_frame(9, b'', [], [], False)


def test_a_header_completes_itself_when_it_is_read():
    data = np.arange(N)
    parts = framed(data, checksums=True)
    assert type(parts[0]) is _native.FrameHeader
    assert memoryview(parts[0]).readonly
    assert bytes(parts[0]) == bytes(memoryview(parts[0])) == bytes(parts[0])
    assert len(bytes(parts[0])) == len(parts[0])
    assert same_array(deserialize(b''.join([bytes(part) for part in parts]), verify=True), data)


def test_a_header_with_buffers_that_are_not_its_own(whole):
    parts = framed([np.arange(9000), np.arange(N)], checksums=True)
    for wrong in (parts[:-1], [*parts, b'x'], [parts[0]], [parts[0], *parts]):
        with pytest.raises(CorruptedObjectError):
            deserialize(_native.join_buffers(wrong))
    others = framed([np.zeros(9000, 'i8'), np.zeros(N, 'i8')], checksums=True)
    got = deserialize(_native.join_buffers([parts[0], *others[1:]]), verify=True)
    assert not got[0].any()


def test_each_join_has_the_checksums_of_what_it_copied():
    data = np.zeros(N)
    parts = framed(data, checksums=True)
    for value in range(3):
        data[:] = value
        assert (deserialize(_native.join_buffers(parts), verify=True) == value).all()
