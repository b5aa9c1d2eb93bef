"""Executor that passes large arguments and results by proxy."""

from __future__ import annotations

import functools
import warnings
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from proxystore.proxy import Proxy
from proxystore.store import get_or_create_store, get_store
from proxystore.store.base import Store
from proxystore.store.config import StoreConfig
from proxystore.store.types import ConnectorKeyT
from proxystore.store.utils import get_key, is_proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from proxystore.store.scopes import FutureWithCallback

__all__ = [
    'ConnectorKeyT',
    'Proxy',
    'ProxyAlways',
    'ProxyNever',
    'ProxyType',
    'Store',
    'StoreConfig',
    'StoreExecutor',
    'get_key',
    'get_store',
]

P = ParamSpec('P')
R = TypeVar('R')


class ProxyAlways:
    """Passes every object by proxy."""

    def __call__(self, item: Any) -> bool:  # noqa: ARG002
        """Return `True`."""
        return True


class ProxyNever:
    """Passes no object by proxy."""

    def __call__(self, item: Any) -> bool:  # noqa: ARG002
        """Return `False`."""
        return False


class ProxyType:
    """Passes objects of some types by proxy.

    Args:
        types: Types of the objects, subclasses included.
    """

    def __init__(self, *types: type) -> None:
        self.types = types

    def __call__(self, item: Any) -> bool:
        """Tell whether an object is of one of the types.

        Args:
            item: Argument or result.
        """
        return isinstance(item, self.types)


class StoreExecutor(Executor):
    """Executor that passes arguments and results through a store.

    Arguments that `should_proxy` accepts are put into the store, and the
    function is given proxies of them; they are evicted when it is done. If
    `should_proxy` accepts the function's result, the worker puts it into the
    store, and the future's result is a proxy of it. Proxies, `None` and
    `bool` are passed as they are.

    Args:
        executor: Executor that runs the functions, or a client with a
            `submit()` like an executor's.
        store: Store to pass objects through.
        should_proxy: Function that tells whether to pass an object by proxy.
            It is sent to the workers. `None` passes no object by proxy.
        ownership: Let the proxy of a result own it, so that it is evicted
            when the proxy is deleted.
        close_store: Close the store at `shutdown()`.

    Attributes:
        executor: As the argument.
        store: As the argument.
        should_proxy: As the argument.
        ownership: As the argument.
        close_store: As the argument.
    """

    def __init__(
        self,
        executor: Executor,
        store: Store[Any],
        should_proxy: Callable[[Any], bool] | None = None,
        *,
        ownership: bool = True,
        close_store: bool = True,
    ) -> None:
        self.executor = executor
        self.store = store
        self.should_proxy = ProxyNever() if should_proxy is None else should_proxy
        self.ownership = ownership
        self.close_store = close_store
        # Keys of arguments of `map()` whose results have not all been taken.
        self._mapped: set[ConnectorKeyT] = set()

    def submit(
        self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R | Proxy[R]]:
        """Submit a function.

        Args:
            function: Function to run.
            args: Positional arguments of the function.
            kwargs: Keyword arguments of the function.

        Returns:
            Future of the function's result, or of a proxy of it.
        """
        keys: list[ConnectorKeyT] = []
        try:
            passed = [self._pass(item, keys) for item in args]
            passed_by_name = {name: self._pass(item, keys) for name, item in kwargs.items()}
            submit: Callable[..., Any] = self.executor.submit
            future: Future[R | Proxy[R]] = submit(self._wrap(function), *passed, **passed_by_name)
        except BaseException:
            self._evict(keys)
            raise
        if keys:
            cast('FutureWithCallback', future).add_done_callback(lambda _: self._evict(keys))
        return future

    def map(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self, function: Callable[..., R], *iterables: Iterable[Any], **kwargs: Any
    ) -> Iterator[R | Proxy[R]]:
        """Run a function once for each group of arguments.

        Args:
            function: Function to run.
            iterables: Arguments of the function, as of the builtin `map`.
                They are read at once.
            kwargs: Keyword arguments of the executor's `map()`.

        Returns:
            Results of the function, or proxies of them, in order. The
            arguments are evicted when the last has been taken.
        """
        keys: list[ConnectorKeyT] = []
        try:
            passed = [[self._pass(item, keys) for item in iterable] for iterable in iterables]
            wrapped: Callable[..., Any] = self._wrap(function)
            results = self.executor.map(wrapped, *passed, **kwargs)
        except BaseException:
            self._evict(keys)
            raise
        self._mapped.update(keys)
        return self._results(results, keys)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor down, and close the store if `close_store` is set.

        An executor that is not a `concurrent.futures.Executor` is closed with
        its `close()`, and there is a `RuntimeWarning` if it has none.

        Args:
            wait: Wait for the functions that are running.
            cancel_futures: Cancel those that are not running yet.
        """
        executor: Any = self.executor
        if isinstance(executor, Executor):
            # Not every executor can cancel.
            cancelling = {'cancel_futures': True} if cancel_futures else {}
            executor.shutdown(wait=wait, **cancelling)
        elif callable(getattr(executor, 'close', None)):
            executor.close()
        else:
            warnings.warn(
                f'Cannot shutdown {type(executor).__name__} because it is not a subclass of '
                'Executor nor does it have a close() method.',
                RuntimeWarning,
                stacklevel=2,
            )
        if wait:
            # Nobody needs the arguments any more, whether the results are taken or not.
            self._evict(self._mapped)
            self._mapped.clear()
        if self.close_store:
            self.store.close()

    def _evict(self, keys: Iterable[ConnectorKeyT]) -> None:
        for key in keys:
            self.store.evict(key)

    def _pass(self, item: Any, keys: list[ConnectorKeyT]) -> Any:
        """Return an argument, or a proxy of it whose key is added to `keys`."""
        if is_proxy(item) or not self.should_proxy(item):
            return item
        passed: Any = self.store.proxy(item, skip_nonproxiable=True)
        if is_proxy(passed):
            keys.append(get_key(passed))
        return passed

    def _results(self, results: Iterator[R], keys: list[ConnectorKeyT]) -> Generator[R, None, None]:
        try:
            yield from results
        finally:
            self._mapped.difference_update(keys)
            self._evict(keys)

    def _wrap(self, function: Callable[P, R]) -> _Function[P, R]:
        return _Function(function, self.store.config(), self.should_proxy, self.ownership)


class _Function(Generic[P, R]):
    """Function whose result is passed by proxy, as it is sent to a worker."""

    def __init__(
        self,
        function: Callable[P, R],
        store_config: StoreConfig,
        should_proxy: Callable[[Any], bool],
        ownership: bool,
    ) -> None:
        functools.update_wrapper(self, function)
        # Named by the wrapped one for logs and dashboards, but not pickled with all it has.
        self.__dict__.pop('__wrapped__', None)
        self.function = function
        self.store_config = store_config
        self.should_proxy = should_proxy
        self.ownership = ownership

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R | Proxy[R]:
        result = self.function(*args, **kwargs)
        if is_proxy(result) or not self.should_proxy(result):
            return result
        store: Any = get_or_create_store(self.store_config)
        make = store.owned_proxy if self.ownership else store.proxy
        return cast('R | Proxy[R]', make(result, skip_nonproxiable=True))
