"""A pipeline over streams: a producer process, a filter, and a consumer that aggregates.

Run as: streaming.py DIRECTORY
"""
# ruff: noqa: T201

from __future__ import annotations

import multiprocessing
import queue
import sys
import warnings
from typing import Any

from proxystore.connectors.file import FileConnector
from proxystore.proxy import Proxy, is_resolved
from proxystore.store import Store, get_store

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    from proxystore.stream import StreamConsumer, StreamProducer
    from proxystore.stream.exceptions import TopicClosedError
    from proxystore.stream.filters import NullFilter, SamplingFilter
    from proxystore.stream.shims.queue import QueuePublisher, QueueSubscriber


def produce(directory: str, messages: Any) -> None:
    store = Store('stream', FileConnector(directory, clear=False))
    producer = StreamProducer(
        QueuePublisher({'numbers': messages, 'log': messages}),
        batch_size=3,
        default_store=store,
        filter_=lambda metadata: metadata['n'] % 5 == 4,
        stores={'log': None},
    )
    with producer:
        for n in range(10):
            producer.send('numbers', [n] * n, metadata={'n': n}, evict=n % 2 == 0)
        producer.send('log', 'done', metadata={'n': 0})
        producer.flush()
        producer.close_topics('numbers')
        try:
            producer.send('numbers', [], metadata={'n': 0})
        except TopicClosedError:
            return
        sys.exit('the topic is still open')


def aggregate() -> None:
    messages: queue.Queue[bytes] = queue.Queue()
    producer = StreamProducer(
        QueuePublisher({'t': messages}), aggregator=sum, batch_size=2, filter_=NullFilter()
    )
    for n in range(4):
        producer.send('t', n, metadata={'last': n, str(n): n})
    producer.close(topics=['t'])
    consumer = StreamConsumer(QueueSubscriber(messages, block=False), filter_=SamplingFilter(0))
    print('aggregated:', list(consumer.iter_with_metadata()))


def main(directory: str) -> None:
    messages: Any = multiprocessing.Queue()
    child = multiprocessing.Process(target=produce, args=(directory, messages))
    child.start()
    consumer = StreamConsumer(QueueSubscriber(messages, timeout=30))
    proxy = consumer.next()
    print(type(proxy) is Proxy, is_resolved(proxy), proxy, is_resolved(proxy))
    print('object:', consumer.next_object(), *consumer.next_with_metadata())
    total = 0
    for metadata, obj in consumer.iter_objects_with_metadata():
        print(metadata, obj)
        total += len(obj)
    child.join(30)
    print('total:', total, child.exitcode, type(get_store('stream')).__name__)
    consumer.close(stores=True)
    print('stores closed:', get_store('stream'))
    aggregate()


if __name__ == '__main__':
    main(sys.argv[1])
