"""What becomes of the objects of owners: they are evicted with them, at the latest at exit."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import proxystore.store

if TYPE_CHECKING:
    from proxystore.store.factory import StoreFactory
    from proxystore.store.ref import OwnedProxy

__all__ = ['Finalizer', 'evict']

logger = logging.getLogger(__name__)

# Seconds that the exit of the interpreter waits for the objects of the owners
# that are left to be evicted.
_EXIT_PATIENCE = 5.0

# This version starts no threads once the interpreter has begun to end.
_NO_THREADS_AT_EXIT = sys.version_info[:2] == (3, 12)

# Attributes of a proxy are those of its target, its own are reached like this.
_get = object.__getattribute__

# Held while the thread that waits for the exit is started. Reentrant: the
# collector may run anything meanwhile.
_starting = threading.RLock()


class Finalizer:
    """Evicts the object of an owner that is left when the interpreter exits.

    Args:
        owner: Owner, which is held weakly.

    Attributes:
        outlived: Whether the owner is gone, but some of its borrows are not yet.
    """

    def __init__(self, owner: OwnedProxy[Any]) -> None:
        self.owner = weakref.ref(owner)
        self.process = os.getpid()
        self.outlived = False
        _owners[id(self)] = self
        if _NO_THREADS_AT_EXIT:
            _waiting_thread()

    @property
    def responsible(self) -> bool:
        """Whether the owner was made in this process, and the exit has not evicted its object.

        After a fork the owner is the parent's: its copy in the child evicts nothing.
        """
        return self.process == os.getpid() and id(self) in _owners

    def done(self) -> None:
        """Note that the owner is about to evict its object, or has given it away."""
        _owners.pop(id(self), None)


_owners: dict[int, Finalizer] = {}


def _evict_owned() -> None:
    """Evict the objects of the owners that are left, within a time limit."""
    factories: list[StoreFactory[Any, Any]] = []
    for finalizer in list(_owners.values()):
        owner = finalizer.owner()
        if owner is not None and finalizer.responsible and _get(owner, '__proxy_valid__'):
            factories.append(_get(owner, '__proxy_factory__'))
    _owners.clear()
    if not factories:
        return

    _left.put(factories)
    try:
        thread = _waiting_thread() if _NO_THREADS_AT_EXIT else _new_thread()
    except RuntimeError:
        logger.warning('%d owned objects are left: the interpreter is ending', len(factories))
        return
    thread.join(_EXIT_PATIENCE)
    if thread.is_alive():
        logger.warning(
            'Owned objects are left: evicting them took longer than %s seconds', _EXIT_PATIENCE
        )


# The factories whose objects are to be evicted at exit.
_left: queue.SimpleQueue[list[StoreFactory[Any, Any]]] = queue.SimpleQueue()
_waiting: list[threading.Thread] = []


def _evict_left() -> None:
    for factory in _left.get():
        evict(factory)


def _new_thread() -> threading.Thread:
    thread = threading.Thread(target=_evict_left, name='proxystore-evict-owned', daemon=True)
    thread.start()
    return thread


def _waiting_thread() -> threading.Thread:
    """Return the thread that waits for the exit, where none can be started then."""
    with _starting:
        if not _waiting:
            _waiting.append(_new_thread())
        return _waiting[0]


atexit.register(_evict_owned)


def evict(factory: StoreFactory[Any, Any]) -> None:
    """Evict an object that nobody owns any more. Failure is logged: nobody is there to be told.

    Args:
        factory: Factory of the object.
    """
    try:
        store = proxystore.store.get_or_create_store(factory.store_config, register=False)
        store.evict(factory.key)
    except Exception as error:
        if not sys.is_finalizing():
            logger.warning('An owned object could not be evicted: %r', error)


def _begin_anew() -> None:
    # Neither the thread that waits nor one that held the lock runs in a forked child.
    global _starting
    _starting = threading.RLock()
    _waiting.clear()


os.register_at_fork(after_in_child=_begin_anew)
