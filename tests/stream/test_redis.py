"""Streams over real Redis and Valkey servers: messages, losses, and upstream at either end."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

from proxystore.connectors.exceptions import (
    ConnectorClosedError,
    ConnectorConfigError,
    ConnectorPermissionError,
    ConnectorTimeoutError,
    ConnectorUnavailableError,
)
from proxystore.connectors.redis import RedisConnector
from proxystore.proxy import Proxy
from proxystore.serialize import SerializationError
from proxystore.store import Store
from proxystore.stream import StreamConsumer, StreamProducer
from proxystore.stream.exceptions import SubscriberLostError
from proxystore.stream.protocols import MessagePublisher, MessageSubscriber
from proxystore.stream.shims.redis import (
    RedisPublisher,
    RedisQueuePublisher,
    RedisQueueSubscriber,
    RedisSubscriber,
)
from tests.support.leaks import no_leaked_descriptors
from tests.support.processes import run_in_child
from tests.support.servers import (
    BINARIES,
    HOST,
    PASSWORD,
    USER,
    USER_PASSWORD,
    RedisServer,
    free_port,
)
from tests.support.threads import meanwhile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.interpreter import Interpreter
    from tests.support.servers import Servers

SHIMS = {
    'pubsub': (RedisPublisher, RedisSubscriber),
    'queue': (RedisQueuePublisher, RedisQueueSubscriber),
}


@pytest.fixture
def server(servers: Servers) -> RedisServer:
    return servers['redis-7']


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that the test may stop."""
    with RedisServer(tmp_path_factory.mktemp('redis')) as server:
        yield server


@contextlib.contextmanager
def both(kind: str, topic: str, *args: Any, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
    """A publisher, and somebody who receives what it sends to a topic."""
    publisher_type, subscriber_type = SHIMS[kind]
    with (
        contextlib.closing(subscriber_type(*args, topic, **kwargs)) as subscriber,
        contextlib.closing(publisher_type(*args, **kwargs)) as publisher,
    ):
        yield publisher, subscriber


@pytest.mark.parametrize('kind', SHIMS)
@pytest.mark.parametrize('binary', BINARIES)
def test_messages_arrive_in_order(servers: Servers, binary: str, kind: str) -> None:
    messages = [b'', b'x', b'a\r\nb\0', bytes(100_000), os.urandom(3_000_000), b'last']
    with both(kind, 'topic', HOST, servers[binary].port) as (publisher, subscriber):
        assert isinstance(publisher, MessagePublisher)
        assert isinstance(subscriber, MessageSubscriber)
        for message in messages:
            publisher.send_message('topic', message)
        received = [subscriber.next_message() for _ in messages]
    assert received == messages
    assert {type(message) for message in received} == {bytes}


@pytest.mark.parametrize('kind', SHIMS)
def test_every_buffer_is_a_message_and_nothing_else(server: RedisServer, kind: str) -> None:
    with both(kind, 't', HOST, server.port) as (publisher, subscriber):
        for message in (bytearray(b'1'), memoryview(b'123')[::1]):
            publisher.send_message('t', message)
            assert next(subscriber) == bytes(message)
        with pytest.raises(TypeError):
            publisher.send_message('t', 'text')


def test_subscribers_hear_their_topics_and_all_of_them_hear(server: RedisServer) -> None:
    with (
        contextlib.closing(RedisSubscriber(HOST, server.port, ['a', 'b'])) as first,
        contextlib.closing(RedisSubscriber(HOST, server.port, 'b')) as second,
        contextlib.closing(RedisPublisher(HOST, server.port)) as publisher,
    ):
        for topic in 'abcab':
            publisher.send_message(topic, topic.encode())
        assert [first.next_message() for _ in range(4)] == [b'a', b'b', b'a', b'b']
        assert [second.next_message() for _ in range(2)] == [b'b', b'b']


def test_messages_of_a_queue_are_taken_once(server: RedisServer) -> None:
    with contextlib.closing(RedisQueuePublisher(HOST, server.port)) as publisher:
        for number in range(10):
            publisher.send_message('queue', str(number).encode())
    taken = []
    with contextlib.ExitStack() as stack:
        subscribers = [
            stack.enter_context(
                contextlib.closing(RedisQueueSubscriber(HOST, server.port, 'queue'))
            )
            for _ in range(2)
        ]
        taken = [subscriber.next_message() for subscriber in subscribers * 5]
    assert sorted(taken) == [str(number).encode() for number in range(10)]


@pytest.mark.parametrize('timeout', [1, 0.05])
def test_an_empty_queue_times_out(server: RedisServer, timeout: float) -> None:
    with contextlib.closing(
        RedisQueueSubscriber(HOST, server.port, 'empty', timeout=timeout)  # type: ignore[arg-type]
    ) as subscriber:
        for _ in range(2):
            with pytest.raises(TimeoutError, match='Timeout waiting on Redis queue with key empty'):
                subscriber.next_message()


@pytest.mark.parametrize('kind', SHIMS)
def test_a_subscriber_waits_for_as_long_as_it_takes(server: RedisServer, kind: str) -> None:
    # Longer than the timeout of an operation, which is not for waiting.
    with both(kind, 't', HOST, server.port, socket_timeout=1.0) as (publisher, subscriber):
        timer = threading.Timer(2.5, publisher.send_message, ('t', b'late'))
        timer.start()
        assert subscriber.next_message() == b'late'
        timer.join()


@pytest.mark.parametrize('kind', SHIMS)
def test_objects_stream(server: RedisServer, kind: str) -> None:
    with both(kind, 't', HOST, server.port) as (publisher, subscriber):
        producer: StreamProducer[Any] = StreamProducer(publisher, batch_size=2)
        for number in range(5):
            producer.send('t', [number], metadata={'n': number})
        producer.close_topics('t')
        received = list(StreamConsumer(subscriber).iter_with_metadata())
    assert received == [({'n': number}, [number]) for number in range(5)]


def test_large_objects_go_through_the_store_and_small_ones_do_not(server: RedisServer) -> None:
    large = bytes(1_000_000)
    with (
        both('pubsub', 't', HOST, server.port) as (publisher, subscriber),
        Store('objects', RedisConnector(HOST, server.port), register=True) as store,
    ):
        producer: StreamProducer[Any] = StreamProducer(
            publisher, default_store=store, inline_threshold=1000
        )
        for obj in ([1], large, [2]):
            producer.send('t', obj)
        producer.close_topics('t')
        with server.client() as client:
            assert client.dbsize() == 1
            received = list(StreamConsumer(subscriber))
            assert [type(proxy) for proxy in received] == [Proxy] * 3
            assert received == [[1], large, [2]]
            assert client.dbsize() == 0


def test_a_literal_password_of_a_store_does_not_travel(servers: Servers) -> None:
    server = servers['password']
    store = Store('locked', RedisConnector(HOST, server.port, password=PASSWORD))
    with (
        contextlib.closing(RedisPublisher(HOST, server.port, password=PASSWORD)) as publisher,
        store,
        server.client(password=PASSWORD) as client,
    ):
        producer: StreamProducer[Any] = StreamProducer(publisher, default_store=store)
        with pytest.raises(SerializationError, match='env:NAME'):
            producer.send('t', [1])
        assert client.dbsize() == 0


_UPSTREAM = """
import warnings
warnings.simplefilter('ignore')
from proxystore.stream import StreamConsumer, StreamProducer
from proxystore.stream.shims import redis as shims
"""


@pytest.mark.parametrize('kind', SHIMS)
def test_upstream_receives_what_is_sent(
    server: RedisServer, upstream: Interpreter, kind: str
) -> None:
    publisher_type, _ = SHIMS[kind]
    done: list[Any] = []

    def consume() -> None:
        subscriber = 'RedisSubscriber' if kind == 'pubsub' else 'RedisQueueSubscriber'
        code = f'consumer = StreamConsumer(shims.{subscriber}({HOST!r}, port, "t"))'
        code += '\nresult = list(consumer.iter_with_metadata())'
        done.append(upstream.run(_UPSTREAM + code, port=server.port))

    thread = threading.Thread(target=consume)
    thread.start()
    if kind == 'pubsub':
        wait_for_subscribers(server, 't')
    with contextlib.closing(publisher_type(HOST, server.port)) as publisher:
        producer: StreamProducer[Any] = StreamProducer(publisher, batch_size=3)
        for number in range(7):
            producer.send('t', {'n': number}, metadata={'m': number})
        producer.close_topics('t')
        producer.flush()
    thread.join()
    assert done == [[({'m': number}, {'n': number}) for number in range(7)]]


@pytest.mark.parametrize('kind', SHIMS)
def test_what_upstream_sends_is_received(
    server: RedisServer, upstream: Interpreter, kind: str
) -> None:
    _, subscriber_type = SHIMS[kind]
    publisher = 'RedisPublisher' if kind == 'pubsub' else 'RedisQueuePublisher'
    with contextlib.closing(subscriber_type(HOST, server.port, 't')) as subscriber:
        upstream.run(
            _UPSTREAM
            + f"""
from proxystore.connectors.redis import RedisConnector
from proxystore.store import Store
store = Store('theirs', RedisConnector({HOST!r}, port))
producer = StreamProducer(shims.{publisher}({HOST!r}, port), stores={{'t': None}}, batch_size=2)
producer.send('t', [1], metadata={{'m': 1}})
producer.send('t', 'two')
through = StreamProducer(producer.publisher, default_store=store)
through.send('t', [3])
through.close_topics('t')
""",
            port=server.port,
        )
        received = list(StreamConsumer(subscriber).iter_with_metadata())
    assert received == [({'m': 1}, [1]), ({}, 'two'), ({}, [3])]


def test_a_slow_subscriber_is_told_that_it_was_dropped(own_server: RedisServer) -> None:
    with (
        own_server.client() as client,
        both('pubsub', 't', HOST, own_server.port) as (publisher, subscriber),
    ):
        client.config_set('client-output-buffer-limit', 'pubsub 1000000 0 0')
        for number in range(100):
            publisher.send_message('t', bytes([number]) * 1_000_000)
        received: list[int] = []
        with pytest.raises(SubscriberLostError, match='lost') as caught:
            receive_into(received, subscriber)
        # Nothing is left out before the end.
        assert received == list(range(len(received)))
        assert len(received) < 100
        assert str(own_server.port) in str(caught.value)
        # And so it stays, whatever is published.
        publisher.send_message('t', b'after')
        with pytest.raises(SubscriberLostError):
            subscriber.next_message()


@pytest.mark.parametrize('how', ['killed', 'stopped'])
def test_a_waiting_subscriber_is_told_that_its_connection_is_gone(
    own_server: RedisServer, how: str
) -> None:
    with contextlib.closing(RedisSubscriber(HOST, own_server.port, 't')) as subscriber:

        def end() -> None:
            if how == 'stopped':
                own_server.stop()
            else:
                with own_server.client() as client:
                    client.client_kill_filter(_type='pubsub')

        with pytest.raises(SubscriberLostError), meanwhile(end):
            subscriber.next_message()


def test_a_consumer_is_told_too(own_server: RedisServer) -> None:
    subscriber = RedisSubscriber(HOST, own_server.port, 't')
    with StreamConsumer[Any](subscriber) as consumer:
        own_server.stop()
        with pytest.raises(SubscriberLostError):
            list(consumer)


def test_a_silent_server_is_noticed(own_server: RedisServer) -> None:
    subscriber = RedisSubscriber(HOST, own_server.port, 't', socket_timeout=2.0)
    with contextlib.closing(subscriber), own_server.paused(), pytest.raises(SubscriberLostError):
        subscriber.next_message()


def test_the_loss_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(SubscriberLostError('lost')))
    assert isinstance(error, ConnectorUnavailableError)
    assert isinstance(error, ConnectionError)
    assert str(error) == 'lost'


def test_publishers_and_queues_connect_again(own_server: RedisServer) -> None:
    with (
        contextlib.closing(RedisPublisher(HOST, own_server.port)) as publisher,
        both('queue', 'q', HOST, own_server.port) as (pusher, taker),
    ):
        publisher.send_message('t', b'')
        pusher.send_message('q', b'before')
        assert taker.next_message() == b'before'
        own_server.stop()
        for send in (publisher.send_message, pusher.send_message):
            with pytest.raises(ConnectorUnavailableError):
                send('t', b'')
        with pytest.raises(ConnectorUnavailableError):
            taker.next_message()
        own_server.start()
        publisher.send_message('t', b'')
        pusher.send_message('q', b'after')
        assert taker.next_message() == b'after'


def test_a_stalled_server_ends_a_send(own_server: RedisServer) -> None:
    with (
        contextlib.closing(RedisPublisher(HOST, own_server.port, socket_timeout=0.3)) as publisher,
        own_server.paused(),
        pytest.raises(ConnectorTimeoutError, match=str(own_server.port)),
    ):
        publisher.send_message('t', b'x')


@pytest.mark.parametrize('kind', SHIMS)
def test_closing(server: RedisServer, kind: str) -> None:
    with both(kind, 't', HOST, server.port) as (publisher, subscriber):
        publisher.send_message('t', b'x')
        assert subscriber.next_message() == b'x'
        for shim in (publisher, subscriber):
            shim.close()
            shim.close()
        with pytest.raises(ConnectorClosedError):
            publisher.send_message('t', b'x')
        with pytest.raises(StopIteration):
            subscriber.next_message()
        assert list(subscriber) == []


@pytest.mark.parametrize('subscriber_type', [RedisSubscriber, RedisQueueSubscriber])
def test_closing_from_another_thread_ends_the_stream(
    server: RedisServer, subscriber_type: Any
) -> None:
    subscriber = subscriber_type(HOST, server.port, 't')
    with meanwhile(subscriber.close):
        assert list(subscriber) == []


@pytest.mark.parametrize('kind', SHIMS)
def test_no_descriptor_is_left_open(server: RedisServer, kind: str) -> None:
    with no_leaked_descriptors():
        for _ in range(3):
            with both(kind, 't', HOST, server.port) as (publisher, subscriber):
                publisher.send_message('t', b'x')
                subscriber.next_message()


def test_an_interrupted_wait_loses_no_message(server: RedisServer) -> None:
    program = f"""
        import signal, sys
        from proxystore.stream.shims.redis import RedisQueueSubscriber, RedisSubscriber
        def interrupt(*_): raise InterruptedError
        signal.signal(signal.SIGUSR1, interrupt)
        for subscriber in (
            RedisQueueSubscriber({HOST!r}, {server.port}, 't'),
            RedisSubscriber({HOST!r}, {server.port}, 't'),
        ):
            try:
                print('waiting', flush=True)
                subscriber.next_message()
            except InterruptedError:
                print('interrupted', flush=True)
            print(subscriber.next_message().decode(), flush=True)
    """
    with waiting_program(program) as process:
        for send in (
            RedisQueuePublisher(HOST, server.port).send_message,
            RedisPublisher(HOST, server.port).send_message,
        ):
            assert process.stdout.readline() == 'waiting\n'
            process.send_signal(signal.SIGUSR1)
            assert process.stdout.readline() == 'interrupted\n'
            send('t', b'message')
            assert process.stdout.readline() == 'message\n'


@pytest.mark.parametrize('name', ['RedisQueueSubscriber', 'RedisSubscriber'])
def test_ctrl_c_ends_a_wait(server: RedisServer, name: str) -> None:
    program = f"""
        from proxystore.stream.shims import redis
        subscriber = redis.{name}({HOST!r}, {server.port}, 't')
        try:
            print('waiting', flush=True)
            subscriber.next_message()
        except KeyboardInterrupt:
            print('interrupted', flush=True)
    """
    with waiting_program(program) as process:
        assert process.stdout.readline() == 'waiting\n'
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == 'interrupted\n'


def publish_in_child(publisher: Any) -> str:
    publisher.send_message('t', b'from the child')
    return 'sent'


def receive_in_child(subscriber: RedisSubscriber) -> str:
    try:
        subscriber.next_message()
    except ConnectorUnavailableError as error:
        return type(error).__name__
    return 'received'


@pytest.mark.parametrize('kind', SHIMS)
def test_forked_children_send_over_connections_of_their_own(server: RedisServer, kind: str) -> None:
    with both(kind, 't', HOST, server.port) as (publisher, subscriber):
        publisher.send_message('t', b'from the parent')
        assert run_in_child('fork', publish_in_child, publisher) == 'sent'
        publisher.send_message('t', b'from the parent again')
        received = [subscriber.next_message() for _ in range(3)]
    assert received == [b'from the parent', b'from the child', b'from the parent again']


def test_a_forked_child_does_not_take_its_parents_messages(server: RedisServer) -> None:
    with both('pubsub', 't', HOST, server.port) as (publisher, subscriber):
        assert run_in_child('fork', receive_in_child, subscriber) == 'SubscriberLostError'
        publisher.send_message('t', b'for the parent')
        assert subscriber.next_message() == b'for the parent'


def test_threads_share_a_publisher_and_a_queue(server: RedisServer) -> None:
    count, threads = 100, 4
    received: list[bytes] = []
    with both('queue', 'q', HOST, server.port) as (publisher, subscriber):

        def send(number: int) -> None:
            for index in range(count):
                publisher.send_message('q', f'{number}-{index}'.encode())

        def take() -> None:
            for _ in range(count):
                received.append(subscriber.next_message())

        workers = [threading.Thread(target=send, args=(number,)) for number in range(threads)]
        workers += [threading.Thread(target=take) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    sent = [f'{number}-{index}'.encode() for number in range(threads) for index in range(count)]
    assert sorted(received) == sorted(sent)


@pytest.mark.parametrize('kind', SHIMS)
def test_arguments_of_redis_py(servers: Servers, kind: str) -> None:
    def check(*args: Any, **kwargs: Any) -> None:
        with both(kind, 't', *args, **kwargs) as (publisher, subscriber):
            publisher.send_message('t', b'x')
            assert subscriber.next_message() == b'x'

    server, locked, tls = servers['redis-7'], servers['password'], servers['mutual-tls']
    check(HOST, server.port, db=3, socket_timeout=None, decode_responses=False, client_name='x')
    check('nowhere.invalid', 1, unix_socket_path=server.socket_path)
    check(HOST, locked.port, password=PASSWORD)
    check(HOST, locked.port, username=USER, password=USER_PASSWORD)
    certificate = servers.authority.issue('client')
    check(
        HOST,
        tls.port,
        ssl=True,
        ssl_ca_certs=str(servers.authority.certificate),
        ssl_certfile=str(certificate.certificate),
        ssl_keyfile=str(certificate.key),
    )
    with pytest.raises(ConnectorPermissionError, match='NOAUTH'):
        check(HOST, locked.port)


def test_queues_are_those_of_the_database(server: RedisServer) -> None:
    with contextlib.closing(RedisQueuePublisher(HOST, server.port, db=3)) as publisher:
        publisher.send_message('q', b'x')
    with server.client(db=3) as client:
        assert client.lrange('q', 0, -1) == [b'x']


@pytest.mark.parametrize('shim', [shim for pair in SHIMS.values() for shim in pair])
def test_arguments_that_mean_nothing_are_refused(shim: Any) -> None:
    topic = ('t',) if 'Subscriber' in shim.__name__ else ()
    with pytest.raises(TypeError, match="'nonsense'"):
        shim(HOST, 1, *topic, nonsense=1)
    for argument in ({'decode_responses': True}, {'ssl_cert_reqs': 'none'}):
        with pytest.raises(ConnectorConfigError, match=next(iter(argument))):
            shim(HOST, 1, *topic, **argument)
    with pytest.raises(ConnectorConfigError, match='port'):
        shim(HOST, 'x', *topic)


def test_subscribing_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match='topic'):
        RedisSubscriber(HOST, 1, [])


def test_a_negative_timeout_is_refused() -> None:
    with pytest.raises(ValueError, match='negative'):
        RedisQueueSubscriber(HOST, 1, 't', timeout=-1)


def test_where_nobody_answers() -> None:
    port = free_port()
    # Only a subscriber has to connect before it is of any use.
    with pytest.raises(ConnectorUnavailableError, match=str(port)):
        RedisSubscriber(HOST, port, 't')
    with pytest.raises(ConnectorUnavailableError, match=str(port)):
        RedisPublisher(HOST, port).send_message('t', b'x')
    with pytest.raises(ConnectorUnavailableError, match=str(port)):
        RedisQueueSubscriber(HOST, port, 't').next_message()


def test_a_web_server_is_no_server_of_messages() -> None:
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n')

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ConnectorUnavailableError, match='web server'):
            RedisSubscriber(HOST, listener.getsockname()[1], 't')
        thread.join()


def receive_into(received: list[int], subscriber: RedisSubscriber) -> None:
    for message in subscriber:
        received.append(message[0])


def wait_for_subscribers(server: RedisServer, topic: str) -> None:
    """Wait until the server has a subscriber: it tells those who watch what it is told."""
    with server.client() as client:
        while client.pubsub_numsub(topic)[0][1] == 0:
            threading.Event().wait(0.01)


@contextlib.contextmanager
def waiting_program(program: str) -> Iterator[Any]:
    """A program that says on its standard output when it is about to wait."""
    process = subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
        assert process.wait(timeout=120) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
