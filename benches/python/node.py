"""Nodes: small and large objects over TCP, Unix sockets and TLS, beside bare sockets and peers.

Usage: python -m benches.python.node
"""

from __future__ import annotations

import multiprocessing
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.servers import free_port

from benches.python.harness import ROOT, UPSTREAM, Contender, Row, compete, table
from benches.python.network import (
    ECHOES,
    LARGE,
    MANY,
    SMALL,
    TRANSFERS,
    child,
    contender,
    floor,
    serve,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Microseconds that a put or get of 100 bytes may take.
SMALL_BARS = {'tcp': 25, 'unix': 15}
#: The share of a bare socket's speed that 100 MB must reach, checked from end to end.
LARGE_BAR = 0.75
#: Gets of 1 kB beside a put of 1 GB, at most this many times those alone, at the 99th percentile.
BULK_BAR = 5
#: Gets of 1 kB a second that a node must answer over Unix sockets, on two cores.
CROWD_BAR = 60_000
CROWDS = (8, 64)
CROWD_ROUNDS = 2
SECONDS = 3.0


def connector(port: int, how: str) -> Any:
    """A connector to a node that runs already; `how` is `tcp`, `unix` or `tls`."""
    from proxystore.connectors.tcp import TCPConnector

    encrypt = True if how == 'tls' else None
    return TCPConnector(port=port, node='join', unix=how == 'unix', encrypt=encrypt)


def ours(port: int, how: str, size: int) -> None:
    """Measure our connector."""
    serve(connector(port, how), size)


def original(port: int, size: int) -> None:
    """Measure the original's connector of the same kind, over ZeroMQ."""
    from proxystore_ex.connectors.dim.zmq import ZeroMQConnector

    serve(ZeroMQConnector(port, address='127.0.0.1', timeout=60), size)


def pyzmq(size: int) -> None:
    """Measure a request with the bytes and a small reply, and the other way round, over pyzmq."""
    import zmq

    from benches.python.harness import answer, loop

    context = multiprocessing.get_context('fork')
    ours_, theirs = context.Pipe()
    process = context.Process(target=_answer_zmq, args=(theirs, size), daemon=True)
    process.start()
    peer = zmq.Context().socket(zmq.REQ)
    peer.connect(ours_.recv())
    data = bytes(size)

    def put() -> None:
        peer.send(data, copy=False)
        peer.recv()

    def get() -> None:
        peer.send(b'g')
        peer.recv(copy=False)

    number = MANY if size <= SMALL else 1
    answer({'put': loop(put, number), 'get': loop(get, number)})


def _answer_zmq(connection: Any, size: int) -> None:
    import zmq

    socket = zmq.Context().socket(zmq.REP)
    port = socket.bind_to_random_port('tcp://127.0.0.1')
    connection.send(f'tcp://127.0.0.1:{port}')
    data = bytes(size)
    while True:
        asked = socket.recv(copy=False)
        socket.send(data if asked.bytes == b'g' else b'k', copy=False)


@contextmanager
def node(*, encrypt: bool = False) -> Iterator[int]:
    """A node in a process of its own, and its port."""
    port = free_port()
    encrypted = ', encrypt=True' if encrypt else ''
    code = (
        'import sys\n'
        'from proxystore.connectors.tcp import TCPConnector\n'
        f'connector = TCPConnector(port={port}, budget=8 << 30{encrypted})\n'
        'connector.exists(connector.new_key())\n'
        'print("ready", flush=True)\n'
        'sys.stdin.read()\n'
    )
    with child(code):
        yield port


@contextmanager
def contenders(size: int) -> Iterator[dict[str, Contender]]:
    """Everybody who moves objects of one size."""
    with ExitStack() as stack:
        port = stack.enter_context(node())
        secured = stack.enter_context(node(encrypt=True))
        enter = stack.enter_context
        yield {
            'tcp': enter(contender(f'node.ours({port}, "tcp", {size})')),
            'unix': enter(contender(f'node.ours({port}, "unix", {size})')),
            'tls': enter(contender(f'node.ours({secured}, "tls", {size})')),
            'original': enter(contender(f'node.original({free_port()}, {size})', python=UPSTREAM)),
            'pyzmq': enter(contender(f'node.pyzmq({size})', python=UPSTREAM)),
            'bare': enter(floor(size, ECHOES if size <= SMALL else TRANSFERS)),
        }


def small_rows() -> list[Row]:
    """100 bytes."""
    with contenders(SMALL) as all_:
        best = compete(all_, rounds=20)
    rows = []
    for how, limit in SMALL_BARS.items():
        for case in ('put', 'get'):
            found = best[case]
            others = {
                'bare echo': best[f'echo-{how}']['bare'],
                'pyzmq': found['pyzmq'],
                'original': found['original'],
            }
            micros = found[how] / 1e3
            row = Row(
                f'{case} 100 B, {how}',
                found[how],
                others,
                f'<= {limit} µs',
                f'{micros:.1f} µs',
                micros <= limit,
            )
            rows.append(row)
    return rows


def large_rows(cipher: float) -> list[Row]:
    """100 MB; `cipher` is the time of encrypting them once, in nanoseconds."""
    with contenders(LARGE) as all_:
        best = compete(all_, rounds=6)
    rows = []
    for how in ('tcp', 'unix'):
        for case, bare in (
            ('put', 'send'),
            ('get', 'receive'),
            ('put-kept', 'keep'),
            ('get-kept', 'fresh'),
        ):
            found = best[case]
            floor_ = best[f'{bare}-{how}']['bare']
            speed = floor_ / found[how]
            others = {'bare': floor_}
            others |= {name: found[name] for name in ('pyzmq', 'original') if name in found}
            bar = f'>= {LARGE_BAR} of bare' if how == 'tcp' else ''
            met = speed >= LARGE_BAR if bar else None
            rows.append(Row(f'{case} 100 MB, {how}', found[how], others, bar, f'{speed:.2f}', met))
    for case, bare in (('put', 'send'), ('get', 'receive')):
        floor_ = best[f'{bare}-tcp']['bare'] + cipher
        speed = floor_ / best[case]['tls']
        rows.append(
            Row(
                f'{case} 100 MB, TLS',
                best[case]['tls'],
                {'bare': floor_},
                '>= 0.8 of socket + cipher',
                f'{speed:.2f}',
                speed >= 0.8,
            )
        )
    return rows


def encryption() -> float:
    """Nanoseconds of encrypting 100 MB with AES-128-GCM in records of 16 kB, by OpenSSL."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(bytes(16))
    record = bytes(16384)
    best = float('inf')
    for _ in range(5):
        start = time.perf_counter_ns()
        for _ in range(LARGE // len(record)):
            cipher.encrypt(b'\0' * 12, record, None)
        best = min(best, time.perf_counter_ns() - start)
    return best


def latencies(port: int, how: str, seconds: float) -> list[float]:
    """Times of gets of 1 kB, one after the other, in nanoseconds."""
    store = connector(port, how)
    key = store.put(bytes(1000))
    store.get(key)
    found = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter_ns()
        store.get(key)
        found.append(time.perf_counter_ns() - start)
    store.evict(key)
    return found


def _put_for_a_while(port: int, how: str, begun: Any, ended: Any) -> None:
    import numpy as np

    store = connector(port, how)
    data = np.ones(125_000_000)
    while not ended.is_set():
        begun.set()
        store.evict(store.put(data))


def bulk_row(how: str) -> Row:
    """Small gets beside a put of 1 GB, both the same way."""
    context = multiprocessing.get_context('spawn')
    with node() as port:
        idle = statistics.quantiles(latencies(port, how, SECONDS), n=100)[-1]
        begun, ended = context.Event(), context.Event()
        busy_process = context.Process(target=_put_for_a_while, args=(port, how, begun, ended))
        busy_process.start()
        begun.wait()
        busy = statistics.quantiles(latencies(port, how, SECONDS), n=100)[-1]
        ended.set()
        busy_process.join()
    ratio = busy / idle
    return Row(
        f'p99 of get 1 kB beside a put of 1 GB, {how}',
        busy,
        {'alone': idle},
        f'<= {BULK_BAR} x alone',
        f'{ratio:.1f}',
        ratio <= BULK_BAR,
    )


def _get_for_a_while(port: int, how: str, barrier: Any, answers: Any) -> None:
    store = connector(port, how)
    key = store.put(bytes(1000))
    barrier.wait()
    end = time.perf_counter() + SECONDS
    count = 0
    while time.perf_counter() < end:
        for _ in range(20):
            store.get(key)
        count += 20
    answers.put(count)


def crowd(port: int, how: str, clients: int) -> float:
    """Gets of 1 kB a second, by many client processes of one node."""
    context = multiprocessing.get_context('fork')
    barrier, answers = context.Barrier(clients), context.Queue()
    processes = [
        context.Process(target=_get_for_a_while, args=(port, how, barrier, answers))
        for _ in range(clients)
    ]
    for process in processes:
        process.start()
    total = sum(answers.get() for _ in processes)
    for process in processes:
        process.join()
    return float(total / SECONDS)


def bare_crowd(how: str, clients: int) -> float:
    """As `crowd`, by system calls and nothing else."""
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory, 'crowd_floor')
        source = ROOT / 'benches' / 'floors' / 'crowd_floor.c'
        subprocess.run(['cc', '-O2', '-pthread', '-o', program, source], check=True)
        command = [program, how, str(clients), str(SECONDS)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def crowds() -> str:
    """Lines about many clients at once."""
    header = '| clients, gets of 1 kB a second | Unix sockets | bare | TCP | bare |'
    lines = ['', header, '|---|---|---|---|---|']
    found: dict[int, float] = {}
    with node() as port:
        for clients in CROWDS:
            figures = []
            for how in ('unix', 'tcp'):
                rounds = range(CROWD_ROUNDS)
                ours_ = max(crowd(port, how, clients) for _ in rounds)
                figures += [ours_, max(bare_crowd(how, clients) for _ in rounds)]
            found[clients] = figures[0]
            lines.append(f'| {clients} | ' + ' | '.join(f'{rate:,.0f}' for rate in figures) + ' |')
    most, least = found[max(CROWDS)], found[min(CROWDS)]
    enough = 'met' if most >= CROWD_BAR else '**missed**'
    steady = 'met' if most >= least else '**missed**'
    lines.append(
        f'\nBars: at least {CROWD_BAR:,} by {max(CROWDS)} clients over Unix sockets: {enough}; no '
        f'less than by {min(CROWDS)}: {most / least:.2f}, {steady}.'
    )
    return '\n'.join(lines) + '\n'


def main() -> str:
    """Measure everything and lay it out."""
    rows = [*small_rows(), *large_rows(encryption()), *map(bulk_row, SMALL_BARS)]
    return table('Nodes', rows) + crowds()


if __name__ == '__main__':
    print(main())
