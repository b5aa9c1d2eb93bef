"""Pydantic models in TOML files.

Models are validated strictly: a value of the wrong type is an error, never
converted.
"""

from __future__ import annotations

from typing import Any, BinaryIO, TypeVar, cast

from pydantic import BaseModel

from proxystore.utils._secrets import LiteralSecret

__all__ = ['dump', 'dumps', 'load', 'loads']

BaseModelT = TypeVar('BaseModelT', bound=BaseModel)


def dump(model: BaseModel, fp: BinaryIO, *, exclude_none: bool = True) -> None:
    """Write a model to a TOML file.

    Args:
        model: Model to write.
        fp: File opened for writing in binary mode.
        exclude_none: Leave out the fields that are `None`, which TOML cannot
            express.

    Raises:
        TypeError: If a value cannot be expressed in TOML.
    """
    fp.write(dumps(model, exclude_none=exclude_none).encode())


def dumps(model: BaseModel, *, exclude_none: bool = True) -> str:
    """Convert a model to TOML.

    Args:
        model: Model to convert.
        exclude_none: Leave out the fields that are `None`, which TOML cannot
            express.

    Returns:
        The model as TOML.

    Raises:
        TypeError: If a value cannot be expressed in TOML, or is a secret.
    """
    import tomli_w

    fields = model.model_dump(exclude_none=exclude_none)
    return tomli_w.dumps(_expressible(fields, exclude_none))


def load(model: type[BaseModelT], fp: BinaryIO) -> BaseModelT:
    """Read a model from a TOML file.

    Args:
        model: Class of the model.
        fp: File opened for reading in binary mode.

    Returns:
        The model.

    Raises:
        ValueError: If the file is not TOML or not UTF-8.
        pydantic.ValidationError: If a field is missing, unknown or
            ill-typed. It is a `ValueError`.
    """
    return loads(model, fp.read().decode())


def loads(model: type[BaseModelT], data: str) -> BaseModelT:
    """Read a model from TOML.

    Args:
        model: Class of the model.
        data: TOML text.

    Returns:
        The model.

    Raises:
        ValueError: If the text is not TOML.
        pydantic.ValidationError: If a field is missing, unknown or
            ill-typed. It is a `ValueError`.
    """
    import tomllib

    return model.model_validate(tomllib.loads(data), strict=True)


def _expressible(value: Any, exclude_none: bool) -> Any:
    # Pydantic leaves alone what stands inside a field that holds anything.
    if isinstance(value, dict):
        items = cast('dict[str, Any]', value).items()
        return {
            key: _expressible(item, exclude_none)
            for key, item in items
            if not (exclude_none and item is None)
        }
    if isinstance(value, (list, tuple)):
        return [_expressible(item, exclude_none) for item in cast('list[Any]', value)]
    if isinstance(value, LiteralSecret):
        msg = f'A secret cannot be written to a file. {LiteralSecret.ADVICE}'
        raise TypeError(msg)
    return value
