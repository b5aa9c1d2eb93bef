"""What the tests have other processes do; importable there by name."""

from __future__ import annotations

import copy
import os
from typing import Any

from proxystore.proxy import Proxy, extract, is_resolved


def look(proxy: Any) -> tuple[str, bool, Any, bool]:
    """Tells the type of an argument, whether it came resolved, its value, and that it has one."""
    kind = type(proxy).__name__
    if kind != 'Proxy':
        return kind, True, proxy, True
    before = is_resolved(proxy)
    value = extract(proxy)
    return kind, before, value, is_resolved(proxy)


def unresolved(store: Any, value: Any) -> Any:
    """Puts a value and makes an unresolved proxy that knows the value's class.

    Libraries that ask for the class of an argument then do not resolve it.
    """
    return copy.copy(store.proxy(value))


def came_by_proxy(value: Any) -> tuple[str, bool, Any, bool]:
    """What `look` says of a proxy that nothing on the way resolved."""
    return 'Proxy', False, value, True


def double(values: Any) -> Any:
    return values * 2


def is_proxy(value: Any) -> bool:
    return type(value) is Proxy


def append(values: list[Any], value: Any) -> list[Any]:
    return [*values, value]


def pid(*_: Any) -> int:
    return os.getpid()


def fail(*_: Any) -> None:
    msg = 'meant to fail'
    raise ArithmeticError(msg)
