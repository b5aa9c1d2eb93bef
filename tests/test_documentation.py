"""The examples of the documentation run, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.interpreter import run_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Servers

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md')])

#: What an example may use without making it.
GIVEN = """
import numpy as np
array = np.arange(1000.0)
table = {'a': [1, 2]}
"""
#: Directories of the examples, each replaced by one of the test's own.
DIRECTORIES = re.compile(r"'/(?:dev/shm|scratch)/(\w+)'")
#: Replaced by the port of a server that the tests started.
REDIS_PORT = '6379'
#: Made by `make bench`.
MADE = {'benches/RESULTS.md'}


def examples() -> Iterator[tuple[str, str]]:
    """The whole programs: those that import what they use from a connector."""
    for page in PAGES:
        for code in re.findall(r'```python\n(.*?)```', page.read_text(), flags=re.DOTALL):
            if 'proxystore.connectors' in code:
                yield str(page.relative_to(ROOT)), code


EXAMPLES = list(examples())


@pytest.mark.parametrize('code', [code for _, code in EXAMPLES], ids=[page for page, _ in EXAMPLES])
def test_example_runs(code: str, tmp_path: Path, servers: Servers) -> None:
    if REDIS_PORT in code:
        code = code.replace(REDIS_PORT, str(servers['redis-7'].port))
    program = tmp_path / 'example.py'
    program.write_text(GIVEN + DIRECTORIES.sub(rf"'{tmp_path}/\1'", code))
    run_program(program)


def test_every_connector_and_the_readme_have_an_example() -> None:
    connectors = {str(page.relative_to(ROOT)) for page in ROOT.glob('docs/connectors/*.md')}
    assert {'README.md', *connectors} <= {page for page, _ in EXAMPLES}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r'```.*?```|`[^`\n]*`', '', page.read_text(), flags=re.DOTALL)
    links = re.findall(r'\]\(([^)#]+)', text)
    missing = [
        link
        for link in links
        if '://' not in link and link not in MADE and not (page.parent / link).exists()
    ]
    assert not missing, f'{page.relative_to(ROOT)} links to {missing}'
