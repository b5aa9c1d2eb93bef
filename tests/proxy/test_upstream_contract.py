"""ProxyStore 1.1.0 meets the contract that our proxies are held to."""

from __future__ import annotations

import re
import subprocess

from tests.support.interpreter import ROOT, upstream_python


def test_upstream_meets_the_contract(tmp_path):
    (tmp_path / 'empty.ini').write_text('[pytest]\n')
    command = [upstream_python(), '-m', 'pytest', '-q', '-p', 'no:cacheprovider']
    command += ['-c', str(tmp_path / 'empty.ini'), '--rootdir', str(ROOT)]
    done = subprocess.run(
        [*command, 'tests/proxy/test_contract.py'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    summary = re.search(r'^(\d+) passed in', done.stdout, re.MULTILINE)
    assert summary is not None, done.stdout
    assert int(summary[1]) > 150
