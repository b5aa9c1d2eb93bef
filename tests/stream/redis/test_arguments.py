"""What the constructors take, and what they refuse."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from proxystore.connectors.exceptions import ConnectorConfigError, ConnectorPermissionError
from proxystore.stream.shims.redis import RedisQueuePublisher, RedisQueueSubscriber, RedisSubscriber
from tests.stream.redis.support import SHIMS, both
from tests.support.servers import HOST, PASSWORD, USER, USER_PASSWORD, RedisServer

if TYPE_CHECKING:
    from tests.support.servers import Servers


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
