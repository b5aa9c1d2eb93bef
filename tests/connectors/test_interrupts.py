"""An object whose key the caller does not get to know is not kept."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

from proxystore import _native
from proxystore.connectors.file import FileConnector

# Large enough that putting it takes hundreds of times as long as sending a signal.
SIZE = 256 << 20


@pytest.mark.parametrize('method', ['put', 'put_batch'])
def test_an_interrupted_put_leaves_nothing(method: str, store_dir: str) -> None:
    directory = Path(store_dir)
    connector = FileConnector(store_dir)
    data: Any = bytes(SIZE)
    finished = threading.Event()

    def interrupt() -> None:
        while not finished.is_set():
            if any(path.stat().st_size for path in directory.iterdir()):
                os.kill(os.getpid(), signal.SIGINT)
                return

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            getattr(connector, method)(data if method == 'put' else [data])
    finally:
        finished.set()
        interrupter.join()
    assert list(directory.iterdir()) == []
    connector.close()


class UnmakeableKey(NamedTuple):
    filename: str

    @classmethod
    def refuse(cls, *_: Any) -> NoReturn:
        message = 'no key today'
        raise RuntimeError(message)


def test_a_key_that_cannot_be_made_leaves_no_object(
    store_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = _native.Connector('file', {'store_dir': store_dir}, UnmakeableKey)
    monkeypatch.setattr(UnmakeableKey, '__new__', UnmakeableKey.refuse)
    for put in (lambda: connector.put(b'x'), lambda: connector.put_batch([b'x', b'y'])):
        with pytest.raises(RuntimeError, match='no key today'):
            put()
    assert os.listdir(store_dir) == []
