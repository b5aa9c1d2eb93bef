"""Nodes that outlive whoever started them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxystore.connectors import exceptions
from proxystore.connectors.exceptions import (
    ConnectorError,
    ConnectorTimeoutError,
    ConnectorUnavailableError,
)
from proxystore.node.process import (
    HOSTNAME,
    PORT,
    DaemonNode,
    Node,
    NodeProcess,
    node_options,
    running,
)
from proxystore.utils.environment import home_dir

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['start', 'stop']

logger = logging.getLogger(__name__)

#: Seconds that clients have to finish when a daemon is asked to end.
DRAIN = 10.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def start(
    hostname: str = HOSTNAME,
    port: int = PORT,
    *,
    secret: str | None = None,
    certificate: str | os.PathLike[str] | None = None,
    certificate_key: str | os.PathLike[str] | None = None,
    authority: str | os.PathLike[str] | None = None,
    budget: int | None = None,
    spill: str | os.PathLike[str] | None = None,
    unix: bool = True,
    encrypt: bool | None = None,
    timeout: float = 30.0,
) -> NodeProcess:
    """Start a node as a daemon, unless this user has one on that port of this host.

    What it has to say goes to the file `node-<port>.log` in this user's
    directory of ProxyStore. It ends by [`stop`][proxystore.node.stop], or by
    SIGTERM.

    Args:
        hostname: See [`Node`][proxystore.node.Node], as for what follows.
        port: Port. It must not be 0.
        secret: What all clients must know. One that stands here itself goes
            through a pipe, so that no list of processes shows it.
        certificate: File with the certificate to show to clients.
        certificate_key: File with the private key of the certificate.
        authority: File with the certificates that clients' must be signed by.
        budget: Most bytes of memory that objects may take.
        spill: Directory on a disk for what is over the budget.
        unix: Let processes of this user reach it by a Unix socket.
        encrypt: Encrypt connections by TCP.
        timeout: Seconds until it must answer.

    Returns:
        The process that is the node, started here or found.

    Raises:
        ConnectorError: As [`Node`][proxystore.node.Node] raises;
            `ConnectorTimeoutError` if it does not answer in time.
    """
    if port == 0:
        msg = 'a daemon needs a port by which it can be found, not port=0'
        raise exceptions.ConnectorConfigError(msg)
    found = running(port)
    if found is not None and found.address:
        return found
    options = node_options(
        hostname=hostname,
        port=port,
        secret=secret,
        certificate=certificate,
        certificate_key=certificate_key,
        authority=authority,
        budget=budget,
        spill=spill,
        unix=unix,
        encrypt=encrypt,
    )
    answer = _launch(options, timeout)
    if 'error' not in answer:
        return NodeProcess(answer['pid'], is_daemon=True, address=answer['address'])
    # Another one may have been a little faster.
    found = running(port)
    if found is not None and found.address:
        return found
    kind = getattr(exceptions, answer['kind'], ConnectorError)
    raise kind(answer['error'])


def stop(port: int = PORT, timeout: float = 30.0) -> bool:
    """End this user's daemon on a port of this host; clients may finish what is under way.

    Args:
        port: The port.
        timeout: Seconds until it must have ended.

    Returns:
        Whether there was one.

    Raises:
        ConnectorError: If the node is part of another program.
        ConnectorTimeoutError: If it has not ended in time.
    """
    found = running(port)
    if found is None:
        return False
    if not found.is_daemon:
        msg = (
            f'the node on port {port} is part of the program that is process {found.pid}, and ends '
            'with it'
        )
        raise ConnectorError(msg)
    try:
        descriptor = os.pidfd_open(found.pid)
    except ProcessLookupError:
        return True
    try:
        # The number may be another process's by now; the descriptor stays what it is.
        if running(port) != found:
            return True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        if not _is_readable(descriptor, timeout):
            msg = f'process {found.pid}, the node on port {port}, has not ended within {timeout} s'
            raise ConnectorTimeoutError(msg)
    finally:
        os.close(descriptor)
    return True


def serve(options: dict[str, Any], tell: Callable[[Node], None]) -> bool:
    """Be a node until SIGTERM or SIGINT.

    Args:
        options: Options of the node.
        tell: Called once it answers.

    Returns:
        Whether all clients had finished at the end.
    """
    # Threads that start from here on leave them to this one.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        node = DaemonNode(options)
        tell(node)
        logger.info('process %d is the node at %s:%d', os.getpid(), node.hostname, node.port)
        number = signal.sigwait(_SIGNALS)
        logger.info('ending, as signal %d asks', number)
        have_finished = node.stop(DRAIN)
        if not have_finished:
            logger.warning('clients had not finished after %g s', DRAIN)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return have_finished


def _launch(options: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Start a daemon, and return what it says once it answers or has failed."""
    home = Path(home_dir())
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = home / f'node-{options["port"]}.log'
    until = time.monotonic() + timeout
    read_end, write_end = os.pipe()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    with os.fdopen(read_end, 'rb', buffering=0) as answers:
        try:
            output = os.open(log, flags, 0o600)
            try:
                process = subprocess.Popen(
                    [sys.executable, '-m', 'proxystore.node._child', str(write_end)],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    pass_fds=[write_end],
                )
            finally:
                os.close(output)
        finally:
            os.close(write_end)
        # It goes on in a process of its own.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(json.dumps(options).encode(), timeout=timeout)
        text = b''
        while not text.endswith(b'\n'):
            left = max(until - time.monotonic(), 0)
            if not _is_readable(answers.fileno(), left):
                process.kill()
                process.wait()
                msg = f'the node does not answer after {timeout} s; see {log}'
                raise ConnectorTimeoutError(msg)
            part = answers.read(4096)
            if not part:
                msg = f'the node has ended while it started; see {log}'
                raise ConnectorUnavailableError(msg)
            text += part
    answer: dict[str, Any] = json.loads(text)
    return answer


def _is_readable(descriptor: int, timeout: float) -> bool:
    """Wait until there is something to read; `select.select` takes no large descriptors."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))
