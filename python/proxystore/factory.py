"""Factories: callables without arguments that produce the target of a proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['Factory', 'LambdaFactory', 'SimpleFactory']

T = TypeVar('T')


class Factory(Generic[T]):
    """Base of the factories. A subclass implements `resolve()`.

    Raises:
        NotImplementedError: If the base itself is instantiated.
    """

    def __init__(self) -> None:
        raise NotImplementedError

    def __call__(self) -> T:
        """Produce the target.

        Returns:
            Whatever `resolve()` returns.
        """
        return self.resolve()

    def resolve(self) -> T:
        """Produce the target.

        Raises:
            NotImplementedError: Always, here: a subclass has to say how.
        """
        raise NotImplementedError


class SimpleFactory(Factory[T]):
    """Factory of an object that is already there.

    Args:
        obj: Object to return.
    """

    def __init__(self, obj: T) -> None:
        self._obj = obj

    def resolve(self) -> T:
        """Return the object given to the constructor."""
        return self._obj


class LambdaFactory(Factory[T]):
    """Factory that calls a function.

    Args:
        target: Function to call at each resolve.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.
    """

    def __init__(self, target: Callable[..., T], *args: Any, **kwargs: Any) -> None:
        self._target = target
        self._args = args
        self._kwargs = kwargs

    def resolve(self) -> T:
        """Return what the function returns."""
        return self._target(*self._args, **self._kwargs)
