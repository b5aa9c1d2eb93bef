"""What the package's commands have in common."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from proxystore.connectors.exceptions import ConnectorError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

__all__ = ['run']


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Run the command that arguments name, and report on standard error what it fails by.

    Args:
        parser: Parser of the arguments; it sets the default `command` to the
            function that carries out what they say.
        arguments: Arguments without the name of the command; `None` takes
            those of this process.

    Returns:
        The exit code: 0, or 1 if something went wrong and was reported.
    """
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
        sys.stdout.flush()
    except ConnectorError as error:
        print(f'{parser.prog}: {error}', file=sys.stderr)  # noqa: T201
        return 1
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        sys.stdout = None
    return 0
