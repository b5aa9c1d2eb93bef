from __future__ import annotations

import copy
import pickle

import pytest

from proxystore.store.config import ConnectorConfig, StoreConfig
from proxystore.utils._secrets import LiteralSecret, guard_secrets


@pytest.fixture
def secret() -> LiteralSecret:
    return LiteralSecret('hunter2')


def test_a_secret_hides_itself_in_texts(secret: LiteralSecret) -> None:
    texts = [str(secret), repr(secret), f'{secret}', f'{secret:>9}', f'{secret!r}']
    assert not any('hunter2' in text for text in [*texts, repr({'password': secret})])


def test_a_secret_is_what_it_is_within_its_process(secret: LiteralSecret) -> None:
    assert secret == 'hunter2'
    assert secret.encode() == b'hunter2'
    assert copy.copy(secret) is secret
    assert copy.deepcopy({'password': secret})['password'] is secret


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_refuses_to_be_pickled(secret: LiteralSecret, protocol: int) -> None:
    with pytest.raises(pickle.PicklingError, match='env:NAME'):
        pickle.dumps([secret], protocol)


def test_a_secret_refuses_to_be_written(secret: LiteralSecret, tmp_path) -> None:
    connector = ConnectorConfig(kind='redis', options={'nested': {'password': [secret]}})
    config = StoreConfig(name='store', connector=connector)
    path = tmp_path / 'store.toml'
    with pytest.raises(TypeError, match='env:NAME') as caught:
        config.write_toml(path)
    assert not path.exists()
    assert 'hunter2' not in str(caught.value)
    assert 'hunter2' not in repr(config)


def test_only_secrets_that_stand_there_themselves_are_guarded() -> None:
    options = {'password': 'hunter2', 'secret': 'env:X', 'key': 'file:/x', 'port': 1}
    guarded = guard_secrets(options, frozenset({'password', 'secret', 'key', 'absent'}))
    assert guarded == options
    guards = {name for name, value in guarded.items() if isinstance(value, LiteralSecret)}
    assert guards == {'password'}
    assert type(options['password']) is str
