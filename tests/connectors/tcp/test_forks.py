"""Forks amid requests."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxystore.connectors.tcp import TCPConnector

LARGE = b'x' * 400_000


def test_children_forked_amid_requests_have_connections_of_their_own(
    connector: TCPConnector,
) -> None:
    small, large = connector.put(b'small'), connector.put(LARGE)
    done = threading.Event()
    failures: list[object] = []

    def ask() -> None:
        while not done.is_set():
            got = connector.get(small), connector.get(large), connector.get_batch([small] * 50)
            if got != (b'small', LARGE, [b'small'] * 50):
                failures.append(got)
            connector.evict(connector.put(LARGE))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                # Whatever happens, the child must not go on as a second pytest.
                code = 1
                try:
                    own = connector.put(LARGE)
                    found = connector.get(small), connector.get(large), connector.get(own)
                    connector.evict(own)
                    code = 0 if found == (b'small', LARGE, LARGE) else 2
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert connector.get(small) == b'small'
