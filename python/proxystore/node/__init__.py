"""Nodes: processes that keep objects in memory and serve them to whoever has their keys.

A [`TCPConnector`][proxystore.connectors.tcp.TCPConnector] starts one by itself
where none runs. This package is for nodes of their own: in this process
([`Node`][proxystore.node.Node]), or as a daemon
([`start`][proxystore.node.start], the command `proxystore-node`).
"""

from __future__ import annotations

from proxystore.node.daemon import start, stop
from proxystore.node.process import Node, NodeProcess, running, status

__all__ = ['Node', 'NodeProcess', 'running', 'start', 'status', 'stop']
