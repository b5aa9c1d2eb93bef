"""Connectors: where the objects of a store are kept and how they get there.

A connector is any class with the methods of
[`Connector`][proxystore.connectors.protocols.Connector].
"""

from __future__ import annotations
