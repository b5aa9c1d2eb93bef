"""Configuration from which a store can be made again."""

from __future__ import annotations

import pickle
import tomllib

import pytest
from pydantic import ValidationError

from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.connectors.multi import MultiConnector
from proxystore.store import Store
from proxystore.store.config import ConnectorConfig, StoreConfig
from proxystore.warnings import NewerFormatWarning


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [
        ('local', LocalConnector),
        ('LocalConnector', LocalConnector),
        ('LOCAL', LocalConnector),
        ('file', FileConnector),
        ('fileconnector', FileConnector),
        ('Multi', MultiConnector),
        ('proxystore.connectors.file.FileConnector', FileConnector),
        (f'{__name__}.Outer.Connector', None),
    ],
)
def test_kind_is_an_import_path_or_a_short_name(kind, expected):
    assert ConnectorConfig(kind=kind).get_connector_type() is (expected or Outer.Connector)


class Outer:
    class Connector(LocalConnector):
        pass


@pytest.mark.parametrize('kind', ['nope', 'nope.Connector', 'collections.Nope', ''])
def test_unknown_kind_names_the_known_ones(kind):
    with pytest.raises(ValueError, match=f'Unknown connector type "{kind}"') as caught:
        ConnectorConfig(kind=kind).get_connector()
    for known in ('file', 'local', 'multi'):
        assert known in str(caught.value)


def test_absent_connector_says_so():
    with pytest.raises(ImportError, match='does not contain'):
        ConnectorConfig(kind='endpoint').get_connector()


def test_options_make_the_connector(store_dir):
    config = ConnectorConfig(kind='file', options={'store_dir': store_dir, 'clear': False})
    assert config.get_connector().config() == {'store_dir': store_dir, 'clear': False}
    with pytest.raises(TypeError, match='nope'):
        ConnectorConfig(kind='local', options={'nope': 1}).get_connector()


def test_own_connector_classes_are_found_again():
    store = Store('store', Outer.Connector())
    assert type(Store.from_config(store.config()).connector) is Outer.Connector


@pytest.mark.parametrize(
    ('fields', 'wrong'),
    [
        ({'novelty': 1}, 'novelty'),
        ({'cache_size': 'many'}, 'cache_size'),
        ({'name': 5}, 'name'),
        ({'serializer': 5}, 'serializer'),
        ({'connector': {'kind': 'local', 'novelty': 1}}, 'connector.novelty'),
        ({'connector': 5}, 'connector'),
    ],
)
def test_wrong_field_is_named(fields, wrong):
    with pytest.raises(ValidationError, match=wrong):
        StoreConfig(**{'name': 'x', 'connector': {'kind': 'local'}, **fields})


def test_toml_survives_here_and_in_upstream(tmp_path, upstream):
    config = StoreConfig(
        name='größe',
        connector=ConnectorConfig(kind='local', options={'include_data_in_config': True}),
        populate_target=False,
    )
    path = tmp_path / 'made' / 'store.toml'
    config.write_toml(path)
    assert StoreConfig.from_toml(path) == StoreConfig.from_toml(str(path)) == config
    written = tomllib.loads(path.read_text())
    assert written['connector'] == {'kind': 'local', 'options': {'include_data_in_config': True}}
    theirs = upstream.run(
        """
        from proxystore.store.config import StoreConfig
        config = StoreConfig.from_toml(path)
        config.write_toml(path)
        result = config.model_dump()
        """,
        path=str(path),
    )
    assert theirs == config.model_dump()
    assert StoreConfig.from_toml(path) == config


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('novelty = 1', 'novelty'),
        ('cache_size = "5"', 'cache_size'),
        ('cache_size = 5.0', 'cache_size'),
        ('serializer = "builtins.str"', 'serializer'),
        ('cache_size == 5', 'line 1'),
    ],
)
def test_wrong_toml_names_the_file_and_the_field(tmp_path, text, message):
    path = tmp_path / 'wrong.toml'
    path.write_text(f'{text}\nname = "x"\n[connector]\nkind = "local"\n')
    with pytest.raises(ValueError, match=message) as caught:
        StoreConfig.from_toml(path)
    assert str(path) in str(caught.value)


def test_missing_field_and_missing_file(tmp_path):
    path = tmp_path / 'missing.toml'
    with pytest.raises(FileNotFoundError):
        StoreConfig.from_toml(path)
    path.write_text('name = "x"')
    with pytest.raises(ValidationError, match='connector'):
        StoreConfig.from_toml(path)


def test_what_toml_cannot_express_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / 'store.toml'
    config = StoreConfig(name='x', connector=ConnectorConfig(kind='local'))
    config.write_toml(path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match='TOML'):
        config.model_copy(update={'serializer': str}).write_toml(path)
    assert path.read_bytes() == before


def test_pickles_go_to_upstream_and_back(store_dir, upstream):
    config = Store('store', FileConnector(store_dir, clear=False), cache_size=3).config()
    theirs, dump, equal = upstream.run(
        """
        import pickle
        from proxystore.store.config import StoreConfig
        config = pickle.loads(data)
        result = (
            pickle.dumps(config), config.model_dump(), config == StoreConfig(**config.model_dump())
        )
        """,
        data=pickle.dumps(config),
    )
    assert pickle.loads(theirs) == config
    assert dump == config.model_dump()
    assert equal


@pytest.mark.parametrize('cls', [StoreConfig, ConnectorConfig])
def test_fields_of_a_newer_version_are_ignored_with_a_warning(cls):
    config = StoreConfig(name='x', connector=ConnectorConfig(kind='local'), cache_size=3)
    part = config if cls is StoreConfig else config.connector
    state = part.__getstate__()
    state['__dict__'] = {**state['__dict__'], 'novelty': 1}
    state['__pydantic_fields_set__'] = {*state['__pydantic_fields_set__'], 'novelty'}
    copied = cls.__new__(cls)
    with pytest.warns(NewerFormatWarning, match=rf'{cls.__name__} .*novelty'):
        copied.__setstate__(state)
    assert copied == part
    assert copied.model_fields_set == part.model_fields_set


def test_fields_that_an_older_version_has_not_are_filled_in():
    config = StoreConfig(name='x', connector=ConnectorConfig(kind='local'))
    state = config.__getstate__()
    state['__dict__'] = {'name': 'x', 'connector': config.connector}
    copied = StoreConfig.__new__(StoreConfig)
    copied.__setstate__(state)
    assert copied == config


def test_models_can_be_copied_and_changed():
    config = Store('store', LocalConnector()).config()
    copied = config.model_copy(deep=True)
    assert copied == config
    copied.name = 'other'
    assert copied != config
    assert StoreConfig(**config.model_dump()) == config
    assert StoreConfig.model_validate_json(config.model_dump_json()) == config
