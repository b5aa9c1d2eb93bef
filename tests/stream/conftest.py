"""Fixtures of the streams' tests."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from tests.stream.support import Broker

with warnings.catch_warnings():
    # Streams warn at import that they are experimental.
    warnings.simplefilter('ignore')
    import proxystore.stream  # noqa: F401


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def data() -> dict[Any, Any]:
    """The dictionary of a local connector, to look at what it holds."""
    return {}
