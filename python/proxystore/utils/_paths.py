"""Paths that mean the same in every process."""

from __future__ import annotations

import os
from typing import overload

__all__ = ['absolute']


@overload
def absolute(path: str | os.PathLike[str]) -> str: ...


@overload
def absolute(path: str | os.PathLike[str] | None) -> str | None: ...


def absolute(path: str | os.PathLike[str] | None) -> str | None:
    """Make a path good in other working directories. Links are not followed.

    Args:
        path: The path; `None` stays what it is.
    """
    return None if path is None else os.path.abspath(os.fspath(path))  # noqa: PTH100
