"""Checksums, copies and formats, as a store's options say; what a store does not cache."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxystore.connectors.exceptions import ObjectCorruptedError
from proxystore.connectors.file import FileConnector, FileKey
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.connectors.multi import MultiConnector, Policy
from proxystore.proxy import get_factory
from proxystore.serialize import (
    CorruptedObjectError,
    MissingChecksumError,
    SerializationError,
    takes_buffers,
)
from proxystore.store import Store
from proxystore.store.config import StoreConfig

N = 20_000


class Plain:
    """Connector of somebody else, which says nothing about itself and takes bytes only."""

    def __init__(self) -> None:
        self.local = LocalConnector()

    def put(self, obj: bytes) -> LocalKey:
        assert type(obj) is bytes
        return self.local.put(obj)

    def put_batch(self, objs: list[bytes]) -> list[LocalKey]:
        return [self.put(obj) for obj in objs]

    def get(self, key: LocalKey) -> Any:
        return self.local.get(key)

    def get_batch(self, keys: list[LocalKey]) -> list[Any]:
        return [self.get(key) for key in keys]

    def exists(self, key: LocalKey) -> bool:
        return self.local.exists(key)

    def evict(self, key: LocalKey) -> None:
        self.local.evict(key)

    def close(self) -> None:
        self.local.close()

    def config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Plain:
        return cls(**config)


def has_sums(data: Any) -> bool:
    return bytes(data[:3]) == b'PF\n' and bytes(data[5:6]) == b'\x01'


def flipped(data: Any, position: int = -1) -> bytes:
    damaged = bytearray(data)
    damaged[position] ^= 1
    return bytes(damaged)


@pytest.fixture
def store_of(store_dir: str):
    made = {
        'local': LocalConnector,
        'file': lambda: FileConnector(store_dir),
        'plain': Plain,
        'multi of memory': lambda: MultiConnector({'l': (LocalConnector(), Policy())}),
        'multi with plain': lambda: MultiConnector(
            {'l': (LocalConnector(), Policy()), 'p': (Plain(), Policy())}
        ),
    }
    stores: list[Store[Any]] = []

    def make(kind: str, **options: Any) -> Store[Any]:
        options.setdefault('cache_size', 0)
        stores.append(Store('store', made[kind](), **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


KINDS = ('local', 'file', 'plain', 'multi of memory', 'multi with plain')
NEEDING = ('plain', 'multi with plain')


@pytest.mark.parametrize('kind', KINDS)
def test_checksums_are_written_where_nobody_else_does(store_of, kind):
    store = store_of(kind)
    key = store.put(np.arange(N))
    assert has_sums(store.connector.get(key)) is (kind in NEEDING)
    assert (store.get(key) == np.arange(N)).all()
    small = store.put([np.arange(3)])
    assert bytes(store.connector.get(small)[:3]) == b'PK\n'


@pytest.mark.parametrize('kind', KINDS)
def test_a_store_that_verifies_writes_them_always(store_of, kind):
    store = store_of(kind, verify=True)
    for obj in (np.arange(N), b'bytes', 'text', [1], {'a': np.arange(N)}, None, lambda: 1):
        key = store.put(obj)
        data = store.connector.get(key)
        assert has_sums(data)
        got = store.get(key)
        if not callable(obj):
            assert repr(got) == repr(obj)


@pytest.mark.parametrize('kind', KINDS)
def test_a_store_that_does_not_verify_writes_none(store_of, kind):
    store = store_of(kind, verify=False)
    assert not has_sums(store.connector.get(store.put(np.arange(N))))


@pytest.mark.parametrize('position', [-1, -N, 200, 100, 70, 30, 4])
def test_a_flipped_byte_raises(store_of, position):
    for store in (store_of('plain'), store_of('local', verify=True)):
        data = store.connector.get(store.put({'a': np.arange(N), 'b': np.arange(N)}))
        key = store.connector.put(flipped(data, position))
        with pytest.raises(SerializationError) as caught:
            store.get(key)
        assert isinstance(caught.value, CorruptedObjectError)
        assert isinstance(caught.value, ObjectCorruptedError)
        assert '"store"' in str(caught.value)
        assert str(key) in str(caught.value)
        assert isinstance(caught.value.__cause__, CorruptedObjectError)


def test_a_flipped_byte_goes_unseen_if_nobody_looks(store_of):
    store = store_of('local', verify=False)
    data = store_of('local', verify=True).connector
    writer = Store('writer', data, verify=True)
    damaged = flipped(data.get(writer.put(np.arange(N, dtype='u1').repeat(10))))
    got = store.get(store.connector.put(damaged))
    assert got[-1] == (N - 1) % 256 ^ 1


@pytest.mark.parametrize('obj', [np.arange(N), [1], b'x'])
def test_what_has_no_checksums_is_refused_by_a_store_that_verifies(obj):
    connector = LocalConnector()
    key = Store('producer', connector).put(obj)
    store = Store('consumer', connector, verify=True)
    with pytest.raises(MissingChecksumError) as caught:
        store.get(key)
    assert isinstance(caught.value, SerializationError)
    assert '"consumer"' in str(caught.value)
    assert str(key) in str(caught.value)
    assert 'verify=True' in str(caught.value.__cause__)


def test_compatible_and_verifying_contradict_each_other():
    with pytest.raises(ValueError, match='no checksums'):
        Store('store', LocalConnector(), compatible=True, verify=True)


@pytest.mark.parametrize('kind', KINDS)
def test_a_compatible_store_writes_upstream_formats(store_of, kind):
    store = store_of(kind, compatible=True)
    for obj, head in ((np.arange(N), b'NP\n'), ([np.arange(N)], b'PK\n'), (b'x', b'BS\n')):
        key = store.put(obj)
        assert bytes(store.connector.get(key)[:3]) == head
        assert repr(store.get(key)) == repr(obj)


# --- Serializers of the user's --------------------------------------------------------------------


@takes_buffers
def view_of(data: Any) -> Any:
    return bytes(data), type(data)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('verify', [None, True, False])
def test_a_serializer_may_return_several_buffers(store_of, kind, verify):
    store = store_of(kind, verify=verify)
    parts = [b'ab', bytearray(b'c'), memoryview(b'def')]
    for made in (parts, tuple(parts), b'abcdef'):
        key = store.put(None, serializer=lambda _, made=made: made)
        assert store.get(key, deserializer=lambda data: data) == b'abcdef'
        assert store.get(key, deserializer=view_of)[0] == b'abcdef'
        assert has_sums(store.connector.get(key)) is (verify is True)


def test_what_a_serializer_made_is_verified(store_of):
    store = store_of('local', verify=True)
    data = store.connector.get(store.put(None, serializer=lambda _: b'x' * 100))
    damaged = store.connector.put(flipped(data))
    with pytest.raises(CorruptedObjectError):
        store.get(damaged, deserializer=bytes)
    with pytest.raises(SerializationError, match='Failed to deserialize') as caught:
        store.get(store.connector.put(bytes(data)))
    assert 'deserializer' in str(caught.value.__cause__.__cause__)
    raw = store.connector.put(b'x' * 100)
    with pytest.raises(MissingChecksumError):
        store.get(raw, deserializer=bytes)


def test_a_deserializer_is_given_what_only_looks_like_a_frame(store_of):
    store = store_of('local')
    for data in (b'PF\n', b'PF\nrest', b'PF\n\x01' + bytes(60)):
        key = store.put(None, serializer=lambda _, data=data: data)
        assert store.get(key, deserializer=lambda data: data) == data


# --- Configurations -------------------------------------------------------------------------------


def test_options_stand_in_the_configuration_only_if_they_are_set(tmp_path: Path):
    plain = Store('store', LocalConnector()).config()
    assert 'verify' not in plain.__getstate__()['__dict__']
    assert 'compatible' not in plain.model_dump()
    plain.write_toml(tmp_path / 'plain.toml')
    assert 'compatible' not in (tmp_path / 'plain.toml').read_text()
    for options in ({'verify': True}, {'verify': False}, {'compatible': True}):
        config = Store('store', LocalConnector(), **options).config()
        config.write_toml(tmp_path / 'store.toml')
        for again in (
            config,
            pickle.loads(pickle.dumps(config)),
            StoreConfig.from_toml(tmp_path / 'store.toml'),
            StoreConfig.model_validate(config.model_dump()),
        ):
            made = Store.from_config(again)
            assert made.config() == config
            assert {name: getattr(made.config(), name) for name in options} == options
    again = pickle.loads(pickle.dumps(plain))
    assert (again, again.verify, again.compatible) == (plain, None, False)


@pytest.mark.parametrize('options', [{}, {'verify': True}, {'verify': False}, {'compatible': True}])
def test_proxies_take_the_options_along(store_dir, options, upstream):
    with Store('options', FileConnector(store_dir), register=True, **options) as store:
        proxy = store.proxy([1, 2], populate_target=False)
        factory = get_factory(pickle.loads(pickle.dumps(proxy)))
        assert factory.store_config.verify == options.get('verify')
        assert factory.store_config.compatible == options.get('compatible', False)
        # Upstream makes the store all the same, and reads what it can.
        if not options.get('verify'):
            assert upstream.run(
                'import pickle; result = list(pickle.loads(data)) == [1, 2]',
                data=pickle.dumps(proxy),
            )


# --- Copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('metrics', [False, True])
def test_copies_can_be_had_from_every_connector(store_of, kind, metrics):
    store = store_of(kind, metrics=metrics, cache_size=4)
    key = store.put(np.arange(N * 10))
    first, second = store.get(key, copy=True), store.get(key, copy=True)
    first[:] = 0
    assert (second == np.arange(N * 10)).all()
    assert second.flags.writeable
    assert not store.is_cached(key)
    cached = store.get(key)
    assert store.is_cached(key)
    assert store.get(key, copy=True) is not cached
    assert store.get(key) is cached


def mapped_regions(path: str) -> int:
    return sum(path in line for line in Path('/proc/self/maps').read_text().splitlines())


def test_a_copy_of_a_mapped_object_is_no_view():
    directory = f'/dev/shm/proxystore-test-{os.getpid()}'
    with Store('store', FileConnector(directory), cache_size=0, metrics=True) as store:
        key = store.put(np.arange(N * 10))
        view = store.get(key)
        assert mapped_regions(directory) == 1
        copy = store.get(key, copy=True)
        assert mapped_regions(directory) == 1
        del view
        assert mapped_regions(directory) == 0
        assert (copy == np.arange(N * 10)).all()
        assert type(key) is FileKey


# --- Sources that change --------------------------------------------------------------------------


def test_what_changes_while_it_is_put_verifies_or_is_refused(store_of):
    source = np.zeros(1 << 20, dtype='u1')
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            source[:] += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        store = store_of('plain')
        for _ in range(20):
            # Summed while it is copied: what was stored is what was summed.
            store.get(store.put(source))
        native = store_of('file', verify=True)
        for _ in range(20):
            key = native.put(source)
            try:
                native.get(key)
            except CorruptedObjectError:
                continue
    finally:
        done.set()
        thread.join()
