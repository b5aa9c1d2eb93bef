"""What the pickles in frames call to make their objects again.

The names and arguments of these functions stand in stored objects: they are
part of the format.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from proxystore.serialize import _registry

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    'array',
    'array_subclass',
    'arrow_batches',
    'masked_array',
    'polars_frame',
    'polars_series',
    'registered',
    'torch_tensor',
]


def array(
    buffer: Any, dtype: np.dtype[Any], shape: tuple[int, ...], axes: tuple[int, ...] | None
) -> np.ndarray[Any, Any]:
    """Make an array over a buffer.

    Args:
        buffer: Its elements.
        dtype: Type of the elements.
        shape: Shape in which the elements lie one after the other.
        axes: Where the axes of the array are among those of the shape.
            `None` if they are the same.
    """
    import numpy as np

    if dtype.hasobject:
        msg = f'Elements of type {dtype} cannot be taken from bytes.'
        raise ValueError(msg)
    if min(shape, default=0) < 0:
        msg = f'No array has the shape {shape}.'
        raise ValueError(msg)
    made: np.ndarray[Any, Any]
    made = np.empty(shape, dtype) if 0 in shape else np.ndarray(shape, dtype, buffer)
    return made if axes is None else made.transpose(axes)


def array_subclass(base: np.ndarray[Any, Any], class_: type[Any]) -> Any:
    """Make an array of a subclass of plain arrays."""
    return base.view(class_)


def masked_array(
    data: np.ndarray[Any, Any], mask: Any, fill_value: Any, hard_mask: bool
) -> np.ma.MaskedArray[Any, Any]:
    """Make a masked array over its data and its mask, which is `None` if it has none."""
    import numpy as np

    mask = np.ma.nomask if mask is None else mask
    made: np.ma.MaskedArray[Any, Any] = np.ma.MaskedArray(
        data, mask, fill_value=fill_value, hard_mask=hard_mask, copy=False
    )
    return made


def arrow_batches(buffer: Any, single: bool) -> Any:
    """Make a table, or a single batch, of pyarrow over an Arrow stream."""
    ipc: Any = importlib.import_module('pyarrow.ipc')
    with ipc.open_stream(buffer) as reader:
        return reader.read_next_batch() if single else reader.read_all()


def polars_frame(table: Any) -> Any:
    """Make a frame of polars over a table of pyarrow."""
    polars: Any = importlib.import_module('polars')
    return polars.from_arrow(table, rechunk=False)


def polars_series(name: str, column: Any) -> Any:
    """Make a series of polars over a column of pyarrow."""
    polars: Any = importlib.import_module('polars')
    return polars.from_arrow(column, rechunk=False).alias(name)


def torch_tensor(buffer: Any, dtype: str, shape: tuple[int, ...], requires_grad: bool) -> Any:
    """Make a tensor of torch over a buffer.

    Args:
        buffer: Its elements, one after the other.
        dtype: Name of their type.
        shape: Shape of the tensor.
        requires_grad: Whether gradients are computed for it.
    """
    torch: Any = importlib.import_module('torch')
    bytes_: Any = torch.frombuffer(buffer, dtype=torch.uint8)
    tensor = bytes_.view(getattr(torch, dtype)).reshape(shape)
    return tensor.requires_grad_() if requires_grad else tensor


def registered(name: str, buffers: Any) -> Any:
    """Make an object of a type that is registered.

    Args:
        name: Name of the type.
        buffers: One buffer, or a list of several.

    Raises:
        SerializationError: If the type is not registered here.
    """
    registration = _registry.find_by_name(name)
    if registration is None:
        from proxystore.serialize import SerializationError

        msg = (
            f'The object is of type {name}, or holds one, which its producer has registered. '
            'Register it here, too, before the object is got: '
            f'proxystore.serialize.register_serializer({name!r}, serializer, deserializer).'
        )
        raise SerializationError(msg)
    return registration.deserializer(buffers)
