"""What bad input gets: a typed error that names key, store and path, and nothing lost."""

from __future__ import annotations

import errno
import os
import pickle
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxystore.connectors.exceptions import (
    ConnectorClosedError,
    ConnectorConfigError,
    ConnectorError,
    ConnectorKeyError,
    ConnectorOSError,
    ObjectCorruptedError,
)
from proxystore.connectors.file import FileConnector, FileKey
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.connectors.multi import MultiConnector, MultiConnectorError, MultiKey, Policy
from proxystore.factory import SimpleFactory
from proxystore.proxy import Proxy, ProxyResolveError, is_resolved
from proxystore.serialize import SerializationError, deserialize, serialize
from proxystore.store import (
    Store,
    get_store,
    register_store,
    store_registration,
)
from proxystore.store.config import ConnectorConfig, StoreConfig
from proxystore.store.exceptions import (
    NonProxiableTypeError,
    ProxyResolveMissingKeyError,
    StoreExistsError,
)
from tests.support.interpreter import run_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UUID = '6a1f2b9e-2f5c-4d0c-9d57-0f8a3f6f1b11'


@pytest.fixture
def store(store_dir: str) -> Iterator[Store[Any]]:
    with Store('good-name', FileConnector(store_dir), register=True) as store:
        yield store


def said(error: BaseException) -> str:
    """All that a user is shown of an error."""
    return '\n'.join([str(error), *getattr(error, '__notes__', ())])


def files(store_dir: str) -> list[str]:
    return sorted(path.name for path in Path(store_dir).iterdir())


# Unknown kinds.


@pytest.mark.parametrize('kind', ['nope', 'no.such.module.Connector', 'builtins.Nope', ''])
def test_unknown_kind_names_the_known_ones(kind: str) -> None:
    config = StoreConfig(name='s', connector=ConnectorConfig(kind=kind))
    with pytest.raises(ValueError, match='Unknown connector') as caught:
        Store.from_config(config)
    for known in (f'"{kind}"', 'file', 'local', 'multi'):
        assert known in said(caught.value)


@pytest.mark.parametrize('kind', ['EndpointConnector', 'globus'])
def test_kind_that_this_release_lacks_says_so(kind: str) -> None:
    with pytest.raises(ImportError, match=r'does not contain .* yet'):
        ConnectorConfig(kind=kind).get_connector()


@pytest.mark.parametrize(
    ('options', 'named'),
    [
        ({}, 'store_dir'),
        ({'store_dir': '.', 'no_such_option': 1}, 'no_such_option'),
    ],
)
def test_unknown_and_missing_options_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=named) as caught:
        ConnectorConfig(kind='file', options=options).get_connector()
    assert 'FileConnector' in said(caught.value)


def test_ill_typed_option_is_named(store_dir: str) -> None:
    clear: Any = 'yes'
    with pytest.raises(ConnectorConfigError, match=r"option 'clear'.*'yes'.*expected a bool"):
        FileConnector(store_dir, clear=clear)
    assert not Path(store_dir).exists()


# Names of stores.


def test_name_that_is_taken(store: Store[Any]) -> None:
    other = Store('good-name', LocalConnector())
    for attempt in (
        lambda: Store('good-name', LocalConnector(), register=True),
        lambda: register_store(other),
        lambda: store_registration(other).__enter__(),
    ):
        with pytest.raises(StoreExistsError, match='"good-name" already exists'):
            attempt()
    assert get_store('good-name') is store
    other.close()
    assert get_store('good-name') is store


def test_registration_is_undone_if_one_name_is_taken(store: Store[Any]) -> None:
    first, second = Store('first', LocalConnector()), Store('good-name', LocalConnector())
    with pytest.raises(StoreExistsError), store_registration(first, second):
        raise AssertionError
    assert get_store('first') is None
    assert get_store('good-name') is store


# Directories that cannot be used.


@pytest.mark.parametrize('path', ['/proc/proxystore', '/dev/null', '/dev/null/below'])
def test_directory_that_cannot_be_made_is_named(path: str) -> None:
    with pytest.raises(ConnectorOSError, match=path) as caught:
        FileConnector(path)
    assert isinstance(caught.value, OSError)
    assert caught.value.filename == path
    assert caught.value.errno in {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EACCES}


UNPRIVILEGED = """
import ctypes, errno, os, struct, sys
from proxystore.connectors.file import FileConnector
from proxystore.connectors.exceptions import ConnectorOSError
from proxystore.store import Store
store = Store('unwritable', FileConnector(sys.argv[1], clear=False))
key = store.put('before')
os.chmod(sys.argv[1], 0o555)
# Root may write anywhere unless it gives that up.
ctypes.CDLL(None).capset(struct.pack('Ii', 0x20080522, 0), bytes(24))
for attempt in (lambda: store.put('x'), lambda: store.put('x' * 10_000_000),
                lambda: store.put_batch(['a', 'b']), lambda: store.evict(key)):
    try:
        attempt()
    except PermissionError as e:
        assert isinstance(e, ConnectorOSError), type(e)
        assert e.errno == errno.EACCES
        assert sys.argv[1] in str(e), e
        assert 'unwritable' in e.__notes__[0], e.__notes__
        print('refused')
store.cache.evict(key)
print(store.get(key))
"""


def test_unwritable_directory_loses_nothing_and_gets_nothing(store_dir: str) -> None:
    shown = run_program(UNPRIVILEGED, store_dir).stdout
    assert shown == 'refused\n' * 4 + 'before\n'
    assert len(files(store_dir)) == 2


FULL = """
import errno, os, resource, signal, sys
from proxystore.connectors.file import FileConnector
from proxystore.connectors.exceptions import ConnectorOSError
from proxystore.store import Store
store = Store('full', FileConnector(sys.argv[1], clear=False))
key = store.put('before')
# A limit on the size of files stands in for a disk that fills up in the middle of a write.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
large = b'x' * 3_000_000
for attempt in (lambda: store.put(large), lambda: store.put_batch([b'a', large])):
    try:
        attempt()
    except OSError as e:
        assert isinstance(e, ConnectorOSError), type(e)
        assert e.errno in {errno.EFBIG, errno.ENOSPC}, e
        assert sys.argv[1] in str(e), e
        assert 'full' in e.__notes__[0], e.__notes__
        print('refused')
store.cache.evict(key)
print(store.get(key), store.get(store.put('after')))
"""


def test_full_directory_keeps_no_part_of_an_object(store_dir: str) -> None:
    shown = run_program(FULL, store_dir).stdout
    assert shown == 'refused\n' * 2 + 'before after\n'
    assert len(files(store_dir)) == 4, 'the objects before and after, and their markers'


def test_directory_that_went_away_is_named(store: Store[Any], store_dir: str) -> None:
    key = store.put('x')
    for name in files(store_dir):
        (Path(store_dir) / name).unlink()
    Path(store_dir).rmdir()
    assert store.get(key) is None
    assert not store.exists(key)
    store.evict(key)
    with pytest.raises(ConnectorOSError, match=store_dir):
        store.put('y')


# Keys.

FORGED = [
    FileKey('../x'),
    FileKey(f'../{UUID}'),
    FileKey('/etc/passwd'),
    FileKey(f'{UUID}/../x'),
    FileKey(f'{UUID}\0'),
    FileKey(f'{UUID}.ready'),
    FileKey(UUID.upper()),
    FileKey(''),
    FileKey('.'),
    FileKey(3),  # type: ignore[arg-type]
    FileKey(None),  # type: ignore[arg-type]
    FileKey(b'x'),  # type: ignore[arg-type]
    LocalKey(UUID),
    MultiKey('file', FileKey(UUID)),
    (UUID,),
    UUID,
    None,
    3,
]


@pytest.mark.parametrize('key', FORGED, ids=repr)
def test_forged_key_is_refused_and_named(key: Any, store: Store[Any], store_dir: str) -> None:
    beside = Path(store_dir).parent / 'x'
    beside.write_text('not ours')
    (Path(store_dir).parent / 'x.ready').touch()
    kept = store.put('kept')
    before = files(store_dir)
    for attempt in (
        lambda: store.get(key),
        lambda: store.exists(key),
        lambda: store.evict(key),
        lambda: store._set(key, 'x'),
    ):
        with pytest.raises(ConnectorKeyError) as caught:
            attempt()
        assert 'good-name' in said(caught.value)
        assert store_dir in said(caught.value)
        assert repr(key) in said(caught.value)
    with pytest.raises(ProxyResolveError) as resolving:
        len(store.proxy_from_key(key))
    assert isinstance(resolving.value.cause, ConnectorKeyError)
    with pytest.raises(ConnectorKeyError):
        store.connector.get_batch([kept, key])
    assert beside.read_text() == 'not ours'
    assert files(store_dir) == before
    assert store.get(kept) == 'kept'


def test_key_of_another_connector_is_refused() -> None:
    store = Store('local', LocalConnector())
    for key in (FileKey(UUID), UUID, None):
        with pytest.raises(ConnectorKeyError, match='of a LocalConnector') as caught:
            store.get(key)  # type: ignore[arg-type]
        assert '"local"' in said(caught.value)
    multi = Store('multi', MultiConnector({'a': (LocalConnector(), Policy(max_size_bytes=99))}))
    with pytest.raises(ConnectorKeyError):
        multi.get(LocalKey(UUID))  # type: ignore[arg-type]
    with pytest.raises(ConnectorKeyError):
        multi.get(MultiKey('a', FileKey(UUID)))
    with pytest.raises(MultiConnectorError, match="connector_name='b'"):
        multi.get(MultiKey('b', LocalKey(UUID)))
    with pytest.raises(MultiConnectorError, match=r'203 bytes.*a'):
        multi.put(b'x' * 200)


# Objects that cannot travel.


def test_object_that_cannot_be_serialized(store: Store[Any], store_dir: str) -> None:
    lock = threading.Lock()
    for attempt in (
        lambda: store.put(lock),
        lambda: store.put([lock]),
        lambda: store.put_batch(['a', lock]),
        lambda: store.proxy(lock),
        lambda: store.owned_proxy(lock),
        lambda: store.locked_proxy(lock),
        lambda: store.proxy_batch([lock]),
    ):
        with pytest.raises(SerializationError, match='good-name') as caught:
            attempt()
        assert "'_thread.lock'" in repr(caught.value.__cause__)
    assert files(store_dir) == []


@pytest.mark.parametrize('result', [None, 'text', 3, {b'x'}, ['x'], [b'x', 3]])
def test_serializer_that_returns_no_bytes(result: Any, store: Store[Any], store_dir: str) -> None:
    with pytest.raises(TypeError, match='bytes'):
        store.put('x', serializer=lambda _: result)
    assert files(store_dir) == []


def test_serializer_that_raises(store: Store[Any], store_dir: str) -> None:
    def fail(_: Any) -> bytes:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        store.put('x', serializer=fail)
    assert files(store_dir) == []


@pytest.mark.parametrize('data', [b'', b'garbage', b'PK\ngarbage', b'XX\n', b'NP\n\x93NUMPY'])
def test_data_that_cannot_be_deserialized(data: bytes, store: Store[Any]) -> None:
    key = store.put('x', serializer=lambda _: data)
    with pytest.raises(SerializationError, match='good-name') as caught:
        store.get(key)
    assert key.filename in said(caught.value)
    assert 'proxystore.serialize.deserialize' in said(caught.value)
    assert isinstance(caught.value.__cause__, SerializationError)
    proxy = store.proxy_from_key(key, evict=True)
    with pytest.raises(ProxyResolveError) as resolving:
        len(proxy)
    assert isinstance(resolving.value.cause, SerializationError)
    assert store.exists(key), 'what cannot be read is not evicted'
    assert store.get(key, deserializer=bytes) == data


def test_deserializer_that_raises(store: Store[Any]) -> None:
    def fail(_: Any) -> None:
        raise ArithmeticError

    key = store.put('x')
    with pytest.raises(SerializationError, match=r'deserializer=.*fail') as caught:
        store.get(key, deserializer=fail)
    assert isinstance(caught.value.__cause__, ArithmeticError)
    assert key.filename in said(caught.value)
    assert store.get(key) == 'x'


@pytest.mark.parametrize('data', ['text', 3, None, [b'x']])
def test_deserialize_of_no_bytes(data: Any) -> None:
    with pytest.raises(ValueError, match=type(data).__name__):
        deserialize(data)


# Objects that are damaged or not there.


@pytest.mark.parametrize(
    'damage',
    [
        lambda data: data[:-1],
        lambda data: b'',
        lambda data: data + b'x',
        lambda data: data[:5] + bytes([data[5] ^ 1]) + data[6:],
    ],
    ids=['short', 'empty', 'long', 'flipped'],
)
@pytest.mark.parametrize('size', [10, 5_000_000])
def test_damaged_object_is_never_returned(
    damage: Callable[[bytes], bytes], size: int, store: Store[Any], store_dir: str
) -> None:
    key = store.put(b'x' * size)
    other = store.put('other')
    path = Path(store_dir) / key.filename
    path.chmod(0o644)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ObjectCorruptedError, match=key.filename) as caught:
        store.get(key)
    assert str(path) in said(caught.value)
    assert 'good-name' in said(caught.value)
    assert store.get(other) == 'other'


def test_missing_object_is_named(store: Store[Any]) -> None:
    key = store.put('x')
    proxy = store.proxy_from_key(key)
    store.evict(key)
    assert store.get(key) is None
    assert store.get(key, default=3) == 3
    with pytest.raises(ProxyResolveError) as caught:
        str(proxy)
    cause = caught.value.cause
    assert isinstance(cause, ProxyResolveMissingKeyError)
    assert (cause.key, cause.store_name, cause.store_type) == (key, 'good-name', Store)
    for named in (key.filename, 'good-name'):
        assert named in str(cause)
    assert not is_resolved(proxy)


# Proxies that cannot be.


def test_unpicklable_factory_is_named_and_the_proxy_stays_usable() -> None:
    def unpicklable() -> list[int]:
        return [1]

    proxy = Proxy(unpicklable)
    with pytest.raises((AttributeError, pickle.PicklingError), match='unpicklable'):
        pickle.dumps(proxy)
    assert not is_resolved(proxy)
    assert proxy == [1]


def test_unpicklable_deserializer_is_named(store: Store[Any]) -> None:
    def mine(data: bytes) -> Any:
        return deserialize(data)

    proxy = store.proxy([1], deserializer=mine, populate_target=False)
    with pytest.raises((AttributeError, pickle.PicklingError), match='mine'):
        pickle.dumps(proxy)
    assert proxy == [1]


@pytest.mark.parametrize('obj', [None, True, False])
def test_no_proxy_of_singletons(obj: Any, store: Store[Any], store_dir: str) -> None:
    for attempt in (
        lambda: store.proxy(obj),
        lambda: store.proxy_batch([[1], obj]),
        lambda: store.locked_proxy(obj, skip_nonproxiable=False),
        lambda: store.owned_proxy(obj, skip_nonproxiable=False),
    ):
        with pytest.raises(NonProxiableTypeError, match='not proxiable'):
            attempt()
    assert files(store_dir) == []


@pytest.mark.parametrize('factory', [None, 3, 'text', [1]])
def test_factory_that_cannot_be_called(factory: Any) -> None:
    with pytest.raises(TypeError, match='callable'):
        Proxy(factory)


def test_proxy_without_a_factory() -> None:
    with pytest.raises(ProxyResolveError, match='__proxy_factory__'):
        len(Proxy.__new__(Proxy))


def test_failing_factory_leaves_the_proxy_resolvable() -> None:
    answers: list[Any] = [ArithmeticError('not yet'), [1]]

    def factory() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    proxy = Proxy(factory)
    with pytest.raises(ProxyResolveError) as caught:
        len(proxy)
    assert isinstance(caught.value.cause, ArithmeticError)
    assert caught.value.__cause__ is caught.value.cause
    assert proxy == [1]


# Use after close.


def test_use_after_close(store_dir: str) -> None:
    connectors = {
        'file': FileConnector(store_dir),
        'local': LocalConnector(),
        'multi': MultiConnector({'a': (LocalConnector(), Policy())}),
    }
    for name, connector in connectors.items():
        store = Store(f'closed-{name}', connector)
        key = store.put('x')
        store.close()
        store.close()
        for attempt in (
            lambda store=store: store.put('y'),
            lambda store=store, key=key: store.get(key),
            lambda store=store, key=key: store.exists(key),
            lambda store=store, key=key: store.evict(key),
            lambda store=store: store.put_batch(['y']),
            lambda store=store: store.proxy('y'),
        ):
            with pytest.raises(ConnectorClosedError, match='closed') as caught:
                attempt()
            assert f'closed-{name}' in said(caught.value)


def test_connector_errors_survive_pickling(store: Store[Any]) -> None:
    with pytest.raises(ConnectorKeyError) as caught:
        store.get(FileKey('../x'))
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is ConnectorKeyError
    assert isinstance(again, ConnectorError)
    assert said(again) == said(caught.value)


# Configuration files.


@pytest.mark.parametrize(
    ('text', 'named'),
    [
        ('name = "s"\nno_such_field = 1\n[connector]\nkind = "local"', 'no_such_field'),
        ('name = "s"\n[connector]\nkind = "local"\nno_such_field = 1', 'no_such_field'),
        ('name = 1\n[connector]\nkind = "local"', 'name'),
        ('name = "s"\ncache_size = "16"\n[connector]\nkind = "local"', 'cache_size'),
        ('name = "s"\nmetrics = "yes"\n[connector]\nkind = "local"', 'metrics'),
        ('name = "s"\n[connector]\nkind = "local"\noptions = 1', 'options'),
        ('name = "s"', 'connector'),
        ('[connector]\nkind = "local"', 'name'),
        ('name = ', 'TOML'),
    ],
)
def test_config_file_with_a_wrong_field(text: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / 'store.toml'
    path.write_text(text)
    with pytest.raises(ValueError, match=named) as caught:
        StoreConfig.from_toml(path)
    assert str(path) in said(caught.value)


def test_config_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / 'store.toml'
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(ValueError, match=str(path)):
        StoreConfig.from_toml(path)


def test_config_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='no-such'):
        StoreConfig.from_toml(tmp_path / 'no-such.toml')


def test_config_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / 'store.toml'
    Store('s', LocalConnector()).config().write_toml(path)
    before = path.read_text()
    config = Store('s', LocalConnector(), serializer=serialize).config()
    with pytest.raises((TypeError, ValueError)):
        config.write_toml(path)
    assert path.read_text() == before


def test_simple_factories_take_anything() -> None:
    # The border of all this: nothing is refused that is fine.
    for value in ([], 0, '', b'', os.environ):
        assert Proxy(SimpleFactory(value)) == value
