"""Every public name of upstream's modules is here, and can be used in the same ways.

Upstream itself is asked, so that there is no list to go stale. Where we differ on purpose the
difference stands in `DIFFERENCES` with its reason; one that no longer exists is an error too.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from proxystore._absent import ABSENT
from tests.interop import surface
from tests.support.interpreter import run_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.interpreter import Interpreter

Surface = dict[str, dict[str, dict[str, Any]]]

_SOURCE = inspect.getsource(surface).replace('from __future__ import annotations', '')

_NATIVE = 'the proxy is a native type, which answers this in a slot of its own'

# Class and fact, wherever the class can be reached.
DIFFERENCES: dict[str, str] = {
    'Proxy.bases': 'an intermediate class that gave upstream its metaclass',
    'Proxy.__name__()': _NATIVE,
    'Proxy.__class__()': _NATIVE,
    'Proxy.__getattr__()': _NATIVE,
    'ProxyMetaType.signature': 'the metaclass is native, too',
    'RedisConnector.signature': 'a URL, a socket or sentinels may stand for hostname and port',
}
_SUBCLASSES_OF_PROXY = ('BaseRefProxy', 'OwnedProxy', 'RefProxy', 'RefMutProxy')
DIFFERENCES |= {
    name.replace('Proxy', subclass, 1): reason
    for name, reason in DIFFERENCES.items()
    for subclass in _SUBCLASSES_OF_PROXY
    if name.startswith('Proxy.')
}


@pytest.fixture(scope='module')
def theirs(upstream: Interpreter) -> Surface:
    found = upstream.run(_SOURCE + 'result = surface()')
    return {module: names for module, names in found.items() if not _is_absent(module)}


@pytest.fixture(scope='module')
def ours(peer: Interpreter) -> Surface:
    return peer.run(_SOURCE + 'result = surface()')


def test_every_public_name_is_here_and_fits(theirs: Surface, ours: Surface) -> None:
    found = dict(_differences(theirs, ours))
    explained = {name for name in found if _short(name) in DIFFERENCES}
    unexplained = [f'{name}: {said}' for name, said in found.items() if name not in explained]
    assert not unexplained, '\n'.join(unexplained)
    gone = DIFFERENCES.keys() - {_short(name) for name in explained}
    assert not gone, f'listed as different, but equal: {sorted(gone)}'


def test_the_original_was_really_asked(theirs: Surface) -> None:
    assert len(theirs) > 35
    assert 'LRUCache' in theirs['proxystore.store.cache']
    assert theirs['proxystore.store.base']['Store']['proxy_batch()'][0] == 'method'


def test_a_difference_would_be_found(theirs: Surface) -> None:
    store = theirs['proxystore.store.base']['Store']
    method, signature = store['get()']
    broken = {
        **theirs,
        'proxystore.store.base': {
            **theirs['proxystore.store.base'],
            'Store': {**store, 'get()': (method, signature[:-1])},
            'LRUCache': None,
        },
    }
    assert sorted(name for name, _ in _differences(theirs, broken)) == [
        'proxystore.store.base.LRUCache',
        'proxystore.store.base.Store.get()',
    ]
    assert [name for name, _ in _differences(theirs, {})] == list(theirs)


def test_any_module_can_be_imported_first(theirs: Surface) -> None:
    program = """
        import importlib, os, sys, warnings
        warnings.simplefilter('ignore')
        failed = []
        for module in sys.argv[1:]:
            pid = os.fork()
            if pid == 0:
                importlib.import_module(module)
                os._exit(0)
            if os.waitpid(pid, 0)[1] != 0:
                failed.append(module)
        print(*failed)
    """
    assert run_program(program, *theirs).stdout.split() == []


def test_what_one_import_makes_reachable(upstream: Interpreter, peer: Interpreter) -> None:
    names = 'proxy store store.base store.get_store store.exceptions serialize factory connectors'
    for statement in ('import proxystore', 'import proxystore.store', 'import proxystore.proxy'):
        program = f"""
{statement}
import operator
def there(name):
    try:
        operator.attrgetter(name)(proxystore)
    except AttributeError:
        return False
    return True
print([name for name in {names.split()} if there(name)])
"""
        theirs = run_program(program, python=upstream.python).stdout
        assert set(eval(theirs)) <= set(eval(run_program(program, python=peer.python).stdout))


def test_import_warnings_are_the_same(upstream: Interpreter, peer: Interpreter) -> None:
    program = """
        import warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            import proxystore.store
            import proxystore.stream
            import proxystore.connectors.dim
        print(*[w.category.__module__ + '.' + w.category.__name__ for w in caught])
    """
    theirs = run_program(program, python=upstream.python).stdout
    assert run_program(program, python=peer.python).stdout == theirs
    assert 'ExperimentalWarning' in theirs


def _short(name: str) -> str:
    return '.'.join(name.split('.')[-2:])


def _is_absent(module: str) -> bool:
    return any(module == name or module.startswith(f'{name}.') for name in ABSENT)


def _differences(theirs: Surface, ours: Surface) -> Iterator[tuple[str, str]]:
    for module, names in theirs.items():
        if module not in ours:
            yield module, 'missing'
            continue
        for name, facts in names.items():
            here = ours[module].get(name)
            if here is None:
                yield f'{module}.{name}', 'missing'
                continue
            for fact, value in facts.items():
                if not _fits(fact, value, here.get(fact)):
                    yield f'{module}.{name}.{fact}', f'there {value!r}, here {here.get(fact)!r}'


def _fits(fact: str, theirs: Any, ours: Any) -> bool:
    """Tells whether ours can stand where theirs is expected: it may offer more."""
    if ours is None and theirs is not None:
        return False
    if fact == 'signature':
        return _call_fits(theirs, ours)
    if fact == 'bases':
        return set(theirs) <= set(ours)
    if fact == 'fields' and ours[: len(theirs)] == theirs:
        # Of a model, with their defaults.
        return all(isinstance(field, tuple) and not field[1] for field in ours[len(theirs) :])
    if not fact.endswith('()'):
        return theirs == ours
    kind, *details = theirs
    native = all(detail is None for detail in ours[1:])
    if kind == 'property' or native:
        return ours[0] == kind and (native or list(ours[1:]) == details)
    return ours[0] == kind and all(
        _call_fits(*both) for both in zip(details, ours[1:], strict=True)
    )


def _call_fits(theirs: Any, ours: Any) -> bool:
    if theirs is None or ours is None:
        return theirs == ours
    names = {parameter[0] for parameter in theirs}
    common = [parameter for parameter in ours if parameter[0] in names]
    more = [parameter for parameter in ours if parameter[0] not in names]
    return common == theirs and all(
        kind == 'KEYWORD_ONLY' and default != surface.ABSENT for _, kind, default in more
    )
