"""Parts of the interface that this release lacks say so when they are imported, and only then."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
import warnings

import pytest

import proxystore
from proxystore._absent import ABSENT, AbsentModuleFinder
from tests.support.interpreter import Interpreter, run_program

pytestmark = pytest.mark.filterwarnings('ignore::proxystore.warnings.ExperimentalWarning')


@pytest.mark.parametrize('name', ABSENT)
def test_importing_says_what_is_absent_and_what_to_do(name: str) -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module(name)
    message = str(caught.value)
    assert f'does not contain {name} yet' in message
    assert proxystore.__version__ in message
    assert 'Use ' in message
    assert name not in sys.modules


@pytest.mark.parametrize('name', ABSENT)
def test_every_form_of_import_says_so(name: str) -> None:
    package, _, module = name.rpartition('.')
    for statement in (
        f'import {name}',
        f'import {name}.anything',
        f'from {name} import Anything',
        f'from {package} import {module}',
    ):
        with pytest.raises(ModuleNotFoundError, match=f'does not contain {name} yet'):
            exec(statement, {})


@pytest.mark.parametrize('name', ABSENT)
def test_asking_whether_it_exists_is_no_error(name: str) -> None:
    package, _, module = name.rpartition('.')
    assert importlib.util.find_spec(name) is None
    assert not hasattr(importlib.import_module(package), module)
    assert module not in {m.name for m in pkgutil.iter_modules(sys.modules[package].__path__)}


def test_importorskip_skips() -> None:
    with pytest.raises(pytest.skip.Exception):
        pytest.importorskip('proxystore.endpoint')


@pytest.mark.parametrize('name', ['proxystore.no_such_part', 'proxystore.store.no_such_part'])
def test_other_modules_are_missed_as_usual(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match='No module named'):
        importlib.import_module(name)


def test_finder_comes_last_and_once() -> None:
    importlib.reload(proxystore)
    assert sys.meta_path.count(AbsentModuleFinder) == 1
    # Others may append finders of their own later.
    ours = sys.meta_path.index(AbsentModuleFinder)
    assert ours > sys.meta_path.index(importlib.machinery.PathFinder)


def test_absent_modules_are_what_upstream_has_and_we_do_not(upstream: Interpreter) -> None:
    walk = """
        import pkgutil, warnings
        warnings.simplefilter('ignore')
        import proxystore
        result = sorted(m.name for m in pkgutil.walk_packages(
            proxystore.__path__, 'proxystore.', onerror=lambda name: None))
    """
    absent = set(upstream.run(walk)) - {module.name for module in _walk_ours()}
    # What lies in an absent package goes with it, and private modules are nobody's business.
    missing = {name for name in absent if absent.isdisjoint(_parents(name)) and '._' not in name}
    assert missing == set(ABSENT)


def test_console_scripts_of_absent_parts_are_absent(upstream: Interpreter) -> None:
    listing = """
        import importlib.metadata
        scripts = importlib.metadata.entry_points(group='console_scripts')
        result = {script.name: script.module for script in scripts}
    """
    theirs = upstream.run(listing)
    ours = {script.name for script in importlib.metadata.entry_points(group='console_scripts')}
    absent = {name for name, module in theirs.items() if {module, *_parents(module)} & set(ABSENT)}
    assert absent, (
        'upstream has a script for each of these parts: this test looks in the wrong place'
    )
    assert not absent & ours


def test_extras_of_upstream_exist(upstream: Interpreter) -> None:
    theirs = upstream.run(
        """
        import importlib.metadata
        result = importlib.metadata.metadata('proxystore').get_all('Provides-Extra')
        """,
    )
    ours = importlib.metadata.metadata('proxystore').get_all('Provides-Extra')
    assert ours is not None
    assert set(theirs) <= set(ours)


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = """
        import sys
        import proxystore
        print(*sorted(m for m in sys.modules if m.startswith('proxystore')))
    """
    assert run_program(program).stdout.split() == ['proxystore', 'proxystore._absent']


def _walk_ours() -> list[pkgutil.ModuleInfo]:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return list(pkgutil.walk_packages(proxystore.__path__, 'proxystore.'))


def _parents(name: str) -> list[str]:
    parts = name.split('.')
    return ['.'.join(parts[:i]) for i in range(1, len(parts))]
