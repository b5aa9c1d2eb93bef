"""Pass-by-reference for distributed Python, with a Rust data plane."""

from __future__ import annotations

import importlib.metadata as _metadata

from proxystore import _absent

__version__ = _metadata.version('proxystore')

_absent.install()
