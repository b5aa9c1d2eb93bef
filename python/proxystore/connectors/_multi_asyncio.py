"""Asynchronous operations over several connectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from proxystore.connectors.protocols import copies

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from proxystore.connectors.native import Fetch
    from proxystore.connectors.protocols import Connector
    from proxystore.serialize import BytesLike

__all__ = ['DistributedOperations']

T = TypeVar('T')


class DistributedOperations:
    """Asks the connectors of a key or of an object asynchronously, several of them at once."""

    def aclose(self) -> asyncio.Future[None]:
        """Close the connectors, as `close()` does."""
        return _task(self._aclose())

    def aevict(self, key: Any) -> asyncio.Future[None]:
        """Remove an object, as `evict()` does.

        Args:
            key: Key of the object.
        """
        return self._forward('aevict', key)

    def aexists(self, key: Any) -> asyncio.Future[bool]:
        """Tell whether an object is there, as `exists()` does.

        Args:
            key: Key of the object.
        """
        return self._forward('aexists', key)

    def aget(self, key: Any, *, copy: bool = False) -> asyncio.Future[BytesLike | None]:
        """Get an object, as `get()` does.

        Args:
            key: Key of the object.
            copy: Ask its connector for memory that is cheap to write to all
                over, if it knows the difference.
        """
        return self._forward('aget', key, copy=copy)

    def aget_batch(self, keys: Sequence[Any]) -> asyncio.Future[list[BytesLike | None]]:
        """Get several objects, as `get_batch()` does.

        Args:
            keys: Keys of the objects.
        """
        return _task(self._aget_batch(keys))

    def aput(
        self,
        obj: BytesLike | Sequence[BytesLike],
        subset_tags: Iterable[str] = (),
        superset_tags: Iterable[str] = (),
    ) -> asyncio.Future[Any]:
        """Put an object, as `put()` does.

        Args:
            obj: Bytes of the object, or a list of buffers that make it up.
            subset_tags: Tags that must be a subset of the policy's.
            superset_tags: Tags that must be a superset of the policy's.
        """
        from proxystore.connectors import _asyncio

        try:
            name, connector, data = self._place(obj, subset_tags, superset_tags)
        except Exception as error:
            return _asyncio.failed(error)

        def stored(error: Exception | None, key: Any) -> Any:
            if error is not None:
                raise error
            return self._key(name, key)

        future: asyncio.Future[Any] = _asyncio.then(_asyncio.start(connector, 'aput', data), stored)
        return future

    def aput_batch(
        self,
        objs: Sequence[BytesLike | Sequence[BytesLike]],
        subset_tags: Iterable[str] = (),
        superset_tags: Iterable[str] = (),
    ) -> asyncio.Future[list[Any]]:
        """Put several objects, as `put_batch()` does.

        Args:
            objs: Bytes of the objects, or lists of buffers that make them up.
            subset_tags: Tags that must be a subset of the policy's.
            superset_tags: Tags that must be a superset of the policy's.
        """
        return _task(self._aput_batch(objs, tuple(subset_tags), tuple(superset_tags)))

    def fetch(self, key: Any) -> Fetch | None:
        """Begin to get an object before anybody waits for it.

        Args:
            key: Key of the object.

        Returns:
            The get that is under way; `None` if the key's connector does not
            get objects like this.
        """
        fetch: Callable[[Any], Fetch] | None = getattr(self._connector(key), 'fetch', None)
        return None if fetch is None else fetch(key.connector_key)

    def _connector(self, key: Any) -> Connector[Any]:
        """Connector of a key."""
        raise NotImplementedError

    def _key(self, name: str, key: Any) -> Any:
        """Key for the key of a connector."""
        raise NotImplementedError

    def _place(
        self,
        obj: BytesLike | Sequence[BytesLike],
        subset_tags: Iterable[str],
        superset_tags: Iterable[str],
    ) -> tuple[str, Connector[Any], Any]:
        """Name of the connector that an object goes to, the connector, and what it is given."""
        raise NotImplementedError

    def _all(self) -> list[Connector[Any]]:
        """All connectors."""
        raise NotImplementedError

    def _forward(self, operation: str, key: Any, *, copy: bool = False) -> asyncio.Future[Any]:
        from proxystore.connectors import _asyncio

        try:
            connector = self._connector(key)
        except Exception as error:
            return _asyncio.failed(error)
        if copy and copies(connector):
            return _asyncio.start(connector, operation, key.connector_key, copy=True)
        return _asyncio.start(connector, operation, key.connector_key)

    async def _aclose(self) -> None:
        import asyncio

        from proxystore.connectors._asyncio import start

        await asyncio.gather(*[start(connector, 'aclose') for connector in self._all()])

    async def _aget_batch(self, keys: Sequence[Any]) -> list[BytesLike | None]:
        import asyncio

        from proxystore.connectors._asyncio import start

        positions: dict[str, list[int]] = {}
        connectors: dict[str, Connector[Any]] = {}
        for position, key in enumerate(keys):
            connectors[key.connector_name] = self._connector(key)
            positions.setdefault(key.connector_name, []).append(position)
        batches = await asyncio.gather(
            *[
                start(
                    connectors[name],
                    'aget_batch',
                    [keys[position].connector_key for position in group],
                )
                for name, group in positions.items()
            ]
        )
        results: list[BytesLike | None] = [None] * len(keys)
        for group, objs in zip(positions.values(), batches, strict=True):
            for position, obj in zip(group, objs, strict=True):
                results[position] = obj
        return results

    async def _aput_batch(
        self,
        objs: Sequence[BytesLike | Sequence[BytesLike]],
        subset_tags: tuple[str, ...],
        superset_tags: tuple[str, ...],
    ) -> list[Any]:
        import asyncio

        from proxystore.connectors._asyncio import start

        positions: dict[str, list[int]] = {}
        batches: dict[str, tuple[Connector[Any], list[Any]]] = {}
        for position, obj in enumerate(objs):
            name, connector, data = self._place(obj, subset_tags, superset_tags)
            positions.setdefault(name, []).append(position)
            batches.setdefault(name, (connector, []))[1].append(data)
        puts = {
            name: start(connector, 'aput_batch', batch)
            for name, (connector, batch) in batches.items()
        }
        try:
            await asyncio.gather(*puts.values())
        except BaseException:
            # Those that have not ended take back what they put.
            for put in puts.values():
                put.cancel()
            evictions = [
                start(batches[name][0], 'aevict', key)
                for name, put in puts.items()
                if not put.cancelled() and put.exception() is None
                for key in put.result()
            ]
            await asyncio.gather(*evictions, return_exceptions=True)
            raise
        keys: dict[int, Any] = {}
        for name, group in positions.items():
            for position, key in zip(group, puts[name].result(), strict=True):
                keys[position] = self._key(name, key)
        return [keys[position] for position in range(len(objs))]


def _task(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    import asyncio

    return asyncio.get_running_loop().create_task(coroutine)
