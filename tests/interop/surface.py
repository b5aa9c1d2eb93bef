"""Says in plain data what a program can see of the package: names, signatures, bases, fields.

Runs in either environment.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import types
import typing
import warnings

ABSENT = '<none>'


def surface() -> dict[str, dict[str, dict[str, typing.Any]]]:
    """Facts about each public name of each module that can be imported."""
    import proxystore

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for module in _modules(proxystore):
            found[module.__name__] = {
                name: _facts(value)
                for name, value in vars(module).items()
                if _is_public(name, value)
            }
            if hasattr(module, '__all__'):
                found[module.__name__]['__all__'] = {'names': sorted(module.__all__)}
    return found


def _modules(package: types.ModuleType) -> list[types.ModuleType]:
    modules = [package]
    for info in pkgutil.walk_packages(package.__path__, 'proxystore.', onerror=lambda _: None):
        if '._' in info.name:
            continue
        try:
            modules.append(importlib.import_module(info.name))
        except ImportError:
            continue
    return modules


def _is_public(name: str, value: object) -> bool:
    if name.startswith('_') or name == 'TYPE_CHECKING' or isinstance(value, types.ModuleType):
        return False
    if isinstance(value, (typing.TypeVar, typing.ParamSpec)):
        return False
    home = getattr(value, '__module__', None)
    if isinstance(home, str) and home.startswith('proxystore'):
        return True
    # What is imported from elsewhere is no part of a module; aliases and constants are.
    return home is None or (
        not isinstance(value, (type, types.FunctionType, types.MethodType))
        and (type(value).__module__ not in {'__future__', 'typing', 'logging', 'click.core'})
    )


def _facts(value: object) -> dict[str, typing.Any]:
    if isinstance(value, type):
        return _class_facts(value)
    if callable(value) and not isinstance(value, types.GenericAlias):
        return {'kind': 'function', 'signature': _signature(value)}
    if isinstance(value, (int, str, bytes, float)):
        return {'kind': type(value).__name__, 'value': value}
    return {'kind': 'alias'}


def _class_facts(cls: type) -> dict[str, typing.Any]:
    facts: dict[str, typing.Any] = {
        'kind': 'class',
        'bases': _public_bases(cls),
        'signature': _signature(cls),
        'protocol': (
            bool(getattr(cls, '_is_protocol', False)),
            bool(getattr(cls, '_is_runtime_protocol', False)),
        ),
        'generic': [repr(p) for p in getattr(cls, '__parameters__', ())] != [],
    }
    for name, member in _members(cls).items():
        facts[f'{name}()'] = _member_facts(name, member)
    if dataclasses.is_dataclass(cls):
        facts['fields'] = [
            (field.name, _default(field.default), field.default_factory is dataclasses.MISSING)
            for field in dataclasses.fields(cls)
        ]
    elif issubclass(cls, tuple):
        facts['fields'] = list(cls._fields)
    elif hasattr(cls, 'model_fields'):
        facts['fields'] = [
            (name, field.is_required(), _default(field.get_default(call_default_factory=True)))
            for name, field in cls.model_fields.items()
        ]
        facts['model_config'] = {k: repr(v) for k, v in cls.model_config.items()}
    return facts


def _public_bases(cls: type) -> list[str]:
    # Private and generic helpers between a class and its public bases are nobody's business.
    return sorted(
        base.__qualname__
        for base in cls.__mro__[1:]
        if not base.__qualname__.startswith('_')
        and base.__module__ != 'typing'
        and base is not object
    )


def _members(cls: type) -> dict[str, object]:
    found: dict[str, object] = {}
    for base in cls.__mro__:
        if not base.__module__.startswith('proxystore'):
            continue
        for name, member in vars(base).items():
            if name in _LANGUAGE or (name.startswith('_') and not name.endswith('__')):
                continue
            found.setdefault(name, member)
    return found


_LANGUAGE = {
    '__abstractmethods__', '__annotations__', '__dataclass_fields__', '__dataclass_params__',
    '__dict__', '__doc__', '__firstlineno__', '__init__', '__match_args__', '__module__', '__new__',
    '__orig_bases__', '__parameters__', '__proxy_factory__', '__proxy_target__',
    '__proxy_default_class__', '__proxy_default_hash__', '__qualname__', '__slots__',
    '__static_attributes__', '__subclasshook__', '__weakref__', '__class_vars__',
    '__private_attributes__', '__signature__', '__slotnames__',
}  # fmt: skip


def _member_facts(name: str, member: object) -> typing.Any:
    if isinstance(member, property):
        return ('property', member.fset is not None, member.fdel is not None)
    if isinstance(member, (classmethod, staticmethod)):
        return (type(member).__name__, _signature(member.__func__))
    if isinstance(member, types.FunctionType):
        signature = _signature(member)
        if name.startswith('__') and signature:
            # The interpreter passes the arguments of special methods by position.
            signature = [('', *rest) for _, *rest in signature]
        return ('method', signature)
    # What is not written in Python does not always tell how it is called.
    if isinstance(member, types.GetSetDescriptorType):
        return ('property', None, None)
    if isinstance(member, (types.ClassMethodDescriptorType, types.BuiltinFunctionType)):
        return ('classmethod', None)
    if callable(member):
        return ('method', None)
    return ('attribute',)


def _signature(of: typing.Any) -> typing.Any:
    try:
        signature = inspect.signature(of)
    except (TypeError, ValueError):
        return None
    return [
        (parameter.name, parameter.kind.name, _default(parameter.default))
        for parameter in signature.parameters.values()
    ]


def _default(value: object) -> str:
    if value is inspect.Parameter.empty or value is dataclasses.MISSING:
        return ABSENT
    if isinstance(value, (int, float, str, bytes, tuple, list, dict, type(None))):
        return repr(value)
    return type(value).__name__
