"""Objects, futures and streams between a store of ours and one of upstream over one directory."""

from __future__ import annotations

import inspect
import pickle
import queue
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pandas as pd
import polars as pl
import pytest

from proxystore.connectors.file import FileConnector, FileKey
from proxystore.proxy import Proxy, is_resolved
from proxystore.store import Store, get_store
from tests.interop import description
from tests.support.interpreter import Interpreter, upstream_python

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    from proxystore.stream import StreamConsumer, StreamProducer
    from proxystore.stream.shims.queue import QueuePublisher, QueueSubscriber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_THERE = f"""
import pickle, queue, threading, warnings
warnings.simplefilter('ignore')
import cloudpickle, numpy, pandas, polars
from proxystore.connectors.file import FileConnector, FileKey
from proxystore.proxy import extract
from proxystore.store import Store, get_store
from proxystore.stream import StreamConsumer, StreamProducer
from proxystore.stream.shims.queue import QueuePublisher, QueueSubscriber
store = Store('crossing', FileConnector(dir, clear=False), register=True)
{inspect.getsource(description).replace('from __future__ import annotations', '')}
"""

VALUES: dict[str, Callable[[], Any]] = {
    'none': lambda: None,
    'text': lambda: 'ü' * 1000,
    'bytes': lambda: bytes(range(256)) * 10_000,
    'dict': lambda: {'a': [1, 2.5, None], 'b': ('c', {1, 2})},
    'small_array': lambda: np.arange(10),
    'large_array': lambda: np.arange(1_000_000.0).reshape(1000, 1000),
    'fortran_array': lambda: np.asfortranarray(np.arange(1_000_000).reshape(1000, 1000)),
    'strided_array': lambda: np.arange(1_000_000)[::3],
    'arrays_in_a_dict': lambda: {'x': np.arange(500_000), 'y': [np.zeros(200_000, dtype='>f4')]},
    'table': lambda: pd.DataFrame({'a': np.arange(200_000), 'b': np.arange(200_000.0)}),
    'polars_table': lambda: pl.DataFrame({'a': range(50_000), 's': ['x', 'yy'] * 25_000}),
    'function': lambda: lambda x: x + 1,
}


@pytest.fixture
def store(store_dir: str) -> Iterator[Store[Any]]:
    connector = FileConnector(store_dir, clear=False)
    with Store('crossing', connector, register=True, compatible=True) as store:
        yield store


@pytest.mark.parametrize('name', VALUES)
def test_objects_cross(name: str, store: Store[Any], store_dir: str, upstream: Interpreter) -> None:
    value = VALUES[name]()
    ours = store.put(value)
    theirs, read = upstream.run(
        _THERE
        + """
theirs = store.put(pickle.loads(pickled)).filename
result = theirs, describe(store.get(FileKey(ours)))
""",
        dir=store_dir,
        pickled=cloudpickle.dumps(value),
        ours=ours.filename,
    )
    expected = description.describe(value)
    if name == 'strided_array':
        expected = description.describe(np.ascontiguousarray(value))
    assert read == expected
    assert description.describe(store.get(FileKey(theirs))) == expected
    # What the store returned has been cached; what the connector has is still whole.
    store.cache.evict(ours)
    assert description.describe(store.get(ours)) == expected


SMALL = ('none', 'text', 'bytes', 'dict', 'small_array', 'function')


@pytest.mark.parametrize('name', SMALL)
def test_objects_without_large_buffers_cross_by_default(
    name: str, store_dir: str, upstream: Interpreter
) -> None:
    value = VALUES[name]()
    with Store('default', FileConnector(store_dir, clear=False)) as store:
        read = upstream.run(
            _THERE + 'result = describe(store.get(FileKey(ours)))',
            dir=store_dir,
            ours=store.put(value).filename,
        )
    assert read == description.describe(value)


@pytest.mark.parametrize('name', sorted(VALUES.keys() - set(SMALL)))
def test_upstream_refuses_a_frame_clearly(name: str, store_dir: str, upstream: Interpreter) -> None:
    with Store('default', FileConnector(store_dir, clear=False)) as store:
        message = upstream.run(
            _THERE
            + """
from proxystore.serialize import SerializationError
try:
    store.get(FileKey(ours))
except SerializationError as error:
    result = str(error.__cause__)
""",
            dir=store_dir,
            ours=store.put(VALUES[name]()).filename,
        )
    assert message == "Unknown identifier b'PF' for deserialization."


def test_future_of_ours_set_by_upstream(store: Store[Any], store_dir: str, upstream) -> None:
    future = store.future(polling_interval=0.001, polling_timeout=30)
    proxy = future.proxy()
    upstream.run(
        _THERE + 'pickle.loads(future).set_result({"a": [1]})',
        dir=store_dir,
        future=pickle.dumps(future),
    )
    assert future.done()
    assert future.result() == {'a': [1]}
    assert proxy == {'a': [1]}


def test_future_of_upstream_set_by_us(store: Store[Any], store_dir: str) -> None:
    with Interpreter(upstream_python()) as upstream:
        future = pickle.loads(
            upstream.run(
                _THERE
                + """
import sys
sys.future = store.future(polling_interval=0.001, polling_timeout=30)
result = pickle.dumps(sys.future)
""",
                dir=store_dir,
            )
        )
        assert not future.done()
        # Upstream waits while the result is set.
        answer: queue.Queue[Any] = queue.Queue()
        wait = _THERE + 'import sys\nresult = extract(sys.future.proxy())'
        thread = threading.Thread(
            target=lambda: answer.put(upstream.run(wait, dir=store_dir, timeout=30))
        )
        thread.start()
        future.set_result([1, 2])
        thread.join()
        assert answer.get_nowait() == [1, 2]


def test_stream_from_upstream_to_us(store: Store[Any], store_dir: str, upstream) -> None:
    sent = upstream.run(
        _THERE
        + """
messages = queue.Queue()
producer = StreamProducer(
    QueuePublisher({'t': messages}), batch_size=2, default_store=store, stores={'none': None})
for i in range(5):
    producer.send('t', [i] * 1000, metadata={'i': i}, evict=i != 3)
producer.flush()
producer.close_topics('t')
result = [messages.get() for _ in range(messages.qsize())]
""",
        dir=store_dir,
    )
    messages: queue.Queue[bytes] = queue.Queue()
    for message in sent:
        messages.put(message)
    consumer = StreamConsumer[list[int]](QueueSubscriber(messages, block=False))
    first = consumer.next()
    assert type(first) is Proxy
    assert not is_resolved(first)
    assert first == [0] * 1000
    received = list(consumer.iter_objects_with_metadata())
    assert received == [({'i': i}, [i] * 1000) for i in range(1, 5)]
    assert get_store(first) is store
    assert len(list(Path(store_dir).glob('*.ready'))) == 1, 'all but one were to be evicted'


def test_stream_from_us_to_upstream(store: Store[Any], store_dir: str, upstream) -> None:
    messages: queue.Queue[bytes] = queue.Queue()
    queues = {'t': messages, 'direct': messages}
    with StreamProducer[Any](
        QueuePublisher(queues), batch_size=2, default_store=store, stores={'direct': None}
    ) as producer:
        producer.send('direct', {'array': list(range(100))}, metadata={'i': -1})
        producer.flush()
        for i in range(5):
            producer.send('t', [i] * 1000, metadata={'i': i})
        producer.close_topics('t')
    received = upstream.run(
        _THERE
        + """
messages = queue.Queue()
for message in sent:
    messages.put(message)
consumer = StreamConsumer(QueueSubscriber(messages, block=False))
result = list(consumer.iter_objects_with_metadata())
""",
        dir=store_dir,
        sent=[messages.get() for _ in range(messages.qsize())],
    )
    assert received[0] == ({'i': -1}, {'array': list(range(100))})
    assert received[1:] == [({'i': i}, [i] * 1000) for i in range(5)]
    assert list(Path(store_dir).iterdir()) == []


def test_both_write_and_read_at_once(store_dir: str) -> None:
    """Whoever reads sees an object of the other whole or not at all."""
    rounds = 200
    ours = FileConnector(store_dir, clear=False)
    with Interpreter(upstream_python()) as upstream:
        churn = (
            _THERE
            + """
import os
wrong = 0
for n in range(rounds):
    key = store.connector.put(bytes([n % 256]) * (n * 700))
    for name in os.listdir(dir):
        if not name.endswith('.ready'):
            try:
                data = store.connector.get(FileKey(name))
            except FileNotFoundError:
                # Evicted between its look at the marker and at the data.
                continue
            wrong += data is not None and data != data[:1] * len(data)
    if n % 3:
        store.connector.evict(key)
result = wrong
"""
        )
        answer: queue.Queue[int] = queue.Queue()
        thread = threading.Thread(
            target=lambda: answer.put(upstream.run(churn, dir=store_dir, rounds=rounds))
        )
        thread.start()
        seen = 0
        n = 0
        while thread.is_alive():
            n += 1
            key = ours.put(bytes([n % 256]) * (n % 200 * 700))
            for path in Path(store_dir).glob('*.ready'):
                data = ours.get(FileKey(path.stem))
                if data is not None:
                    seen += 1
                    whole = bytes(data)
                    assert whole == whole[:1] * len(whole)
            if n % 3:
                ours.evict(key)
            if n % 50 == 0:
                for path in Path(store_dir).glob('*.ready'):
                    ours.evict(FileKey(path.stem))
        thread.join()
    assert answer.get_nowait() == 0
    assert seen > 100
