"""Streams of objects: events travel through a message broker, the objects by proxy.

A [`StreamProducer`][proxystore.stream.StreamProducer] puts each object into a
[`Store`][proxystore.store.base.Store] and publishes a small event that names it; a
[`StreamConsumer`][proxystore.stream.StreamConsumer] turns events into proxies. The broker, reached
through a shim of `proxystore.stream.shims`, sees only the events.
"""

from __future__ import annotations

import warnings

from proxystore.stream._consumer import StreamConsumer
from proxystore.stream._producer import StreamProducer
from proxystore.warnings import ExperimentalWarning

__all__ = ['StreamConsumer', 'StreamProducer']

warnings.warn(
    'proxystore.stream is experimental: its interface may change in a later release.',
    category=ExperimentalWarning,
    stacklevel=2,
)
