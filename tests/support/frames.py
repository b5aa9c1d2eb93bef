"""Frames, as the tests of them make them."""

from __future__ import annotations

import dataclasses
from typing import Any

from proxystore.serialize import deserialize, serialize_buffers

#: Bytes of buffers from which on an object is framed.
LARGE = 64 * 1024
#: Elements of an array that is.
N = 20_000


@dataclasses.dataclass
class Sample:
    data: Any
    label: str
    more: Any = None


def framed(obj: Any, *, checksums: bool = False) -> list[Any]:
    """The object, serialized as stores do that are not compatible."""
    return serialize_buffers(obj, compatible=False, checksums=checksums)


def is_frame(obj: Any) -> bool:
    return b''.join(framed(obj)).startswith(b'PF\n')


def round_trip(obj: Any) -> Any:
    """The object, through a frame with checksums and one without, if it has one."""
    verified = deserialize(b''.join(framed(obj, checksums=True)), verify=True)
    plain = deserialize(b''.join(framed(obj)))
    assert type(verified) is type(plain)
    return plain


def same_array(actual: Any, expected: Any) -> bool:
    return (
        type(actual) is type(expected)
        and actual.dtype == expected.dtype
        and actual.shape == expected.shape
        and actual.tobytes() == expected.tobytes()
        and actual.flags.writeable
    )
