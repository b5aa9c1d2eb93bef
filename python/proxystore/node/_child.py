"""The process of a daemon."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from typing import TYPE_CHECKING, Any

from proxystore.connectors.exceptions import ConnectorError
from proxystore.node.daemon import serve

if TYPE_CHECKING:
    from proxystore.node.process import Node

__all__ = ['main']

logger = logging.getLogger(__name__)


def main() -> int:
    """Become a daemon: options come on standard input, and the answer goes to a descriptor.

    Returns:
        The exit code.
    """
    answers = open(int(sys.argv[1]), 'w', encoding='utf-8')  # noqa: SIM115, PTH123
    os.set_inheritable(answers.fileno(), False)
    options: dict[str, Any] = json.load(sys.stdin)
    if os.fork():
        # Whoever started this has a child that it can wait for, and none that it must.
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    os.chdir('/')
    # Half of the descriptors are for connections.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(levelname)s %(message)s')

    def answer(content: dict[str, Any]) -> None:
        with answers:
            answers.write(f'{json.dumps(content)}\n')

    def tell(node: Node) -> None:
        address = f'{node.hostname}:{node.port}'
        answer({'pid': os.getpid(), 'address': address})

    try:
        serve(options, tell)
    except ConnectorError as error:
        logger.error('%s', error)  # noqa: TRY400
        if not answers.closed:
            answer({'error': str(error), 'kind': type(error).__name__})
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
