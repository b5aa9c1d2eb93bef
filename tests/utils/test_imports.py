"""Objects by the path that they are imported from."""

from __future__ import annotations

import collections
import os

import pytest

from proxystore.utils import get_object_path, import_from_path


class Outer:
    class Inner:
        def method(self):
            pass


def test_paths_lead_back_to_the_object():
    for obj in (collections.OrderedDict, Outer, Outer.Inner, Outer.Inner.method, os.path.join, len):
        assert import_from_path(get_object_path(obj)) is obj


def test_modules_can_be_imported():
    assert import_from_path('os.path') is os.path


@pytest.mark.parametrize('path', ['dict', ''])
def test_path_without_module(path):
    with pytest.raises(ImportError, match='must contain at least one module'):
        import_from_path(path)


@pytest.mark.parametrize('path', ['no_such_module.Name', 'no_such_module.sub.Name'])
def test_module_that_is_not_there(path):
    with pytest.raises(ModuleNotFoundError, match='no_such_module'):
        import_from_path(path)


@pytest.mark.parametrize('path', ['collections.Nope', f'{__name__}.Outer.Nope'])
def test_name_that_is_not_there(path):
    with pytest.raises(AttributeError, match='Nope'):
        import_from_path(path)


def test_failure_inside_a_module_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / 'broken_module.py').write_text('import missing_dependency')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match='missing_dependency'):
        import_from_path('broken_module.Name')


def test_object_without_a_name():
    with pytest.raises(AttributeError):
        get_object_path(5)
