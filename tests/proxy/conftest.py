"""Fixtures of the proxy's suite: each test runs over the Proxy and over a subclass of it."""

from __future__ import annotations

from typing import Any

import pytest

from proxystore.proxy import Proxy


class Subclass(Proxy):
    """A proxy class with a slot, a method and a property of its own."""

    __slots__ = ('own_slot',)

    def own_method(self) -> str:
        return 'own'

    @property
    def own_property(self) -> str:
        return 'property'


@pytest.fixture(params=[Proxy, Subclass], ids=['Proxy', 'subclass'])
def proxy_class(request: pytest.FixtureRequest) -> Any:
    return request.param
