"""Warnings that proxystore issues."""

from __future__ import annotations

__all__ = ['ExperimentalWarning', 'NewerFormatWarning']


class ExperimentalWarning(Warning):
    """A feature may change or go without notice between releases."""


class NewerFormatWarning(UserWarning):
    """A pickled object carries fields that this version does not know.

    They were written by a newer version and are left out; everything that
    this version knows is there.
    """
