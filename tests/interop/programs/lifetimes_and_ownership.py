"""Objects that are evicted when they are no longer needed, in all the ways there are.

Run as: lifetimes_and_ownership.py DIRECTORY
"""
# ruff: noqa: F821, T201 (names that are deleted later are used in functions before)

from __future__ import annotations

import datetime as dt
import pickle
import sys
import threading
import time
from pathlib import Path
from typing import Any

from proxystore.connectors.file import FileConnector
from proxystore.proxy import ProxyResolveError, extract, is_resolved
from proxystore.store import Store, store_registration
from proxystore.store.lifetimes import (
    ContextLifetime,
    LeaseLifetime,
    StaticLifetime,
    register_lifetime_atexit,
)
from proxystore.store.ref import (
    MutableBorrowError,
    ReferenceInvalidError,
    ReferenceNotOwnedError,
    borrow,
    clone,
    into_owned,
    mut_borrow,
    update,
)
from proxystore.store.scopes import mark_refs_out_of_scope


def attempt(what: str, call: Any) -> None:
    try:
        print(what, '->', call())
    except Exception as e:
        print(what, '!!', type(e).__name__, '|', type(e.__cause__).__name__)


def main(directory: str) -> None:
    store = Store('lives', FileConnector(directory))

    def count() -> int:
        return len(list(Path(directory).glob('*.ready')))

    with store_registration(store):
        print('context')
        with ContextLifetime(store) as lifetime:
            key = store.put('a', lifetime=lifetime)
            proxies = store.proxy_batch([[1], [2], [3]], lifetime=lifetime, populate_target=False)
            locked = store.locked_proxy([4], lifetime=lifetime)
            print(count(), store.exists(key), extract(proxies[0]), lifetime.done())
        print(count(), store.exists(key), lifetime.done(), locked.unlock())
        attempt('closed', lambda: lifetime.add_key(key))
        attempt('resolve', lambda: len(proxies[1]))
        attempt('both', lambda: store.proxy([1], evict=True, lifetime=lifetime))

        print('lease')
        lease = LeaseLifetime(store, expiry=0.2, name='short')
        proxy = store.proxy('value', lifetime=lease, populate_target=False)
        lease.extend(0.1)
        lease.extend(dt.timedelta(milliseconds=1))
        print(count(), lease.done())
        deadline = time.monotonic() + 20
        while not lease.done() and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        print(count(), lease.done())
        attempt('resolve', lambda: str(proxy))
        attempt('extend', lambda: lease.extend(1))

        print('static')
        static = StaticLifetime()
        print(static is StaticLifetime(), static.done(), static.name)
        attempt('no store', lambda: static.add_key(store.put(1)))
        store.proxy('static', lifetime=static)
        print(count())

        print('evict')
        once = store.proxy([1, 2], evict=True, populate_target=False)
        before = count()
        print(list(once), before - count(), list(once))

        print('ownership')
        owner = store.owned_proxy({'a': 1})
        first, second = borrow(owner), borrow(owner)
        attempt('mut while borrowed', lambda: mut_borrow(owner))
        attempt('update while borrowed', lambda: update(owner))
        mark_refs_out_of_scope(first, second)
        attempt('use out of scope', lambda: len(first))
        mutable = mut_borrow(owner)
        attempt('borrow while mut', lambda: borrow(owner))
        mutable['b'] = 2
        update(mutable)
        del mutable
        print(store.get(owner.__proxy_factory__.key), dict(owner))
        twin = clone(owner)
        print(type(twin).__name__, dict(twin), count() - before)
        attempt('borrow of a ref', lambda: borrow(borrow(twin)))
        moved = pickle.loads(pickle.dumps(twin))
        attempt('use after move', lambda: len(twin))
        print(dict(moved), is_resolved(moved))
        del moved, twin
        print(count() - before)
        del owner
        print(count() - before)
        into = into_owned(store.proxy('was plain'))
        attempt('twice', lambda: into_owned(into))
        print(type(into).__name__, str(into))
        del into
        print(count() - before)
        print(
            issubclass(MutableBorrowError, Exception),
            issubclass(ReferenceInvalidError, Exception),
            issubclass(ReferenceNotOwnedError, Exception),
            issubclass(ProxyResolveError, Exception),
        )
        at_exit = ContextLifetime(store)
        at_exit.add_key(store.put(1))
        register_lifetime_atexit(at_exit, close_stores=False)
        print('left for exit:', count())


if __name__ == '__main__':
    main(sys.argv[1])
