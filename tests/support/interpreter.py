"""Other Python interpreters: ProxyStore 1.1.0 in its environment, and further ones of ours."""

from __future__ import annotations

import contextlib
import marshal
import os
import selectors
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tests.support.namespaces import Namespace

ROOT = Path(__file__).resolve().parents[2]
UPSTREAM_PYTHON = ROOT / '.venv-upstream' / 'bin' / 'python'

_WORKER = Path(__file__).with_name('_worker.py')


class RemoteError(Exception):
    """A snippet raised in the other interpreter.

    Attributes:
        kind: Name of the exception's class.
        message: Its text.
    """

    def __init__(self, kind: str, message: str, details: str) -> None:
        super().__init__(f'{kind}: {message}\n{details}')
        self.kind = kind
        self.message = message


class Interpreter:
    """One warm process of another interpreter that runs snippets of code.

    Inputs and results are plain data (numbers, str, bytes, None and containers of them): whatever
    else is to cross goes as pickled bytes. A snippet leaves its answer in the variable `result`.
    Every snippet starts from an empty namespace and an empty registry of stores; imported modules
    stay.

    Args:
        python: The interpreter.
        env: Variables added to this process's environment.
        within: Namespaces that it runs in, this process's unless given.
    """

    def __init__(
        self,
        python: Path | str,
        env: dict[str, str] | None = None,
        *,
        within: Namespace | None = None,
    ) -> None:
        self.python = Path(python)
        self._prefix = [] if within is None else within.command()
        self._env = {**os.environ, 'PYTHONDONTWRITEBYTECODE': '1', **(env or {})}
        self._env.pop('PYTHONPATH', None)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None before the first snippet."""
        return None if self._process is None else self._process.pid

    def run(self, code: str, /, *, timeout: float = 60, **inputs: Any) -> Any:
        """Runs a snippet and returns its variable `result`.

        Args:
            code: Python source; common leading white space is removed.
            timeout: Seconds after which the process is killed.
            inputs: Variables of the snippet.

        Raises:
            RemoteError: If the snippet raised.
            TimeoutError: If it did not end in time.
        """
        return self.run_with_output(code, timeout=timeout, **inputs)[0]

    def run_with_output(
        self, code: str, /, *, timeout: float = 60, **inputs: Any
    ) -> tuple[Any, str]:
        """Like `run`, and also returns what the snippet printed."""
        with self._lock:
            if self._process is None:
                self._start()
            request = marshal.dumps((textwrap.dedent(code), inputs))
            deadline = time.monotonic() + timeout
            try:
                self._requests.write(len(request).to_bytes(8, 'little') + request)
                self._requests.flush()
                size = int.from_bytes(self._read(8, deadline), 'little')
                reply = marshal.loads(self._read(size, deadline))
            except BaseException:
                self._stop()
                raise
        if reply[0] == 'ok':
            return marshal.loads(reply[1]), reply[2]
        _, kind, message, trace, output = reply
        raise RemoteError(kind, message, f'{trace}\n{output}')

    def close(self) -> None:
        """Ends the process. Idempotent; the next snippet would start another."""
        with self._lock:
            self._stop()

    def _start(self) -> None:
        request_out, request_in = os.pipe()
        reply_out, reply_in = os.pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 closed in _stop
        self._process = subprocess.Popen(
            [*self._prefix, self.python, '-W', 'ignore', _WORKER, str(request_out), str(reply_in)],
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            pass_fds=(request_out, reply_in),
            env=self._env,
        )
        os.close(request_out)
        os.close(reply_in)
        self._requests = os.fdopen(request_in, 'wb')
        self._replies = reply_out

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            self._requests.close()
        os.close(self._replies)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._errors.close()

    def _read(self, size: int, deadline: float) -> bytes:
        parts = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            while len(parts) < size:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    assert self._process is not None
                    self._process.kill()
                    msg = f'{self.python} gave no answer in time; {self._said()}'
                    raise TimeoutError(msg)
                part = os.read(self._replies, min(size - len(parts), 1 << 20))
                if not part:
                    msg = f'{self.python} ended in the middle of a snippet; {self._said()}'
                    raise ConnectionError(msg)
                parts += part
        return bytes(parts)

    def _said(self) -> str:
        self._errors.seek(0)
        return f'it said: {self._errors.read()[-4000:].decode(errors="replace")!r}'


def upstream_python() -> Path:
    """The interpreter of the environment that holds ProxyStore 1.1.0.

    Raises:
        FileNotFoundError: If there is none; says how to make it.
    """
    if not UPSTREAM_PYTHON.exists():
        msg = f'{UPSTREAM_PYTHON} is missing: `make test` makes it'
        raise FileNotFoundError(msg)
    return UPSTREAM_PYTHON


def run_program(
    program: str | Path,
    *args: str,
    python: Path | str = sys.executable,
    timeout: float = 60,
    check: bool = True,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a whole program in a fresh interpreter that starts and ends by itself.

    Args:
        program: Path of a file, or source code (common leading white space is removed).
        args: Its arguments.
        python: The interpreter; ours unless given.
        timeout: Seconds after which it is killed and `subprocess.TimeoutExpired` is raised.
        check: Whether an exit status other than 0 is an error that shows what the program wrote.
        env: Variables added to this process's environment.
    """
    start = [str(program)] if isinstance(program, Path) else ['-c', textwrap.dedent(program)]
    done = subprocess.run(
        [str(python), *start, *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
        check=False,
    )
    if check and done.returncode != 0:
        msg = f'exit status {done.returncode}\n{done.stdout}\n{done.stderr}'
        raise AssertionError(msg)
    return done
