"""Random UUIDs as text."""

from __future__ import annotations

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

from proxystore.utils._uuid import random_uuid


def test_is_a_random_uuid_in_canonical_form():
    for _ in range(600):
        text = random_uuid()
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert parsed.version == 4
        assert parsed.variant == uuid.RFC_4122


def test_every_bit_but_those_of_version_and_variant_varies():
    values = [uuid.UUID(random_uuid()).int for _ in range(600)]
    constant = [bit for bit in range(128) if len({value >> bit & 1 for value in values}) == 1]
    assert constant == [62, 63, 76, 77, 78, 79]


def test_threads_get_different_ones():
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: random_uuid(), range(5000)))
    assert len(set(found)) == len(found)


def test_a_forked_child_gets_different_ones():
    random_uuid()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, '\n'.join(random_uuid() for _ in range(300)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        theirs = file.read().split()
    assert os.waitpid(child, 0)[1] == 0
    assert len(theirs) == 300
    assert not {random_uuid() for _ in range(300)} & set(theirs)
