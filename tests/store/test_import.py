"""What importing the package brings along."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {'cloudpickle', 'numpy', 'pandas', 'polars', 'pyarrow', 'tomli_w'}


def run(code):
    done = subprocess.run(
        [sys.executable, '-W', 'error', '-c', code], capture_output=True, text=True, check=False
    )
    assert done.stderr == ''
    return done.stdout.split()


@pytest.mark.parametrize(
    'use',
    [
        'pass',
        'import proxystore.store.executor, proxystore.store.lifetimes, proxystore.connectors.multi',
        'from proxystore.connectors.local import LocalConnector\n'
        's = proxystore.store.Store("s", LocalConnector(), register=True)\n'
        'p = s.proxy({"a": 1}, populate_target=False); assert p["a"] == 1',
    ],
)
def test_nothing_heavy_is_imported(use):
    code = f'import sys, proxystore.store\n{use}\nprint(*sorted({HEAVY!r} & set(sys.modules)))'
    assert run(code) == []


def test_store_is_reachable_from_the_package():
    code = 'import proxystore\nfrom proxystore.store.base import Store\n'
    assert run(f'{code}print(proxystore.store.get_store("x"))') == ['None']


@pytest.mark.parametrize(
    'module',
    [
        'proxystore.connectors.local',
        'proxystore.connectors.multi',
        'proxystore.connectors.protocols',
        'proxystore.factory',
        'proxystore.serialize',
        'proxystore.store',
        'proxystore.store.base',
        'proxystore.store.cache',
        'proxystore.store.config',
        'proxystore.store.exceptions',
        'proxystore.store.executor',
        'proxystore.store.factory',
        'proxystore.store.future',
        'proxystore.store.lifetimes',
        'proxystore.store.metrics',
        'proxystore.store.ref',
        'proxystore.store.scopes',
        'proxystore.store.types',
        'proxystore.store.utils',
        'proxystore.utils',
        'proxystore.warnings',
    ],
)
def test_every_module_can_be_imported_first(module):
    assert run(f'import {module}; print("ok")') == ['ok']


def test_moved_connectors_warn():
    code = (
        'import warnings\n'
        'with warnings.catch_warnings(record=True) as caught:\n'
        '    warnings.simplefilter("always")\n'
        '    import proxystore.connectors.dim as dim\n'
        '    (warning,) = caught\n'
        '    assert warning.category is UserWarning\n'
        '    assert "moved to ProxyStore Extensions" in str(warning.message)\n'
        '    from proxystore.connectors.dim import exceptions\n'
        '    assert exceptions.__name__ == "proxystore_ex.connectors.dim.exceptions"\n'
        'try:\n'
        '    dim.nothing\n'
        'except AttributeError as error:\n'
        '    assert "nothing" in str(error)\n'
        '    print("ok")\n'
    )
    assert run(code) == ['ok']


def test_extensions_under_our_name():
    code = (
        'import proxystore.ex, proxystore_ex\n'
        'assert proxystore.ex.__version__ == proxystore_ex.__version__\n'
        'from proxystore.ex.connectors.dim import exceptions\n'
        'assert exceptions.__name__ == "proxystore.ex.connectors.dim.exceptions"\n'
        'try:\n'
        '    proxystore.ex.nothing\n'
        'except AttributeError:\n'
        '    print("ok")\n'
    )
    assert run(code) == ['ok']


def test_extensions_that_are_not_installed():
    code = (
        'import sys\n'
        'sys.modules["proxystore_ex"] = None\n'
        'try:\n'
        '    import proxystore.ex\n'
        'except ImportError as error:\n'
        '    assert "pip install" in str(error), error\n'
        '    print("ok")\n'
    )
    assert run(code) == ['ok']
