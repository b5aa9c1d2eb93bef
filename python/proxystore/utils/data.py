"""Sizes as text, and data in chunks."""

from __future__ import annotations

import decimal
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ['bytes_to_readable', 'chunk_bytes', 'readable_to_bytes']

_DECIMAL_UNITS = ('B', 'KB', 'MB', 'GB', 'TB')
_UNIT_SIZES = {
    'b': 1,
    **{f'{prefix}b': 1000**power for power, prefix in enumerate('kmgt', start=1)},
    **{f'{prefix}ib': 1024**power for power, prefix in enumerate('kmgt', start=1)},
}
_NUMBER_AND_UNIT = re.compile(r'\s*(?P<number>[-+0-9.,]+)\s*(?P<unit>[a-zA-Z]*)\s*')


def bytes_to_readable(size: int, precision: int = 3) -> str:
    """Write a number of bytes for people.

    Args:
        size: Bytes.
        precision: Digits after the decimal point, without trailing zeros.

    Returns:
        The size in the largest decimal unit up to TB that is not larger
        than it, as `'1.5 KB'`.

    Raises:
        ValueError: If the size is negative.
    """
    if size < 0:
        msg = f'Size ({size}) cannot be negative.'
        raise ValueError(msg)
    power = 0
    while power < len(_DECIMAL_UNITS) - 1 and size >= 1000 ** (power + 1):
        power += 1
    if power == 0:
        return f'{size} B'
    number = f'{round(size / 1000**power, precision):.{max(precision, 0)}f}'
    if '.' in number:
        number = number.rstrip('0').rstrip('.')
    return f'{number} {_DECIMAL_UNITS[power]}'


def chunk_bytes(data: bytes, chunk_size: int) -> Generator[bytes, None, None]:
    """Cut data into chunks.

    Args:
        data: Data to cut.
        chunk_size: Bytes of each chunk but the last, which may be shorter.

    Yields:
        Consecutive parts of the data.

    Raises:
        ValueError: If the size is 0.
    """
    for start in range(0, len(data), chunk_size):
        yield data[start : start + chunk_size]


def readable_to_bytes(size: str) -> int:
    """Read a number of bytes as people write it.

    Args:
        size: Number and unit, as `'1.5 GB'`, `'2KiB'` or `'100'`. Units are
            B, KB to TB (powers of 1000) and KiB to TiB (powers of 1024), in
            upper or lower case; without a unit it is bytes.

    Returns:
        Bytes, a fraction of a byte cut off.

    Raises:
        ValueError: If there is no number, or the unit is unknown.
    """
    match = _NUMBER_AND_UNIT.fullmatch(size)
    if match is None:
        msg = f'Input string "{size}" must contain only a value and a unit.'
        raise ValueError(msg)
    try:
        number = decimal.Decimal(match['number'])
    except decimal.InvalidOperation as error:
        msg = f'Unable to interpret "{match["number"]}" as a float.'
        raise ValueError(msg) from error
    unit = match['unit'] or 'B'
    try:
        factor = _UNIT_SIZES[unit.lower()]
    except KeyError as error:
        msg = f'Unknown unit type {unit}.'
        raise ValueError(msg) from error
    return int(number * factor)
