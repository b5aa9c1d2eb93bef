from __future__ import annotations

from typing import Any

from proxystore.connectors.local import LocalConnector
from proxystore.connectors.multi import MultiConnector, Policy
from proxystore.store import Store


class Counting(LocalConnector):
    """Tells how many objects it was given."""

    puts = 0

    def put(self, obj: Any) -> Any:
        self.puts += 1
        return super().put(obj)

    def statistics(self) -> dict[str, Any]:
        return {'puts': self.puts}


def test_a_store_tells_of_its_cache_and_its_connector() -> None:
    with Store('stats', Counting(), cache_size=3) as store:
        key = store.put([1])
        store.get(key)
        store.get(key)
        assert store.stats() == {
            'name': 'stats',
            'cache': {'held': 1, 'maxsize': 3, 'hits': 1, 'misses': 1},
            'connector': {'puts': 1},
        }


def test_a_connector_that_keeps_no_count_has_no_statistics() -> None:
    with Store('stats', LocalConnector()) as store:
        assert store.stats()['connector'] == {}


def test_connectors_within_another_are_told_by_name() -> None:
    connectors = {'a': (Counting(), Policy(priority=1)), 'b': (LocalConnector(), Policy())}
    with Store('stats', MultiConnector(connectors)) as store:
        store.put([1])
        assert store.stats()['connector'] == {'a': {'puts': 1}, 'b': {}}
