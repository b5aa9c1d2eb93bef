"""Try a built wheel as a user gets it: an empty environment, no compiler, no cargo.

Usage: python try_wheel.py WHEEL
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

LIMIT = 15 * 1024 * 1024
IMPORTS = """
import sys
import proxystore, proxystore.store, proxystore.proxy, proxystore.stream
from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.connectors.multi import MultiConnector
assert not {'numpy', 'pandas', 'polars'} & set(sys.modules), 'optional packages were imported'
print('imports of', proxystore.__version__, 'work on Python', sys.version.split()[0])
"""


def main(wheel: Path) -> None:
    """Install the wheel in an environment of its own and run the imports and the demo in it."""
    size = wheel.stat().st_size
    if size > LIMIT:
        sys.exit(f'{wheel.name} has {size} bytes, more than {LIMIT}')
    if 'manylinux' not in wheel.name:
        sys.exit(f'{wheel.name} is not a manylinux wheel')
    demo = Path(__file__).with_name('demo.py')
    with tempfile.TemporaryDirectory(prefix='proxystore-wheel-') as directory:
        venv.create(directory, with_pip=True)
        bin_dir = Path(directory, 'bin')
        # Nothing but the environment itself is on the path: no compiler, no cargo.
        environment = {
            'PATH': str(bin_dir),
            'HOME': directory,
            'PIP_DISABLE_PIP_VERSION_CHECK': '1',
        }
        if 'PIP_CONFIG_FILE' in os.environ:
            environment['PIP_CONFIG_FILE'] = os.environ['PIP_CONFIG_FILE']
        python = str(bin_dir / 'python')

        def run(*command: str) -> None:
            subprocess.run([python, *command], check=True, cwd=directory, env=environment)

        run('-m', 'pip', 'install', '--quiet', '--only-binary', ':all:', str(wheel.resolve()))
        run('-W', 'ignore', '-c', IMPORTS)
        run('-m', 'pip', 'install', '--quiet', '--only-binary', ':all:', 'numpy', 'pandas')
        run(str(demo.resolve()))
    print(f'{wheel.name}: {size / 1024 / 1024:.2f} MiB, installed and tried')


if __name__ == '__main__':
    main(Path(sys.argv[1]))
