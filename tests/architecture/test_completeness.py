"""Every list of connectors is complete: the failure names what is missing, and where."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from proxystore import _native
from proxystore.connectors.native import NativeConnector
from tests.asynchronous.support import KINDS
from tests.connectors import test_conformance

ROOT = Path(__file__).parents[2]

#: Native connectors whose Python counterpart keeps Python objects, and is written in Python.
IN_PYTHON = {'local'}
#: Connectors that only exist in Python.
ONLY_IN_PYTHON = {'multi'}
#: How the classes of a connector are named, if not by its kind.
TITLES = {'tcp': 'TCP'}

NATIVE = [row['kind'] for row in _native.connectors()]
ALL = sorted({*NATIVE, *ONLY_IN_PYTHON})


def test_every_crate_of_a_connector_stands_in_the_table() -> None:
    folders = {path.parent.name for path in ROOT.glob('crates/connectors/*/Cargo.toml')}
    missing = folders - set(NATIVE)
    assert not missing, f'add to the table in crates/proxystore/src/lib.rs: {sorted(missing)}'


@pytest.mark.parametrize('kind', ALL)
def test_a_connector_has_its_python_class_and_key(kind: str) -> None:
    module = importlib.import_module(f'proxystore.connectors.{kind}')
    title = TITLES.get(kind, kind.capitalize())
    connector = getattr(module, f'{title}Connector', None)
    assert connector is not None, f'add {title}Connector to proxystore.connectors.{kind}'
    key = getattr(module, f'{title}Key', None)
    assert key is not None, f'add {title}Key to proxystore.connectors.{kind}'
    assert hasattr(key, '_fields'), 'keys are named tuples'
    if kind in NATIVE and kind not in IN_PYTHON:
        assert issubclass(connector, NativeConnector)
        assert connector.kind == kind


@pytest.mark.parametrize('kind', ALL)
def test_a_connector_has_its_conformance_fixture(kind: str) -> None:
    assert kind in test_conformance.SUBJECTS, f'add {kind} to tests/connectors/test_conformance.py'


@pytest.mark.parametrize('kind', ALL)
def test_a_connector_is_tried_by_loops(kind: str) -> None:
    assert kind in KINDS, f'add {kind} to tests/asynchronous/support.py'


@pytest.mark.parametrize('kind', ALL)
def test_a_connector_has_its_documentation(kind: str) -> None:
    page = ROOT / 'docs' / 'connectors' / f'{kind}.md'
    assert page.is_file(), f'write {page.relative_to(ROOT)}'
    for row in _native.connectors():
        if row['kind'] == kind and kind not in IN_PYTHON:
            for name, *_ in row['options']:
                assert f'`{name}`' in page.read_text(), f'{page.name} does not name {name}'


@pytest.mark.parametrize('kind', ALL)
def test_the_readme_lists_the_connector(kind: str) -> None:
    title = TITLES.get(kind, kind.capitalize())
    assert f'`{title}Connector`' in (ROOT / 'README.md').read_text()


def test_the_stub_names_what_the_extension_has() -> None:
    stub = ast.parse((ROOT / 'python/proxystore/_native.pyi').read_text())
    described = set()
    for node in stub.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            # Private names are protocols that only checkers know.
            described.update({node.name} if not node.name.startswith('_') else ())
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            described.add(node.target.id)
    present = {name for name in dir(_native) if not name.startswith('__')} | {'__version__'}
    assert described == present, f'stub and extension differ in {described ^ present}'
