"""What type checkers make of proxies: mypy without and with the plugin, and pyright."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from proxystore import mypy_plugin
from tests.support.interpreter import ROOT

if TYPE_CHECKING:
    from pathlib import Path

HEADER = """\
from __future__ import annotations
import io
from collections.abc import Awaitable, Callable, Iterator
import numpy as np
from numpy.typing import NDArray
from proxystore.proxy import Proxy, ProxyLocker, ProxyOr, extract, get_factory, is_resolved, resolve
from proxystore.proxy import FactoryType
from proxystore.store.ref import OwnedProxy, borrow

class Target:
    attribute: int = 1
    @property
    def computed(self) -> str: return ''
    def method(self, number: int) -> list[int]: return [number]

class Subclass(Proxy[Target]):
    def own(self) -> bytes: return b''

def takes_target(target: Target) -> None: ...
def takes_proxy_or(target: ProxyOr[int]) -> None: ...

async def check(
    target: Proxy[Target],
    subclass: Subclass,
    owned: OwnedProxy[Target],
    integer: Proxy[int],
    number: Proxy[float],
    text: Proxy[str],
    data: Proxy[bytes],
    strings: Proxy[list[str]],
    mapping: Proxy[dict[str, int]],
    pair: Proxy[tuple[int, str]],
    either: Proxy[int | str],
    function: Proxy[Callable[[int], str]],
    array: Proxy[NDArray[np.float64]],
    stream: Proxy[io.StringIO],
    iterator: Proxy[Iterator[bytes]],
    awaitable: Proxy[Awaitable[int]],
    maker: FactoryType[Target],
) -> None:
"""

# Expression; what mypy reveals; the same with the plugin; pyright. None: as the column before.
# Where a column says Any, the type system has no words: that is the documented limit.
REVEALED = [
    ('target.attribute', 'Any', 'int', 'Any'),
    ('target.computed', 'Any', 'str', 'Any'),
    ('target.method(1)', 'Any', 'list[int]', 'Any'),
    ('owned.attribute', 'Any', 'int', 'Any'),
    ('subclass.attribute', 'Any', 'int', 'Any'),
    ('subclass.own()', 'bytes', None, None),
    ('strings.index', 'Any', None, None),
    ('either.__doc__', 'str | None', None, None),
    ('target.__proxy_resolved__', 'bool', None, None),
    ('integer + 1', 'int', None, None),
    ('integer + integer', 'int', None, None),
    ('1 + integer', 'int', None, None),
    ('-integer', 'int', None, None),
    ('integer < 1', 'bool', None, None),
    ('integer == 1', 'bool', None, None),
    ('divmod(integer, 2)', 'tuple[int, int]', None, 'Unknown'),
    ('number * 2', 'float', None, None),
    ('text + "a"', 'str', None, None),
    ('text[0]', 'str', None, None),
    ('text % 1', 'str', None, None),
    ('data[0]', 'int', None, None),
    ('data[:1]', 'bytes', None, None),
    ('strings[0]', 'str', None, None),
    ('strings[1:]', 'list[str]', None, None),
    ('strings + ["a"]', 'list[str]', None, None),
    ('len(strings)', 'int', None, None),
    ('list(strings)', 'list[str]', None, 'list[Unknown]'),
    ('[item for item in strings]', 'list[str]', None, None),
    ('mapping["a"]', 'int', None, None),
    ('list(mapping)', 'list[str]', None, 'list[Unknown]'),
    ('pair[0]', 'int | str', None, None),
    ('function(1)', 'str', None, None),
    ('next(iterator)', 'bytes', None, 'Unknown'),
    ('array + 1', 'ARRAY', None, None),
    ('array @ array', 'ARRAY', None, None),
    ('stream.__enter__()', '_io.StringIO', None, 'StringIO'),
    ('abs(integer)', 'int', None, 'Unknown'),
    ('await awaitable', 'int', None, 'Unknown'),
    ('extract(target)', 'sample.Target', None, 'Target'),
    ('get_factory(target)', 'def () -> sample.Target', None, '() -> Target'),
    ('is_resolved(target)', 'bool', None, None),
    (
        'ProxyLocker(target).unlock()',
        'proxystore.proxy.Proxy[sample.Target]',
        None,
        'Proxy[Target]',
    ),
    ('Proxy(maker)', 'proxystore.proxy.Proxy[sample.Target]', None, 'Proxy[Target]'),
    ('Proxy(lambda: 1)', 'proxystore.proxy.Proxy[int]', None, 'Proxy[int]'),
    ('borrow(owned)', 'proxystore.store.ref.RefProxy[sample.Target]', None, 'RefProxy[Target]'),
]

# Statements that all three accept.
ACCEPTED = [
    'takes_target(target)',
    'as_target: Target = target',
    'takes_proxy_or(integer)',
    'takes_proxy_or(1)',
    'target.attribute = 2',
    'del target.attribute',
    'strings[0] = "a"',
    'strings.append("a")',
    'integer += 1',
    'with stream as entered: entered.write("")',
    'resolve(target)',
    'np.sum(array)',
    'isinstance(target, Target)',
]

# Statements, and which checkers complain: p for the plugin. Nobody else can know.
REFUSED = [
    ('target.missing', 'p'),
    ('strings.append(1)', 'p'),
    ('target.method("a")', 'p'),
    ('either.upper()', 'p'),
]


@pytest.fixture(scope='module')
def sample(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp('typing')
    lines = [f'reveal_type({row[0]})' for row in REVEALED]
    lines += ACCEPTED + [statement for statement, _ in REFUSED]
    body = ''.join(f'    {line}\n' for line in lines)
    path = directory / 'sample.py'
    path.write_text(HEADER + body)
    return path


@pytest.fixture(scope='module')
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('mypy-cache')


def line_of(index: int) -> int:
    return HEADER.count('\n') + 1 + index


def run_mypy(sample: Path, cache: Path, *, plugin: bool):
    """Revealed types and errors, by line."""
    config = sample.with_name(f'mypy-{plugin}.ini')
    plugins = 'plugins = proxystore.mypy_plugin\n' if plugin else ''
    config.write_text(f'[mypy]\nstrict = true\nmypy_path = {ROOT / "python"}\n{plugins}')
    command = [sys.executable, '-m', 'mypy', '--config-file', str(config), sample.name]
    command += ['--cache-dir', str(cache / str(plugin)), '--no-pretty', '--no-error-summary']
    done = subprocess.run(
        command, cwd=sample.parent, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    revealed, errors = {}, {}
    for line in done.stdout.splitlines():
        match = re.match(r'(.+?):(\d+): (note|error): (.*)', line)
        assert match is not None, line
        assert match[1] == 'sample.py', line
        number, message = int(match[2]), match[4]
        if message.startswith('Revealed type is'):
            revealed[number] = message.split('"')[1]
        elif match[3] == 'error':
            errors.setdefault(number, []).append(message)
    return revealed, errors


def run_pyright(sample: Path):
    """Revealed types and errors, by line."""
    config = {
        'include': ['sample.py'],
        'extraPaths': [str(ROOT / 'python')],
        'typeCheckingMode': 'strict',
        'pythonVersion': '3.11',
        # The sample neither uses what it makes nor hides what it does not know.
        'reportUnusedImport': False,
        'reportUnusedVariable': False,
        'reportUnusedExpression': False,
        'reportUnusedCoroutine': False,
        'reportUnnecessaryComparison': False,
        'reportUnnecessaryIsInstance': False,
        'reportUnknownVariableType': False,
        'reportUnknownArgumentType': False,
        'reportUnknownMemberType': False,
    }
    sample.with_name('pyrightconfig.json').write_text(json.dumps(config))
    command = [sys.executable, '-m', 'pyright', '--outputjson', '--pythonpath', sys.executable]
    done = subprocess.run(
        command,
        cwd=sample.parent,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, 'PYRIGHT_PYTHON_IGNORE_WARNINGS': '1'},
    )
    revealed, errors = {}, {}
    for found in json.loads(done.stdout)['generalDiagnostics']:
        number = found['range']['start']['line'] + 1
        if match := re.match(r'Type of ".*" is "(.*)"$', found['message'], re.DOTALL):
            revealed[number] = match[1]
        elif found['severity'] == 'error':
            errors.setdefault(number, []).append(found['message'])
    return revealed, errors


def normal(shown: str) -> str:
    shown = shown.replace('builtins.', '')
    return 'ARRAY' if re.match(r'(numpy\.)?(ndarray|NDArray)\[', shown) else shown


def check(revealed, errors, column: int, complain: str):
    expected = {}
    for index, row in enumerate(REVEALED):
        value = row[column]
        while value is None:
            column_before = row.index(None) - 1
            value = row[column_before]
        expected[line_of(index)] = value
    assert {line: normal(shown) for line, shown in revealed.items()} == expected
    first = len(REVEALED) + len(ACCEPTED)
    refused = {line_of(first + index) for index, (_, who) in enumerate(REFUSED) if complain in who}
    assert set(errors) == refused, errors


def test_mypy_without_the_plugin(sample, cache):
    check(*run_mypy(sample, cache, plugin=False), column=1, complain='m')


def test_mypy_with_the_plugin(sample, cache):
    revealed, errors = run_mypy(sample, cache, plugin=True)
    # What the plugin reveals of a method differs between versions of mypy in its spelling.
    index = next(n for n, row in enumerate(REVEALED) if row[0] == 'strings.index')
    assert revealed.pop(line_of(index)).startswith('def (')
    revealed[line_of(index)] = 'Any'
    check(revealed, errors, column=2, complain='p')
    codes = [re.search(r'\[([a-z-]+)\]$', messages[0])[1] for messages in errors.values()]
    assert codes == ['attr-defined', 'arg-type', 'arg-type', 'union-attr']


def test_pyright(sample):
    check(*run_pyright(sample), column=3, complain='r')


def test_the_plugin_has_the_originals_names():
    assert mypy_plugin.plugin('1.0') is mypy_plugin.ProxyStoreMypyPlugin
    assert mypy_plugin.PROXY_TYPES == (
        'proxystore.proxy.Proxy',
        'proxystore.store.ref.BaseRefProxy',
        'proxystore.store.ref.OwnedProxy',
        'proxystore.store.ref.RefProxy',
        'proxystore.store.ref.RefMutProxy',
    )
    for name in (
        'ATTR_DEFINED',
        'UNION_ATTR',
        'P',
        'find_member',
        'format_type',
        'get_proper_type',
    ):
        assert hasattr(mypy_plugin, name)
    assert callable(mypy_plugin.proxy_attribute_access)
