"""Warnings that proxystore issues."""

from __future__ import annotations

__all__ = ['ExperimentalWarning', 'NewerFormatWarning']


class ExperimentalWarning(Warning):
    """A feature may change or be removed in any release, without notice."""


class NewerFormatWarning(UserWarning):
    """A pickled object or an event has fields that this version does not know.

    A newer version wrote them. They are ignored; all other fields are used.
    """
