"""Who may know whom: the rules of ARCHITECTURE.md, held against the code."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / 'python' / 'proxystore'

#: The only folders that hold `unsafe` code.
UNSAFE = (
    'crates/connectors/shm/',
    'crates/python/src/buffer/',
    'crates/python/src/proxy/',
    'crates/sys/',
)
#: The only files that detach from the interpreter: the door, and the proxy's lock, which must wait.
DETACH = ('crates/python/src/door.rs', 'crates/python/src/proxy/')
#: What no crate but these may depend on.
RESERVED = {'pyo3': {'proxystore-python'}, 'tokio': {'proxystore-runtime', 'proxystore-stream'}}


def packages() -> dict[str, dict[str, Any]]:
    """The workspace's packages by name, as cargo sees them."""
    output = subprocess.run(
        ['cargo', 'metadata', '--format-version=1', '--no-deps', '--offline', '--locked'],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    return {package['name']: package for package in json.loads(output)['packages']}


PACKAGES = packages()
CONNECTORS = {
    name for name, package in PACKAGES.items() if '/connectors/' in package['manifest_path']
}
SYS = {name for name, package in PACKAGES.items() if '/sys/' in package['manifest_path']}
#: Which of the workspace's packages a package may depend on.
MAY_KNOW = {
    **{name: set() for name in SYS},
    'proxystore-core': {'proxystore-memory'},
    'proxystore-frame': {'proxystore-memory'},
    'proxystore-runtime': {'proxystore-core', *SYS},
    'proxystore-wire': {'proxystore-memory'},
    'proxystore-stream': {'proxystore-core', 'proxystore-runtime', *SYS},
    'proxystore-node': {
        'proxystore-core',
        'proxystore-runtime',
        'proxystore-stream',
        'proxystore-wire',
        *SYS,
    },
    **{name: {'proxystore-core', 'proxystore-runtime', *SYS} for name in CONNECTORS},
    'proxystore-redis': {'proxystore-core', 'proxystore-runtime', 'proxystore-stream', *SYS},
    'proxystore-tcp': {
        'proxystore-core',
        'proxystore-node',
        'proxystore-runtime',
        'proxystore-stream',
        'proxystore-wire',
        *SYS,
    },
    'proxystore-conformance': {'proxystore-core', 'proxystore-runtime', 'proxystore-memory'},
    'proxystore': {
        'proxystore-core',
        'proxystore-node',
        'proxystore-runtime',
        *CONNECTORS,
    },
    'proxystore-python': set(PACKAGES) - CONNECTORS - {'proxystore-benches'},
    'proxystore-benches': set(PACKAGES),
}


def dependencies(package: str) -> set[str]:
    """Names of what a package needs at run time, without what its tests need."""
    return {
        dependency['name']
        for dependency in PACKAGES[package]['dependencies']
        if dependency['kind'] != 'dev'
    }


@pytest.mark.parametrize('package', sorted(PACKAGES))
def test_a_package_knows_only_whom_it_may(package: str) -> None:
    assert package in MAY_KNOW, f'say in MAY_KNOW what {package} may depend on'
    unwanted = (dependencies(package) & set(PACKAGES)) - MAY_KNOW[package]
    assert not unwanted, f'{package} must not depend on {sorted(unwanted)}'


@pytest.mark.parametrize('library', sorted(RESERVED))
def test_a_reserved_library_stays_in_its_place(library: str) -> None:
    users = {package for package in PACKAGES if library in dependencies(package)}
    assert users <= RESERVED[library], f'only {RESERVED[library]} may depend on {library}'


def test_core_depends_on_no_runtime_clock_or_environment() -> None:
    assert dependencies('proxystore-core') <= {'proxystore-memory', 'thiserror', 'tracing'}
    for path in (ROOT / 'crates/core/src').rglob('*.rs'):
        found = re.search(r'\b(Instant::now|SystemTime::now|env::var|std::env)\b', code(path))
        assert not found, f'{path.relative_to(ROOT)} uses {found[0]}'


def test_wire_knows_no_socket_thread_or_clock() -> None:
    wanted = {'proxystore-memory', 'ring', 'subtle', 'thiserror', 'twox-hash'}
    assert dependencies('proxystore-wire') <= wanted
    pattern = r'\b(Instant::now|SystemTime::now|std::(env|fs|io|net|os|thread))\b'
    for path in (ROOT / 'crates/wire/src').rglob('*.rs'):
        found = re.search(pattern, code(path))
        assert not found, f'{path.relative_to(ROOT)} uses {found[0]}'


def rust_files() -> list[Path]:
    return sorted(path for path in (ROOT / 'crates').rglob('*.rs'))


def code(path: Path) -> str:
    """The text of a Rust file without its comments and its unit tests."""
    text, *_ = path.read_text().partition('#[cfg(test)]')
    return re.sub(r'//[^\n]*', '', text)


def allowed(path: Path, places: tuple[str, ...]) -> bool:
    return str(path.relative_to(ROOT)).startswith(places)


def test_unsafe_code_stands_only_where_it_may() -> None:
    outside = [
        str(path.relative_to(ROOT))
        for path in rust_files()
        if not allowed(path, UNSAFE) and re.search(r'\bunsafe\b', code(path))
    ]
    assert not outside, f'unsafe code outside {UNSAFE}: {outside}'


@pytest.mark.parametrize(
    'package', sorted(set(PACKAGES) - SYS - {'proxystore-python', 'proxystore-shm'})
)
def test_every_other_crate_forbids_unsafe_code(package: str) -> None:
    source = Path(PACKAGES[package]['manifest_path']).parent / 'src/lib.rs'
    assert '#![forbid(unsafe_code)]' in source.read_text(), f'{source} must forbid unsafe code'


def test_only_the_door_leaves_the_interpreter() -> None:
    pattern = re.compile(r'\.detach\(|PyEval_SaveThread|PyEval_RestoreThread')
    outside = [
        str(path.relative_to(ROOT))
        for path in rust_files()
        if not allowed(path, DETACH) and pattern.search(code(path))
    ]
    assert not outside, f'only {DETACH} may detach: {outside}'


@pytest.mark.parametrize('package', sorted(CONNECTORS))
def test_connectors_have_the_same_files(package: str) -> None:
    folder = Path(PACKAGES[package]['manifest_path']).parent
    wanted = {'lib.rs', 'config.rs', 'key.rs', 'connector.rs', 'error.rs'}
    assert wanted <= {path.name for path in (folder / 'src').iterdir()}
    assert (folder / 'README.md').is_file()
    assert (folder / 'tests' / 'conformance.rs').is_file()


def native_importers() -> dict[str, list[str]]:
    """For each Python package, its modules that import the extension."""
    found: dict[str, list[str]] = {}
    for path in PACKAGE.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [f'{node.module}.{alias.name}' for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            if any(name.startswith('proxystore._native') for name in names):
                found.setdefault(str(path.parent.relative_to(PACKAGE)), []).append(path.name)
    return found


def test_one_module_of_a_package_imports_the_extension() -> None:
    importers = native_importers()
    assert importers, 'no module imports the extension: this test looks in the wrong place'
    for package, modules in importers.items():
        assert len(set(modules)) <= 1, f'{package}: {sorted(set(modules))} import _native'


#: Packages that a user may not have: imported inside functions or under TYPE_CHECKING only.
OPTIONAL = {'cloudpickle', 'dask', 'numpy', 'pandas', 'polars', 'proxystore_ex', 'pyarrow', 'torch'}


def test_optional_packages_are_not_imported_at_import() -> None:
    for path in PACKAGE.rglob('*.py'):
        if path.name == 'ex.py' or path.parent.name == 'dim':
            continue
        for node in ast.parse(path.read_text()).body:
            names = []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or '']
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            roots = {name.partition('.')[0] for name in names}
            assert not roots & OPTIONAL, f'{path.relative_to(ROOT)} imports {roots & OPTIONAL}'
