"""cloudpickle takes proxies along without resolving them."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from proxystore.factory import SimpleFactory
from proxystore.proxy import Proxy, extract, is_resolved
from tests.integration.functions import unresolved
from tests.support.processes import run_in_child

if TYPE_CHECKING:
    from proxystore.store import Store


@pytest.fixture
def proxy(store: Store) -> Proxy[Any]:
    return unresolved(store, [1, 2])


def test_same_pickle_as_pickles(proxy: Proxy[Any]) -> None:
    data = cloudpickle.dumps(proxy)
    assert not is_resolved(proxy)
    assert len(data) <= len(pickle.dumps(proxy)) + 10
    copy = pickle.loads(data)
    assert type(copy) is Proxy
    assert not is_resolved(copy)
    assert copy == [1, 2]


def test_closures_globals_and_defaults(proxy: Proxy[Any], start_method: str) -> None:
    def use(default: Any = proxy) -> tuple[bool, bool, int]:
        return is_resolved(proxy), proxy is default, sum(proxy)

    data = cloudpickle.dumps(use)
    assert not is_resolved(proxy)
    assert run_in_child(start_method, _call, data) == (False, True, 3)


def _call(data: bytes) -> Any:
    return pickle.loads(data)()


def test_objects_of_local_classes(proxy: Proxy[Any], store: Store, start_method: str) -> None:
    class Holder:
        def __init__(self, held: Any) -> None:
            self.held = held

        def total(self) -> int:
            return sum(self.held)

    data = cloudpickle.dumps(Holder(proxy).total)
    assert not is_resolved(proxy)
    assert run_in_child(start_method, _call, data) == 3
    held = unresolved(store, Holder([1]))
    assert run_in_child(start_method, _call, cloudpickle.dumps(lambda: held.total())) == 1


def test_factories_that_only_cloudpickle_takes(start_method: str) -> None:
    value = [1, 2]
    proxy = Proxy(lambda: value, cache_defaults=True, target=value)
    del proxy.__proxy_wrapped__
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(proxy)
    data = cloudpickle.dumps(proxy)
    assert not is_resolved(proxy)
    assert run_in_child(start_method, _extract, data) == [1, 2]


def _extract(data: bytes) -> Any:
    return extract(pickle.loads(data))


def test_subclasses_by_value(start_method: str) -> None:
    class Mine(Proxy[Any]):
        def __reduce__(self) -> Any:
            return type(self), (self.__proxy_factory__,)

        def __reduce_ex__(self, protocol: Any) -> Any:
            return self.__reduce__()

    data = cloudpickle.dumps(Mine(SimpleFactory([3])))
    assert run_in_child(start_method, _extract, data) == [3]
