"""Configuration files written by either implementation are read by the other."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.interpreter import Interpreter

IMPORTS = """
import pickle
from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.connectors.multi import MultiConnector, Policy
from proxystore.store import Store
from proxystore.store.config import ConnectorConfig, StoreConfig
"""

CONFIGS = {
    'file': "Store('s', FileConnector(dir + '/ü', clear=False)).config()",
    'all_options': """Store(
        's', FileConnector(dir, clear=True, buffering=0), cache_size=0, metrics=True,
        populate_target=False, register=True).config()""",
    'local': "Store('s', LocalConnector()).config()",
    'short_kind': """StoreConfig(
        name='s', connector=ConnectorConfig(kind='FILE', options={'store_dir': dir}))""",
}

DEFAULTS = {'clear': True, 'buffering': -1, 'include_data_in_config': False}

WRITE = IMPORTS + '{config}.write_toml(path)'
READ = IMPORTS + 'result = StoreConfig.from_toml(path).model_dump()'


@pytest.mark.parametrize('name', CONFIGS)
@pytest.mark.parametrize('writer', ['upstream', 'peer'])
@pytest.mark.parametrize('reader', ['upstream', 'peer'])
def test_file_crosses(name: str, writer: str, reader: str, request, tmp_path: Path) -> None:
    path = tmp_path / 'store.toml'
    inputs = {'path': str(path), 'dir': str(tmp_path)}
    request.getfixturevalue(writer).run(WRITE.format(config=CONFIGS[name]), **inputs)
    read = request.getfixturevalue(reader).run(READ, **inputs)
    request.getfixturevalue('upstream').run(WRITE.format(config=CONFIGS[name]), **inputs)
    assert _fields(read) == _fields(request.getfixturevalue('upstream').run(READ, **inputs))


@pytest.mark.parametrize('name', CONFIGS)
def test_both_write_the_same_file(name: str, upstream, peer, tmp_path: Path) -> None:
    path = tmp_path / 'store.toml'
    written = []
    for each in (upstream, peer):
        each.run(WRITE.format(config=CONFIGS[name]), path=str(path), dir=str(tmp_path))
        written.append(tomllib.loads(path.read_text()))
    assert _fields(written[0]) == _fields(written[1])


def _fields(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the options that have their defaults: these may be left out."""
    options = config['connector'].get('options', {})
    kept = {k: v for k, v in options.items() if DEFAULTS.get(k) != v or k not in DEFAULTS}
    return {**config, 'connector': {**config['connector'], 'options': kept}}


def test_multi_connector(peer: Interpreter, tmp_path: Path) -> None:
    # Upstream cannot write the file: TOML has no null, which every policy contains.
    result = peer.run(
        IMPORTS
        + """
config = Store('s', MultiConnector({
    'a': (FileConnector(dir + '/a', clear=False), Policy(priority=1, host_pattern='.*')),
    'b': (LocalConnector(), Policy(subset_tags=['t'])),
})).config()
config.write_toml(path)
store = Store.from_config(StoreConfig.from_toml(path))
key = store.put([1])
result = key.connector_name, store.get(key), store.put([2], subset_tags=['t']).connector_name
""",
        path=str(tmp_path / 'store.toml'),
        dir=str(tmp_path),
    )
    assert result == ('a', [1], 'b')


KINDS = 'file FileConnector FILE fileconnector local Multi proxystore.connectors.file.FileConnector'


@pytest.mark.parametrize('kind', KINDS.split())
def test_short_kinds_lead_to_the_same_class(kind: str, upstream, peer) -> None:
    code = f"""{IMPORTS}
found = ConnectorConfig(kind={kind!r}).get_connector_type()
result = f'{{found.__module__}}.{{found.__qualname__}}'
"""
    assert peer.run(code) == upstream.run(code)


@pytest.mark.parametrize(
    'text',
    [
        'name = "s"',
        'name = "s"\ncache_size = "16"\n[connector]\nkind = "local"',
        'name = "s"\ncache_size = 1.0\n[connector]\nkind = "local"',
        'name = "s"\nunknown = 1\n[connector]\nkind = "local"',
        'name = "s"\n[connector]\nkind = "local"\nunknown = 1',
        'name = 1\n[connector]\nkind = "local"',
        'name = "s"\nmetrics = 1\n[connector]\nkind = "local"',
        'name = "s"\nmetrics = "yes"\n[connector]\nkind = "local"',
        'name = "s"\n[connector]\nkind = "local"\noptions = 1',
        'name = ',
        '',
    ],
)
def test_what_one_accepts_or_refuses_the_other_does_too(
    text: str, upstream, peer, tmp_path
) -> None:
    path = tmp_path / 'store.toml'
    path.write_text(text)
    code = f"""{IMPORTS}
try:
    result = StoreConfig.from_toml(path).model_dump()
except ValueError as e:
    result = 'refused'
"""
    assert peer.run(code, path=str(path)) == upstream.run(code, path=str(path))
