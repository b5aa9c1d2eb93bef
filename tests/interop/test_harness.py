"""The interpreters that the other tests lean on do what they say."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tests.support.interpreter import Interpreter, RemoteError, run_program
from tests.support.leaks import no_leaked_descriptors, no_leaked_threads
from tests.support.processes import ChildError, run_in_child


def test_upstream_is_the_released_original(upstream: Interpreter) -> None:
    version, path = upstream.run(
        'import proxystore\nresult = (proxystore.__version__, proxystore.__file__)',
    )
    assert version == '1.1.0'
    assert '.venv-upstream' in path


def test_peer_runs_this_package_in_another_process(peer: Interpreter) -> None:
    import proxystore

    version, pid = peer.run('import os, proxystore\nresult = (proxystore.__version__, os.getpid())')
    assert version == proxystore.__version__
    assert pid == peer.pid != os.getpid()


def test_inputs_results_and_output(upstream: Interpreter) -> None:
    result, output = upstream.run_with_output(
        """
        print('seen', a)
        result = {'a': a * 2, 'b': [b, None, (1.5, True)]}
        """,
        a=b'\x00x',
        b='ü',
    )
    assert result == {'a': b'\x00x\x00x', 'b': ['ü', None, (1.5, True)]}
    assert output == "seen b'\\x00x'\n"


def test_snippets_do_not_see_each_other(upstream: Interpreter) -> None:
    upstream.run(
        """
        from proxystore.store import Store, register_store
        from proxystore.connectors.local import LocalConnector
        left = 1
        register_store(Store('left', LocalConnector()))
        """,
    )
    assert upstream.run(
        """
        from proxystore.store import get_store
        result = ('left' in globals(), get_store('left') is None)
        """,
    ) == (False, True)


def test_errors_arrive_with_their_class(upstream: Interpreter) -> None:
    with pytest.raises(RemoteError, match='KeyError') as caught:
        upstream.run("{}['x']")
    assert caught.value.kind == 'KeyError'
    with pytest.raises(RemoteError, match='not plain data'):
        upstream.run('result = object()')


def test_time_limit_and_death_are_errors() -> None:
    import sys

    with Interpreter(sys.executable) as interpreter:
        with pytest.raises(TimeoutError, match='no answer'):
            interpreter.run('import signal; signal.pause()', timeout=0.2)
        with pytest.raises(ConnectionError, match='last words'):
            interpreter.run("import os; os.write(2, b'last words'); os._exit(3)")
        assert interpreter.run('result = 1') == 1


def test_run_program_reports_failure() -> None:
    assert run_program('import sys; print(sys.argv[1])', 'x').stdout == 'x\n'
    with pytest.raises(AssertionError, match='exit status 3'):
        run_program('raise SystemExit(3)')


def test_leaks_are_found() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, args=(30,))
    with pytest.raises(AssertionError, match='threads left running'), no_leaked_threads(0.05):
        thread.start()
    release.set()
    with no_leaked_threads():
        thread.join()
    with (
        pytest.raises(AssertionError, match=r'descriptors left open: .*null'),
        no_leaked_descriptors(0.05),
    ):
        descriptor = os.open('/dev/null', os.O_RDONLY)
    with no_leaked_descriptors():
        os.close(descriptor)


def test_children_report_results_errors_and_deaths(start_method: str) -> None:
    assert run_in_child(start_method, divmod, 7, 2) == (3, 1)
    with pytest.raises(ChildError, match='ZeroDivisionError'):
        run_in_child(start_method, divmod, 7, 0)
    with pytest.raises(ChildError, match='died with exit code 3'):
        run_in_child(start_method, os._exit, 3)
    with pytest.raises(ChildError, match=r'no answer within 0\.5 s'):
        run_in_child(start_method, signal.pause, timeout=0.5)
