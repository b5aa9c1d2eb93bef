"""Processes that end, or are interrupted, with operations under way."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.asynchronous.support import PATIENCE
from tests.support.interpreter import run_program

if TYPE_CHECKING:
    from tests.asynchronous.support import SilentServer

PREPARE = """
    import asyncio, sys, threading
    import uvloop
    from proxystore.connectors.file import FileConnector
    from proxystore.connectors.redis import RedisConnector, RedisKey
    from proxystore.store import Store
    from proxystore.store.utils import aresolve, resolve_async

    directory, port, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    run = {'asyncio': asyncio.run, 'uvloop': uvloop.run}[kind]
    # Longer than any test waits for its end.
    silent = RedisConnector('127.0.0.1', port, timeout=3600)
    files = FileConnector(directory, clear=False)
    store = Store('store', silent, register=True)
"""

ENDINGS = {
    'the main coroutine returns': """
        async def main():
            futures = [silent.aget(RedisKey('x')) for _ in range(100)]
            futures += [silent.aput(bytearray(1 << 20)), files.aput(bytearray(32 << 20))]
            await asyncio.sleep(0.01)
        run(main())
    """,
    'the loop is left as it is': """
        import warnings
        loop = asyncio.new_event_loop()
        async def main():
            global futures
            futures = [silent.aget(RedisKey('x')), files.aput(bytearray(32 << 20))]
            await asyncio.sleep(0.01)
        loop.run_until_complete(main())
        warnings.simplefilter('ignore')
    """,
    'a loop runs in a daemon thread': """
        begun = threading.Event()
        async def main():
            while True:
                futures = [silent.aget(RedisKey('x')), files.aput(bytearray(8 << 20))]
                begun.set()
                await asyncio.wait(futures, timeout=0.01)
        threading.Thread(target=lambda: run(main()), daemon=True).start()
        begun.wait()
    """,
    'objects were asked for in advance': """
        proxies = [store.proxy_from_key(RedisKey('x')) for _ in range(100)]
        for proxy in proxies:
            resolve_async(proxy)
    """,
    'exit is called by a task': """
        async def main():
            futures = [silent.aget(RedisKey('x')), files.aput(bytearray(32 << 20))]
            await asyncio.sleep(0.01)
            sys.exit(0)
        run(main())
    """,
}


@pytest.mark.parametrize('kind', ['asyncio', 'uvloop'])
@pytest.mark.parametrize('ending', ENDINGS)
def test_a_process_ends_with_operations_under_way(ending, kind, silent, tmp_path) -> None:
    program = _program(PREPARE, ENDINGS[ending])
    done = run_program(program, str(tmp_path), str(silent.port), kind, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


INTERRUPTED = {
    'a get': 'await silent.aget(RedisKey("x"))',
    'a gather': 'await asyncio.gather(*[silent.aget(RedisKey("x")) for _ in range(100)])',
    'a proxy': 'await aresolve(store.proxy_from_key(RedisKey("x")))',
    'a put': 'await store.aput(bytes(1 << 20))',
}


@pytest.mark.parametrize('kind', ['asyncio', 'uvloop'])
@pytest.mark.parametrize('what', INTERRUPTED)
def test_ctrl_c_interrupts(what, kind, silent, tmp_path) -> None:
    program = _program(
        PREPARE,
        f"""
        async def main():
            {INTERRUPTED[what]}
        try:
            run(main())
        except KeyboardInterrupt:
            print('interrupted')
        """,
    )
    assert _interrupt(silent, program, str(tmp_path), kind) == (0, 'interrupted\n', '')


def test_ctrl_c_interrupts_who_waits_for_what_was_asked_for_in_advance(silent, tmp_path) -> None:
    program = _program(
        PREPARE,
        """
        proxy = store.proxy_from_key(RedisKey('x'))
        try:
            # What it asks for follows the interrupt, or waits for it.
            resolve_async(proxy)
            len(proxy)
        except KeyboardInterrupt:
            print('interrupted')
        """,
    )
    outcome = _interrupt(silent, program, str(tmp_path), 'asyncio')
    assert outcome == (0, 'interrupted\n', '')


def _interrupt(
    silent: SilentServer, program: str, directory: str, kind: str
) -> tuple[int, str, str]:
    """Starts a program and interrupts it when its request has reached the server.

    Returns how it ended: its status, and what it wrote to its standard output and error.
    """
    with subprocess.Popen(
        [sys.executable, '-c', program, directory, str(silent.port), kind],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert silent.received.acquire(timeout=PATIENCE)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
        return process.returncode, output, errors


def _program(*parts: str) -> str:
    return '\n'.join(textwrap.dedent(part) for part in parts)
