"""The command `proxystore-node`: nodes that outlive whoever started them."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from proxystore.node.daemon import serve, start, stop
from proxystore.node.process import HOSTNAME, PORT, Node, node_options, running, status
from proxystore.utils._command import run
from proxystore.utils._secrets import names_a_place
from proxystore.utils.data import bytes_to_readable, readable_to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ['main']

_LAST_PORT = 65535

#: Options of the command and of nodes, with what they are for.
_PROTECTION = (
    ('secret', 'what all clients must know: env:NAME or file:PATH (default: one of this user)'),
    ('certificate', 'file with the certificate to show to the other side (PEM)'),
    ('certificate-key', 'file with the private key of the certificate'),
    ('authority', "file with the certificates that the other side's must be signed by"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Arguments without the name of the command; `None` takes
            those of this process.

    Returns:
        The exit code: 0, or 1 if something went wrong and was reported on
        standard error.
    """
    return run(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='proxystore-node',
        description='Nodes: processes that keep objects in memory and serve them.',
    )
    commands = parser.add_subparsers(title='commands', required=True, metavar='COMMAND')

    def add(name: str, function: Callable[[argparse.Namespace], None], summary: str) -> Any:
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(command=function)
        command.add_argument(
            '--port', type=_port, default=PORT, help='port of the node (default: %(default)s)'
        )
        return command

    def add_protection(command: Any) -> None:
        command.add_argument(
            '--host', default=HOSTNAME, help='name or address of its host (default: %(default)s)'
        )
        for name, summary in _PROTECTION:
            kind = _secret if name == 'secret' else str
            command.add_argument(f'--{name}', type=kind, help=summary)
        command.add_argument(
            '--encrypt',
            action=argparse.BooleanOptionalAction,
            help='encrypt TCP (default: all but what stays within the host)',
        )

    command = add('start', _start, 'start a node, unless this user has one on that port')
    add_protection(command)
    command.add_argument(
        '--budget',
        type=_size,
        help='memory for objects, as in 64GB (default: a quarter of what there is)',
    )
    command.add_argument('--spill', help='directory on a disk for what is over the budget')
    command.add_argument(
        '--no-unix', dest='unix', action='store_false', help='listen on no Unix socket'
    )
    command.add_argument(
        '--foreground', action='store_true', help='be the node, until SIGTERM or SIGINT'
    )
    command = add('stop', _stop, 'end the node, once its clients have finished')
    command.add_argument(
        '--timeout', type=float, default=30.0, help='seconds that it has (default: %(default)s)'
    )
    command = add('status', _status, 'show what a node holds and does')
    add_protection(command)
    command.add_argument('--json', action='store_true', help='print JSON')
    return parser


def _secret(text: str) -> str:
    if not names_a_place(text):
        msg = 'whoever lists processes would see it; name where it is by env:NAME or file:PATH'
        raise argparse.ArgumentTypeError(msg)
    return text


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= _LAST_PORT:
        msg = f'{port} is no port; choose one from 1 to {_LAST_PORT}'
        raise argparse.ArgumentTypeError(msg)
    return port


def _size(text: str) -> int:
    try:
        return readable_to_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _protection(options: argparse.Namespace) -> dict[str, Any]:
    names = [name.replace('-', '_') for name, _ in _PROTECTION]
    given = {name: getattr(options, name) for name in names}
    return {'hostname': options.host, 'port': options.port, 'encrypt': options.encrypt, **given}


def _start(options: argparse.Namespace) -> None:
    given = {
        **_protection(options),
        'budget': options.budget,
        'spill': options.spill,
        'unix': options.unix,
    }
    if options.foreground:
        serve(node_options(**given), _tell)
        return
    found = running(options.port)
    node = start(**given)
    verb = 'is' if found == node else 'has become'
    print(f'process {node.pid} {verb} the node at {node.address}')  # noqa: T201


def _tell(node: Node) -> None:
    print(f'this process is the node at {node.hostname}:{node.port}', flush=True)  # noqa: T201


def _stop(options: argparse.Namespace) -> None:
    port = options.port
    has_stopped = stop(port, options.timeout)
    text = f'the node on port {port} has ended' if has_stopped else f'no node is on port {port}'
    print(text)  # noqa: T201


def _status(options: argparse.Namespace) -> None:
    found = status(**_protection(options))
    if options.json:
        print(json.dumps(found, indent=2))  # noqa: T201
        return
    width = max(map(len, found))
    for name, value in found.items():
        text = bytes_to_readable(value) if name.endswith('bytes') else str(value)
        print(f'{name.replace("_", " "):{width}}  {text:>12}')  # noqa: T201


if __name__ == '__main__':
    sys.exit(main())
