"""The command `proxystore`: look after what stores keep on this host."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from proxystore.connectors.exceptions import ConnectorPathError
from proxystore.connectors.native import collect_garbage, report
from proxystore.utils._command import run
from proxystore.utils._paths import absolute
from proxystore.utils.data import bytes_to_readable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ['main']


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
        prog='proxystore', description='Look after what stores keep on this host.'
    )
    topics = parser.add_subparsers(title='topics', required=True, metavar='TOPIC')
    shm = topics.add_parser('shm', help='objects in shared memory')
    commands = shm.add_subparsers(title='commands', required=True, metavar='COMMAND')
    for name, function, summary, default in (
        ('list', _list, 'list the namespaces', None),
        ('stat', _stat, 'show what a namespace holds, and for whom', 'default'),
        ('gc', _gc, 'free what nobody holds', None),
    ):
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(command=function)
        command.add_argument(
            'namespace',
            nargs='?',
            default=default,
            help=f'name of the namespace (default: {default or "all of them"})',
        )
        command.add_argument(
            '--directory', help='directory of the namespaces (default: /dev/shm/proxystore-<uid>)'
        )
        command.add_argument('--json', action='store_true', help='print JSON')
    return parser


def _connector_options(options: argparse.Namespace) -> dict[str, Any]:
    named = {
        'namespace': options.namespace,
        'directory': absolute(options.directory),
    }
    return {name: value for name, value in named.items() if value is not None}


def _list(options: argparse.Namespace) -> None:
    namespaces = report('shm', _connector_options(options))
    _show(options, namespaces, lambda: _table(_NAMESPACE, namespaces))


def _stat(options: argparse.Namespace) -> None:
    namespaces = report('shm', _connector_options(options))
    if not namespaces:
        where = '' if options.directory is None else f' in {absolute(options.directory)}'
        msg = f'there is no namespace "{options.namespace}"{where}; "shm list" names all there are'
        raise ConnectorPathError(msg)

    def text() -> str:
        parts: list[str] = []
        for namespace in namespaces:
            facts = [f'{name}: {value(namespace)}' for name, value in _FACTS]
            parts += [*facts, '', _table(_PROCESS, namespace.get('processes', ()))]
        return '\n'.join(parts)

    _show(options, namespaces, text)


def _gc(options: argparse.Namespace) -> None:
    freed = collect_garbage('shm', _connector_options(options))
    _show(options, freed, lambda: _table(_FREED, freed))


def _show(options: argparse.Namespace, content: Any, text: Callable[[], str]) -> None:
    print(json.dumps(content, indent=2) if options.json else text())  # noqa: T201


_Columns = tuple[tuple[str, 'Callable[[dict[str, Any]], str]'], ...]


def _table(columns: _Columns, rows: Sequence[dict[str, Any]]) -> str:
    lines = [[name for name, _ in columns], *([value(row) for _, value in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join(
        # Names to the left, figures to the right.
        '  '.join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        ).rstrip()
        for line in lines
    )


def _size(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: bytes_to_readable(row[name]) if name in row else '-'


def _plain(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: str(row.get(name, '-'))


def _time(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: _duration(row[name]) if name in row else '-'


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f'{seconds:.0f} s'
    if seconds < 7200:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / 3600:.0f} h'


def _state(row: dict[str, Any]) -> str:
    if 'error' in row:
        return f'cannot be read: {row["error"]}'
    if any(process['alive'] for process in row['processes']):
        return 'in use'
    left = row['hold_s'] - row['idle_s']
    return f'kept {_duration(left)} more' if left > 0 else 'expired'


_NAMESPACE: _Columns = (
    ('NAMESPACE', _plain('name')),
    ('STATE', _state),
    ('PROCESSES', lambda row: str(len(row.get('processes', ())))),
    ('OBJECTS', _plain('objects')),
    ('BYTES', _size('bytes')),
    ('FREE', _size('free')),
    ('AGE', _time('age_s')),
    ('IDLE', _time('idle_s')),
)
_FACTS: _Columns = (
    ('namespace', _plain('name')),
    ('path', _plain('path')),
    ('id', _plain('id')),
    ('state', _state),
    ('age', _time('age_s')),
    ('last used', lambda row: f'{_time("idle_s")(row)} ago'),
    ('hold', _time('hold_s')),
    ('objects', _plain('objects')),
    ('bytes of objects', _size('bytes')),
    ('bytes kept for the next puts', _size('free')),
    ('bytes spilled to disk', _size('spilled')),
    ('bytes left by dead processes', _size('orphaned')),
)
_PROCESS: _Columns = (
    ('PID', _plain('pid')),
    ('ALIVE', lambda row: 'yes' if row['alive'] else 'no'),
    ('BYTES', _size('bytes')),
    ('VIEWS', _plain('pins')),
)
_FREED: _Columns = (
    ('NAMESPACE', _plain('name')),
    ('STATE', lambda row: 'ended' if row.get('swept') else _state(row)),
    ('DEAD PROCESSES', lambda row: str(row.get('adopted', 0))),
    ('FREED', lambda row: bytes_to_readable(row.get('freed', 0))),
)


if __name__ == '__main__':
    sys.exit(main())
