"""Lets the suite import streams, which warn that they are experimental."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    import proxystore.stream  # noqa: F401
