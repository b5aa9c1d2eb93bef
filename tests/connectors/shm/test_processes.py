"""Processes that share objects, die, and fork."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from proxystore.connectors.exceptions import (
    ConnectorUnavailableError,
)
from proxystore.connectors.shm import ShmConnector
from proxystore.proxy import Proxy
from tests.connectors.shm.support import LARGE, array, python
from tests.support.processes import run_in_child


def get_in_child(config: dict[str, Any], key: Any) -> bytes | None:
    with ShmConnector.from_config(config) as connector:
        found = connector.get(key)
        return None if found is None else bytes(found)


class TestProcesses:
    def test_a_producer_may_exit_before_its_consumer_starts(self, memory: str) -> None:
        code = """
import pickle, sys
import numpy as np
from proxystore.connectors.shm import ShmConnector
from proxystore.store import Store
store = Store('gone', ShmConnector(directory=sys.argv[1]))
proxies = [store.proxy(np.arange(1_000_000)), store.proxy({'a': 1})]
sys.stdout.buffer.write(pickle.dumps(proxies))
"""
        output = subprocess.run(
            [sys.executable, '-c', code, memory], capture_output=True, check=True, timeout=60
        ).stdout
        large, small = pickle.loads(output)
        assert type(large) is Proxy
        assert large.sum() == sum(range(1_000_000))
        assert small == {'a': 1}

    @pytest.mark.parametrize('size', [0, 1, 16 << 10, (16 << 10) + 1, LARGE])
    def test_every_kind_of_child_gets_what_was_put(
        self, connector: ShmConnector, start_method: str, size: int
    ) -> None:
        data = os.urandom(size)
        key = connector.put(data)
        assert run_in_child(start_method, get_in_child, connector.config(), key) == data

    def test_a_killed_producer_loses_nothing_that_it_put(self, memory: str) -> None:
        code = """
import os, pickle, signal, sys
from proxystore.connectors.shm import ShmConnector
connector = ShmConnector(directory=sys.argv[1])
keys = [connector.put(bytes([index]) * size) for index in range(50) for size in (100, 100_000)]
evicted = [connector.put(b'e' * 100_000) for _ in range(20)]
for key in evicted:
    connector.evict(key)
sys.stdout.buffer.write(pickle.dumps(keys))
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
        ended = subprocess.run(
            [sys.executable, '-c', code, memory], capture_output=True, check=False, timeout=60
        )
        assert ended.returncode == -signal.SIGKILL
        keys = pickle.loads(ended.stdout)
        with ShmConnector(directory=memory) as connector:
            for position, key in enumerate(keys):
                size = (100, 100_000)[position % 2]
                assert connector.get(key) == bytes([position // 2]) * size
            assert len(list(Path(memory, 'default').glob('s*'))) == 50
            assert len(list(Path(memory, 'default').glob('pins*'))) == 1

    def test_a_namespace_ends_when_its_time_is_over(self, memory: str) -> None:
        with ShmConnector(directory=memory, hold=0) as connector:
            keys = [connector.put(b'x' * size) for size in (10, LARGE)]
        del connector
        gc.collect()
        code = """
import pickle, sys
from proxystore.connectors.exceptions import ConnectorUnavailableError
from proxystore.connectors.shm import ShmConnector, ShmKey
connector = ShmConnector(directory=sys.argv[1])
for fields in pickle.loads(bytes.fromhex(sys.argv[2])):
    try:
        connector.get(ShmKey(*fields))
    except ConnectorUnavailableError as error:
        print(error)
"""
        fields = pickle.dumps([tuple(key) for key in keys]).hex()
        lines = python(code, memory, fields).stdout.splitlines()
        assert len(lines) == 2
        assert all('ended' in line for line in lines)

    def test_a_removed_directory_is_an_error_that_says_so(self, memory: str) -> None:
        connector = ShmConnector(directory=memory)
        key = connector.put(b'x' * LARGE)
        view = connector.get(key)
        shutil.rmtree(Path(memory, 'default'))
        with pytest.raises(ConnectorUnavailableError, match='removed'):
            connector.get(key)
        assert view == b'x' * LARGE

    def test_forked_children_put_get_and_keep_views(self, connector: ShmConnector) -> None:
        key = connector.put(array().tobytes())
        view = connector.get(key)

        def work() -> list[bool]:
            mine = [connector.put(bytes([index]) * LARGE) for index in range(5)]
            good = [connector.get(key) == bytes([index]) * LARGE for index, key in enumerate(mine)]
            for one in mine:
                connector.evict(one)
            return [*good, view == array().tobytes(), connector.get(key) == view]

        assert all(run_in_child('fork', work))
        assert view == array().tobytes()

    def test_a_child_keeps_its_view_when_the_parent_lets_go(self, connector: ShmConnector) -> None:
        ready, go = os.pipe(), os.pipe()
        key = connector.put(array().tobytes())
        view = connector.get(key)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.write(ready[1], b'x')
                os.read(go[0], 1)
                code = 0 if view == array().tobytes() else 2
            finally:
                os._exit(code)
        os.read(ready[0], 1)
        del view
        connector.evict(key)
        for seed in range(1, 8):
            connector.evict(connector.put(array(seed=seed).tobytes()))
        os.write(go[1], b'x')
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        for descriptor in (*ready, *go):
            os.close(descriptor)

    def test_forks_while_threads_work(self, connector: ShmConnector) -> None:
        stop = threading.Event()
        failures: list[str] = []

        def work(number: int) -> None:
            while not stop.is_set():
                for size in (50, 5000, 200_000):
                    data = bytes([number]) * size
                    key = connector.put(data)
                    if connector.get(key) != data:
                        failures.append(f'{number} {size}')
                    connector.evict(key)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            for round_ in range(30):
                child = os.fork()
                if child == 0:
                    code = 1
                    try:
                        data = bytes([100 + round_]) * 300_000
                        key = connector.put(data)
                        code = 0 if connector.get(key) == data else 2
                        connector.evict(key)
                    finally:
                        os._exit(code)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failures
