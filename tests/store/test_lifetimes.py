"""Objects that are evicted together when something ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone

import pytest

from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.proxy import Proxy
from proxystore.store import Store, get_store
from proxystore.store.exceptions import ProxyStoreFactoryError
from proxystore.store.lifetimes import (
    ContextLifetime,
    LeaseLifetime,
    Lifetime,
    StaticLifetime,
    register_lifetime_atexit,
)
from proxystore.store.utils import get_key

FAR = 3600.0


@pytest.fixture
def store():
    with Store('store', LocalConnector(), register=True) as store:
        yield store


def wait(lifetime):
    """Wait until a lease has expired and its objects are gone."""
    lifetime._timer.join(30)
    assert lifetime.done()


def test_objects_go_when_the_block_ends(store):
    with ContextLifetime(store, name='scope') as lifetime:
        assert isinstance(lifetime, Lifetime)
        assert repr(lifetime) == f'Lifetime(name=scope, store={store})'
        keys = [
            store.put(1, lifetime=lifetime),
            *store.put_batch([2, 3], lifetime=lifetime),
            get_key(store.proxy([4], lifetime=lifetime)),
            *map(get_key, store.proxy_batch([5, 6], lifetime=lifetime)),
            get_key(store.proxy_from_key(store.put(7), lifetime=lifetime)),
            get_key(store.locked_proxy([8], lifetime=lifetime).unlock()),
        ]
        added, proxy = store.put(9), store.proxy([10])
        lifetime.add_key(added)
        lifetime.add_proxy(proxy)
        keys += [added, get_key(proxy)]
        other = store.put(11)
        assert not lifetime.done()
        assert all(map(store.exists, keys))
    assert lifetime.done()
    assert not any(map(store.exists, keys))
    assert store.exists(other)


def test_names_are_random():
    store = Store('store', LocalConnector())
    assert ContextLifetime(store).name != ContextLifetime(store).name


def test_objects_go_when_the_body_raises(store):
    with pytest.raises(KeyError), ContextLifetime(store) as lifetime:
        {}[store.put(1, lifetime=lifetime)]
    assert store.connector._store == {}


@pytest.mark.parametrize('make', [ContextLifetime, lambda store: LeaseLifetime(store, FAR)])
def test_ended_lifetime_takes_no_objects(store, make):
    lifetime = make(store)
    lifetime.close()
    lifetime.close()
    for use in (lambda: lifetime.add_key(('x',)), lambda: lifetime.add_proxy(store.proxy([1]))):
        with pytest.raises(RuntimeError, match='Lifetime has ended'):
            use()


def test_proxy_that_no_store_made(store):
    for lifetime in (ContextLifetime(store), StaticLifetime()):
        with pytest.raises(ProxyStoreFactoryError):
            lifetime.add_proxy(Proxy(lambda: 1))


def test_close_closes_the_store_when_told(store):
    ContextLifetime(store).close(close_stores=True)
    assert get_store('store') is None


def test_one_object_that_cannot_be_evicted_keeps_no_other(store, monkeypatch):
    lifetime = ContextLifetime(store)
    keys = [store.put(i, lifetime=lifetime) for i in range(5)]
    evict = store.connector.evict

    def fail(key):
        if key == keys[2]:
            raise OSError('broken')
        evict(key)

    monkeypatch.setattr(store.connector, 'evict', fail)
    with pytest.raises(OSError, match='broken'):
        lifetime.close()
    assert [store.exists(key) for key in keys] == [False, False, True, False, False]
    assert lifetime.done()


def test_store_closed_before_its_lifetime(store_dir):
    store = Store('file', FileConnector(store_dir), register=True)
    lifetime = ContextLifetime(store)
    store.put(1, lifetime=lifetime)
    store.close()
    lifetime.close()
    assert lifetime.done()


@pytest.mark.parametrize(
    'expiry',
    [0.02, timedelta(seconds=0.02), -1, timedelta(-1), lambda: datetime.now()],
)
def test_lease_expires(store, expiry):
    lease = LeaseLifetime(store, expiry() if callable(expiry) else expiry)
    try:
        key = store.put(1, lifetime=lease)
    except RuntimeError:
        key = None
    wait(lease)
    assert key is None or not store.exists(key)
    with pytest.raises(RuntimeError, match='Lifetime has ended'):
        lease.extend(1)


def test_lease_of_an_aware_time(store):
    now = datetime.now(timezone(timedelta(hours=5)))
    with LeaseLifetime(store, now + timedelta(hours=1)) as lease:
        assert lease._expiry == pytest.approx(time.time() + 3600, abs=5)
        assert not lease.done()


def test_lease_ends_early(store):
    lease = LeaseLifetime(store, FAR)
    key = store.put(1, lifetime=lease)
    lease.close()
    assert lease.done()
    assert not store.exists(key)
    lease._timer.join(30)
    assert not lease._timer.is_alive()


def test_relative_extension_adds_and_absolute_one_sets(store):
    with LeaseLifetime(store, FAR) as lease:
        end = lease._expiry
        lease.extend(10)
        lease.extend(timedelta(seconds=5))
        assert lease._expiry == end + 15
        later = datetime.now() + timedelta(days=1)
        lease.extend(later)
        assert lease._expiry == later.timestamp()


def test_extension_keeps_the_lease_alive(store):
    lease = LeaseLifetime(store, 0.05)
    key = store.put(1, lifetime=lease)
    lease.extend(FAR)
    lease._timer.join(0.2)
    assert not lease.done()
    assert store.exists(key)
    lease.extend(datetime.now())
    wait(lease)
    assert not store.exists(key)


@pytest.mark.parametrize('expiry', ['5', None, [1]])
def test_expiry_of_another_type_is_refused(store, expiry):
    with pytest.raises(TypeError, match='must be a datetime, a timedelta or seconds'):
        LeaseLifetime(store, expiry)
    with LeaseLifetime(store, FAR) as lease, pytest.raises(TypeError):
        lease.extend(expiry)


def test_lease_that_cannot_evict_says_so(store, monkeypatch, caplog):
    def fail(_):
        raise OSError('broken')

    lease = LeaseLifetime(store, FAR)
    store.put(1, lifetime=lease)
    monkeypatch.setattr(store.connector, 'evict', fail)
    lease.extend(datetime.now())
    wait(lease)
    assert 'not all could be evicted' in caplog.text


def test_lease_thread_is_a_daemon(store):
    with LeaseLifetime(store, FAR, name='lease') as lease:
        assert lease._timer.daemon
        assert lease._timer in threading.enumerate()


def run(code):
    return subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=60, check=True
    )


def test_exit_does_not_wait_for_a_lease():
    done = run("""
from proxystore.connectors.local import LocalConnector
from proxystore.store import Store
from proxystore.store.lifetimes import LeaseLifetime
store = Store('store', LocalConnector())
store.put(1, lifetime=LeaseLifetime(store, 3600))
""")
    assert done.stderr == ''


def test_static_lifetime_is_that_of_the_process(tmp_path):
    done = run(f"""
import atexit, os
@atexit.register
def check():
    print(sorted(os.listdir({str(tmp_path)!r})), lifetime.done(), get_store('first'))
from proxystore.connectors.file import FileConnector
from proxystore.store import Store, get_store
from proxystore.store.lifetimes import StaticLifetime
lifetime = StaticLifetime()
assert lifetime is StaticLifetime()
stores = [
    Store(name, FileConnector({str(tmp_path)!r} + '/' + name), register=True)
    for name in ('first', 'second')
]
key = stores[0].put(1, lifetime=lifetime)
proxy = stores[1].proxy([2], lifetime=lifetime)
other = stores[1].proxy([3])
lifetime.add_proxy(other)
lifetime.add_key(stores[0].put(4), store=stores[0])
assert not lifetime.done() and stores[0].exists(key)
""")
    assert done.stderr == ''
    # Its stores are closed, and so their directories gone, before what was registered earlier runs.
    assert done.stdout == '[] True None\n'


def test_static_lifetime_needs_the_store():
    done = run("""
from proxystore.store.lifetimes import StaticLifetime
from proxystore.connectors.local import LocalConnector
from proxystore.store import Store
lifetime = StaticLifetime()
try:
    lifetime.add_key(('x',))
except ValueError as error:
    print(error)
store = Store('store', LocalConnector())
key = store.put(1, lifetime=lifetime)
lifetime.close()
lifetime.close()
assert lifetime.done() and not store.exists(key)
try:
    StaticLifetime().add_key(key, store=store)
except RuntimeError as error:
    print(error)
""")
    assert done.stdout == (
        'The StaticLifetime requires the store parameter.\n'
        'Lifetime has ended. Cannot use this method.\n'
    )


def test_register_lifetime_atexit(store):
    lifetime = ContextLifetime(store)
    key = store.put(1, lifetime=lifetime)
    callback = register_lifetime_atexit(lifetime)
    callback()
    assert lifetime.done()
    assert get_store('store') is None
    assert key not in store.connector._store
    callback()


def test_forked_child_leaves_the_lifetimes_of_its_parent_alone(tmp_path):
    done = run(f"""
import os, sys
from proxystore.connectors.file import FileConnector
from proxystore.store import Store
from proxystore.store.lifetimes import ContextLifetime, StaticLifetime, register_lifetime_atexit
store = Store('store', FileConnector({str(tmp_path / 'store')!r}), register=True)
context = ContextLifetime(store)
register_lifetime_atexit(context)
keys = [store.put(1, lifetime=StaticLifetime()), store.put(2, lifetime=context)]
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.write(write, store.put(3, lifetime=StaticLifetime()).filename.encode())
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
assert [store.get(key) for key in keys] == [1, 2]
assert not store.exists(type(keys[0])(os.read(read, 100).decode()))
""")
    assert done.stderr == ''
    assert not (tmp_path / 'store').exists()
