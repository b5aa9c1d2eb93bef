"""The systems that share memory: ours, the original, and what Python brings along."""

from __future__ import annotations

from multiprocessing import shared_memory
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable


class Ours:
    """A store over shared memory."""

    def __init__(self, place: str, **options: Any) -> None:
        from proxystore.connectors.shm import ShmConnector
        from proxystore.store import Store

        verify = options.pop('verify', None)
        self.directory = f'/dev/shm/proxystore-bench-{place}'
        self.connector = ShmConnector(directory=self.directory, hold=0, **options)
        self.store: Any = Store(f'bench-{place}', self.connector, verify=verify)
        self.put = self.store.put
        self.evict = self.store.evict
        self.get = self.store.get

    def get_copy(self, key: Any) -> Any:
        return self.store.get(key, copy=True)


class Original:
    """A store over files in /dev/shm."""

    def __init__(self, place: str) -> None:
        from proxystore.connectors.file import FileConnector
        from proxystore.store import Store

        self.directory = f'/dev/shm/bench-original-{place}'
        self.connector = FileConnector(self.directory, clear=False)
        self.store: Any = Store(f'bench-{place}', self.connector, cache_size=0)
        self.put = self.store.put
        self.evict = self.store.evict
        self.get = self.store.get


class SharedMemory:
    """`multiprocessing.shared_memory`, as a careful user would: attach, view, detach."""

    def __init__(self, _: str) -> None:
        self.kept: dict[str, shared_memory.SharedMemory] = {}
        self.connector = None

    def put(self, array: Any) -> tuple[str, int]:
        block = shared_memory.SharedMemory(create=True, size=array.nbytes)
        view = np.ndarray(array.shape, array.dtype, block.buf)
        np.copyto(view, array)
        self.kept[block.name] = block
        return block.name, array.size

    def evict(self, key: tuple[str, int]) -> None:
        block = self.kept.pop(key[0])
        block.close()
        block.unlink()

    def get(self, key: tuple[str, int]) -> Any:
        block = shared_memory.SharedMemory(key[0])
        array = np.ndarray((key[1],), np.float64, block.buf)
        return Held(array, block)


class Held:
    """An array and the block that it is in, which may go only after it."""

    def __init__(self, array: Any, block: shared_memory.SharedMemory) -> None:
        self.array = array
        self.block = block

    def close(self) -> None:
        del self.array
        self.block.close()


def array_of(obj: Any) -> Any:
    return obj.array if isinstance(obj, Held) else obj


SYSTEMS: dict[str, Callable[[str], Any]] = {
    'ours': Ours,
    'verified': lambda place: Ours(place, verify=True),
    'fresh': lambda place: Ours(place, pool=0),
    'original': Original,
    'shared_memory': SharedMemory,
}
