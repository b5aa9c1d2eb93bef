"""Plugin for mypy: attributes of a `Proxy[T]` have the types that they have on `T`.

Enable it in mypy's configuration:

```toml
[tool.mypy]
plugins = ["proxystore.mypy_plugin"]
```

Without the plugin every attribute of a proxy is `Any`, as no annotation can say "the attributes of
`T`"; operators, calls, iteration and so on are typed either way.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, TypeVar

from mypy.errorcodes import ATTR_DEFINED, UNION_ATTR
from mypy.messages import format_type
from mypy.plugin import AttributeContext, Plugin
from mypy.subtypes import find_member
from mypy.typeops import make_simplified_union
from mypy.types import (
    AnyType,
    CallableType,
    FunctionLike,
    Instance,
    Type,
    TypeOfAny,
    TypeVarType,
    UnionType,
    get_proper_type,
)

# isort: split
# mypy's modules import each other in a circle, which opens only if this one does not come first.
from mypy.maptype import map_instance_to_supertype

if TYPE_CHECKING:
    from collections.abc import Callable

P = TypeVar('P', bound=Plugin)

PROXY_TYPES: Final = (
    'proxystore.proxy.Proxy',
    'proxystore.store.ref.BaseRefProxy',
    'proxystore.store.ref.OwnedProxy',
    'proxystore.store.ref.RefProxy',
    'proxystore.store.ref.RefMutProxy',
)
"""Full names of the classes whose instances have the attributes of their type argument."""


class ProxyStoreMypyPlugin(Plugin):
    """Gives attributes of proxies the types that they have on the targets."""

    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        """Choose the hook for an attribute.

        Args:
            fullname: Full name of the class and the attribute, as `package.Class.attribute`.

        Returns:
            The hook, or None if the attribute is not one of a proxy.
        """
        owner, _, attr = fullname.rpartition('.')
        if owner in PROXY_TYPES:
            return functools.partial(proxy_attribute_access, attr=attr)
        return None


def proxy_attribute_access(ctx: AttributeContext, *, attr: str) -> Type:
    """Find the type of an attribute of a proxy.

    An attribute that the target lacks is an error, as it would be on the target itself.

    Args:
        ctx: The access that is checked.
        attr: Name of the attribute.

    Returns:
        Type of the attribute, or `Any` where it cannot be known.
    """
    proxy = get_proper_type(ctx.type)
    if not isinstance(proxy, Instance):
        return ctx.default_attr_type
    base = next((info for info in proxy.type.mro if info.fullname == PROXY_TYPES[0]), None)
    if base is None or attr in base.names:
        return ctx.default_attr_type
    (target,) = map_instance_to_supertype(proxy, base).args
    return _member(ctx, proxy, get_proper_type(target), attr)


def plugin(version: str) -> type[ProxyStoreMypyPlugin]:  # noqa: ARG001
    """Entry point that mypy calls.

    Args:
        version: Version of mypy.

    Returns:
        The class of the plugin.
    """
    return ProxyStoreMypyPlugin


def _member(ctx: AttributeContext, proxy: Instance, target: Type, attr: str) -> Type:
    """Return the type of an attribute of the target; report an error if it has none."""
    target = get_proper_type(target)
    if isinstance(target, TypeVarType):
        target = get_proper_type(target.upper_bound)
    if isinstance(target, AnyType):
        return AnyType(TypeOfAny.from_another_any, source_any=target)
    if isinstance(target, UnionType):
        return make_simplified_union(
            [_member(ctx, proxy, item, attr) for item in target.relevant_items()]
        )
    instance = _instance(target)
    if instance is None:
        # Modules, types of types and so on: rare behind a proxy, and no error.
        return ctx.default_attr_type
    member = find_member(attr, instance, instance)
    if member is not None:
        return member
    if instance.type.fallback_to_any or instance.type.get_method('__getattr__') is not None:
        return AnyType(TypeOfAny.special_form)
    _complain(ctx, proxy, target, attr)
    return AnyType(TypeOfAny.from_error)


def _instance(target: Type) -> Instance | None:
    """Return the class instance whose attributes a type has."""
    target = get_proper_type(target)
    if isinstance(target, Instance):
        return target
    if isinstance(target, CallableType | FunctionLike):
        return target.fallback
    fallback = getattr(target, 'partial_fallback', None) or getattr(target, 'fallback', None)
    return fallback if isinstance(fallback, Instance) else None


def _complain(ctx: AttributeContext, proxy: Instance, target: Type, attr: str) -> None:
    options = ctx.api.options
    shown = format_type(proxy, options)
    if isinstance(get_proper_type(proxy.args[0]) if proxy.args else None, UnionType):
        item = format_type(get_proper_type(target), options)
        message = f'Item {item} of the target of {shown} has no attribute "{attr}"'
        ctx.api.fail(message, ctx.context, code=UNION_ATTR)
        return
    ctx.api.fail(f'{shown} has no attribute "{attr}"', ctx.context, code=ATTR_DEFINED)
