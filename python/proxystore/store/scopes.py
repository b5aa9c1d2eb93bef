"""Borrowed references that end with the function they were passed to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, runtime_checkable

from proxystore.store.ref import RefMutProxy, RefProxy, end_borrow, is_borrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    'FutureWithCallback',
    'RefMutProxy',
    'RefProxy',
    'mark_refs_out_of_scope',
    'submit',
]

P = ParamSpec('P')


@runtime_checkable
class FutureWithCallback(Protocol):
    """Future that calls a function when it is done."""

    def add_done_callback(self, callback: Callable[[FutureWithCallback], Any]) -> None:
        """Call a function when the future is done.

        Args:
            callback: Function of the future.
        """
        ...


FutureT = TypeVar('FutureT', bound=FutureWithCallback)


def mark_refs_out_of_scope(*refs: RefProxy[Any] | RefMutProxy[Any]) -> None:
    """End borrows: the references cannot be used any more, their owners can.

    Args:
        refs: Borrowed references. Nothing happens to those that have ended.

    Raises:
        RuntimeError: If one is not a borrowed reference. No borrow is ended
            then.
    """
    for ref in refs:
        if not is_borrow(ref):
            msg = f'Only a RefProxy or a RefMutProxy goes out of scope, not a {type(ref).__name__}.'
            raise RuntimeError(msg)
    for ref in refs:
        end_borrow(ref)


def submit(
    submit_func: Callable[P, FutureT],
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    register_custom_refs: Iterable[Any] = (),
) -> FutureT:
    """Submit a function, and end the borrows among its arguments when it is done.

    ```python
    future = submit(executor.submit, args=(function, borrow(owner)))
    ```

    Args:
        submit_func: Function that returns a future, as `Executor.submit`.
        args: Positional arguments of `submit_func`.
        kwargs: Keyword arguments of `submit_func`.
        register_custom_refs: Borrowed references inside other arguments,
            which are not looked for there.

    Returns:
        The future.
    """
    kwargs = {} if kwargs is None else kwargs
    refs = [value for value in (*args, *kwargs.values(), *register_custom_refs) if is_borrow(value)]
    call: Callable[..., FutureT] = submit_func
    future = call(*args, **kwargs)

    def end_scope(_: FutureWithCallback) -> None:
        mark_refs_out_of_scope(*refs)

    future.add_done_callback(end_scope)
    return future
