"""Whoever stands between a client and its node, or in the place of one of them."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest

from proxystore.connectors.exceptions import ConnectorPermissionError
from proxystore.connectors.tcp import TCPConnector
from proxystore.node import Node
from tests.support.certificates import Authority
from tests.support.relay import HOST, Relay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = 'what client and node know'
MAGIC = b'\x89PXN\r\n\x1a\n'
#: Lengths of the two messages that each side sends in a handshake.
HELLO, PROOF = 72, 36
WRONG = 4


@pytest.fixture
def node() -> Iterator[Node]:
    with Node(port=0, secret=SECRET, unix=False) as node:
        yield node


def joined(port: int, **options: Any) -> TCPConnector:
    return TCPConnector(port=port, node='join', secret=SECRET, unix=False, timeout=20, **options)


def receive(connection: socket.socket, size: int) -> bytes:
    parts = b''
    while len(parts) < size and (part := connection.recv(size - len(parts))):
        parts += part
    return parts


def greeting() -> bytes:
    """The hello of a client that has a secret, as `docs/node_protocol.md` has it."""
    limits = struct.pack('<5I', 64, 65_536, 262_144, 1 << 20, 1 << 20)
    return MAGIC + struct.pack('<HHBBH', 1, 1, 1, 0, 0) + limits + bytes(4) + os.urandom(32)


def proof(side: str, hellos: bytes, binding: str) -> bytes:
    label = f'proxystore node protocol, proof of the {side}\0'.encode()
    message = label + hellos + binding.encode()
    return bytes(4) + hmac.digest(SECRET.encode(), message, hashlib.sha256)


class Recording:
    """What both sides have said in a handshake that came to a good end.

    Attributes:
        client: What the client sent: its hello and its proof.
        node: What the node sent, the same.
        source: The client's address, free again.
    """

    def __init__(self, port: int) -> None:
        with socket.create_connection((HOST, port), timeout=20) as connection:
            # The address can be used again at once.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            self.source = connection.getsockname()
            binding = f'{HOST}:{self.source[1]} {HOST}:{port}'
            hello = greeting()
            connection.sendall(hello)
            answer = receive(connection, HELLO)
            self.client = hello + proof('client', hello + answer, binding)
            connection.sendall(self.client[HELLO:])
            answered = receive(connection, PROOF)
            assert answered == proof('node', hello + answer, binding)
            self.node = answer + answered


def test_a_recorded_handshake_opens_no_node(node: Node) -> None:
    recording = Recording(node.port)
    rejected = node.status()['connections_rejected']
    # Not even from the same address.
    with socket.socket() as connection:
        connection.settimeout(20)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind(recording.source)
        connection.connect((HOST, node.port))
        connection.sendall(recording.client)
        assert receive(connection, HELLO)[:8] == MAGIC
        assert receive(connection, PROOF) == bytes([WRONG]) + bytes(PROOF - 1)
        assert connection.recv(1) == b''
    while node.status()['connections_rejected'] == rejected:
        pass
    with joined(node.port) as connector:
        assert connector.get(connector.put(b'x')) == b'x'


def test_a_recorded_node_is_not_believed(node: Node) -> None:
    recording = Recording(node.port)
    port = node.port
    node.stop()
    heard: list[bytes] = []
    with socket.create_server((HOST, port)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                heard.append(receive(connection, HELLO))
                connection.sendall(recording.node[:HELLO])
                heard.append(receive(connection, PROOF))
                connection.sendall(recording.node[HELLO:])
                # It goes when it has looked at the proof, and has said nothing but its own.
                heard.append(receive(connection, 1 << 20))

        thread = threading.Thread(target=serve)
        thread.start()
        with (
            joined(port) as connector,
            pytest.raises(ConnectorPermissionError, match='does not know the secret') as caught,
        ):
            connector.put(b'the object')
        assert f'{HOST}:{port}' in str(caught.value)
        thread.join()
    assert [len(part) for part in heard] == [HELLO, PROOF, 0]


def test_a_relay_on_the_loopback_is_noticed(node: Node) -> None:
    with (
        Relay(node.port) as relay,
        joined(relay.port) as connector,
        pytest.raises(ConnectorPermissionError, match=r'secret.*between') as caught,
    ):
        connector.put(b'the object')
    assert f'{HOST}:{relay.port}' in str(caught.value)
    assert node.status()['objects'] == 0


def test_a_relay_that_ends_the_encryption_is_noticed(tmp_path: Path) -> None:
    forged = Authority(tmp_path / 'forger').issue('node')
    for_clients = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for_clients.load_cert_chain(forged.certificate, forged.key)
    for_nodes = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for_nodes.check_hostname = False
    for_nodes.verify_mode = ssl.CERT_NONE
    with (
        Node(port=0, secret=SECRET, unix=False, encrypt=True) as node,
        Relay(node.port, tls=(for_clients, for_nodes)) as relay,
        joined(relay.port, encrypt=True) as connector,
        pytest.raises(ConnectorPermissionError, match=r'secret.*between'),
    ):
        connector.put(b'the object')


def test_a_relay_that_passes_the_encryption_on_learns_nothing(node: Node) -> None:
    with Relay(node.port) as relay, joined(relay.port, encrypt=True) as connector:
        assert connector.get(connector.put(b'the object')) == b'the object'
