"""The behaviour that every connector keeps, as cases that any connector can run.

For authors of connectors, in this package or another. Describe the connector
to a [`Subject`][proxystore.conformance.Subject] and run the cases, with any
test framework:

```python
import pytest
from proxystore.conformance import CASES, Subject

class MySubject(Subject):
    capabilities = {'crosses_processes': True, 'outlives_process': True}
    key_type = MyKey

    def __init__(self, address):
        self.address = address

    def open(self):
        return MyConnector(self.address)

@pytest.mark.parametrize('case', CASES, ids=str)
def test_contract(case, server):
    case.run(MySubject(server.address))
```

A case raises `ConformanceError` if the connector breaks it. One that asks for a
capability or a method that the subject does not have says so in its answer.

Most cases are those of the native core (`proxystore-conformance`), which see
the connector through its Python methods; those at the end are about what only
exists in Python: pickling, start methods, event loops.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import pickle
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

from proxystore.connectors.exceptions import ConnectorKeyError
from proxystore.connectors.native import conformance_cases, run_conformance_case
from proxystore.connectors.protocols import Connector, DeferrableConnector

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

__all__ = ['CASES', 'Case', 'ConformanceError', 'Outcome', 'Subject']

#: What came of a case that did not fail: the connector keeps the sentence;
#: the sentence does not apply to connectors with its capabilities; the subject
#: cannot set the case up, as it does not override a method.
Outcome: TypeAlias = Literal['passed', 'not applicable', 'untestable']

#: Seconds after which a process that was started for a case counts as hung.
PATIENCE = 60

_FOREIGN = '\0foreign'


class ConformanceError(AssertionError):
    """A connector breaks a sentence of the contract."""


class Subject:
    """A connector, as the cases see it. Subclass it and say how to open one.

    The methods with a default are needed by some cases only: without an
    override, these cases answer `'untestable'`.

    Attributes:
        capabilities: What the connector can do. `deferrable`,
            `crosses_processes`, `crosses_hosts`, `outlives_process` and
            `remote` are booleans, absent meaning `False`; `verifies` and
            `zero_copy` are `True`, `False` or `None` for "it depends";
            `max_object_size` and `transit_memory` are bytes, absent meaning
            that there is no bound.
        key_type: Named tuple that the keys are.
    """

    capabilities: ClassVar[dict[str, Any]] = {}
    key_type: ClassVar[type[Any]]

    def open(self) -> Connector[Any]:
        """Open another connector over the one storage of this subject."""
        raise NotImplementedError

    def reopen(self, config: dict[str, Any]) -> Connector[Any]:
        """Open a connector from a configuration that one of this subject's gave.

        Args:
            config: What `config()` returned, tuples as lists.
        """
        return type(self.open()).from_config(config)

    def make_key(self, *fields: Any) -> Any:
        """Make a key of the connector from the fields of one, nested keys as tuples.

        Args:
            fields: The fields.
        """
        if fields and fields[0] == _FOREIGN:
            return self.forged_keys()[fields[1]]
        return self.key_type(*fields)

    def forged_keys(self) -> list[Any]:
        """Return keys that the connector must refuse: forged ones and those of others."""
        return [_ForeignKey('foreign')]

    def foreign_keys(self) -> list[tuple[str, int]]:
        """Return stand-ins for `forged_keys()` that have only fields a key can have."""
        return [(_FOREIGN, index) for index in range(len(self.forged_keys()))]

    def stored(self) -> list[str] | None:
        """Return the names of everything in the storage."""
        return None

    def damage(
        self,
        key: Any,  # noqa: ARG002
        damage: Literal['flipped bit', 'half written', 'truncated'],  # noqa: ARG002
    ) -> bool:
        """Damage a stored object behind the connector's back.

        Args:
            key: Key of the object.
            damage: What to do to it.

        Returns:
            Whether that was done.
        """
        return False

    def full(self) -> AbstractContextManager[object] | None:
        """Make a context in which the storage has no room for objects of 4 MiB."""
        return None

    def get_elsewhere(
        self,
        connector: Connector[Any],
        key: Any,
        elsewhere: Literal['fork', 'process'],
    ) -> bytes | None:
        """Get an object as another process does.

        Args:
            connector: Connector to use, or to rebuild from its configuration.
            key: Key of the object.
            elsewhere: A forked child that uses the very connector, or a fresh
                process that opens one from the configuration.
        """
        found: bytes | None
        if elsewhere == 'fork':
            found = _in_process('fork', _get, connector, key)
        else:
            arguments = (type(connector), connector.config(), key)
            found = _in_process('spawn', _open_and_get, *arguments)
        return found

    def plant(self) -> Callable[[], bool] | None:
        """Put something that is not the connector's next to its objects.

        Returns:
            Function that tells whether it is still there.
        """
        return None


class Case(NamedTuple):
    """One sentence of the contract, and the test of it.

    Attributes:
        name: Lower-case words with hyphens, unique.
        contract: The sentence.
        heavy: Whether it moves gigabytes.
        body: What runs, for the cases that only exist in Python.
    """

    name: str
    contract: str
    heavy: bool = False
    body: Callable[[Subject], bool | None] | None = None

    def __str__(self) -> str:
        return self.name

    def run(self, subject: Subject) -> Outcome:
        """Test whether a connector keeps the sentence.

        Args:
            subject: The connector.

        Returns:
            Whether it keeps the sentence, or why that was not tested.

        Raises:
            ConformanceError: If the connector breaks it.
        """
        if self.body is None:
            outcome, message = run_conformance_case(self.name, subject)
            if outcome == 'failed':
                raise ConformanceError(self._complaint(message))
            return 'untestable' if outcome == 'untestable' else _outcome(outcome == 'passed')
        try:
            return _outcome(self.body(subject) is not False)
        except AssertionError as error:
            raise ConformanceError(self._complaint(str(error))) from error

    def _complaint(self, message: str) -> str:
        return f'{self.name}: {message}\n    contract: {self.contract}'


class _ForeignKey(NamedTuple):
    name: str


def _outcome(applies: bool) -> Outcome:
    return 'passed' if applies else 'not applicable'


def _ensure(condition: object, message: str) -> None:
    if not condition:
        raise ConformanceError(message)


def _get(connector: Connector[Any], key: Any) -> bytes | None:
    found = connector.get(key)
    return None if found is None else bytes(found)


def _open_and_get(kind: type[Connector[Any]], config: dict[str, Any], key: Any) -> bytes | None:
    return _get(kind.from_config(config), key)


def _in_process(method: str, function: Callable[..., Any], *args: Any) -> Any:
    context: Any = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    # In a forked child nothing is pickled: it has the very objects.
    child = context.Process(target=_answer, args=(sender, function, *args), daemon=True)
    child.start()
    sender.close()
    try:
        if not receiver.poll(PATIENCE):
            message = f'a process started by {method} gave no answer within {PATIENCE} s'
            raise ConformanceError(message)
        error, result = receiver.recv()
    except EOFError:
        child.join(PATIENCE)
        message = f'a process started by {method} died with exit code {child.exitcode}'
        raise ConformanceError(message) from None
    finally:
        receiver.close()
        child.kill()
        child.join()
    if error is not None:
        raise error
    return result


def _answer(sender: Any, function: Callable[..., Any], *args: Any) -> None:
    try:
        sender.send((None, function(*args)))
    except Exception as error:
        sender.send((error, None))


def _has_the_protocol(subject: Subject) -> None:
    connector: object = subject.open()
    _ensure(isinstance(connector, Connector), f'{connector!r} lacks methods of the protocol')
    if subject.capabilities.get('deferrable'):
        _ensure(isinstance(connector, DeferrableConnector), f'{connector!r} cannot defer')


def _takes_every_buffer(subject: Subject) -> None:
    connector = subject.open()
    for buffer in (b'bytes', bytearray(b'bytes'), memoryview(b'-bytes-')[1:-1]):
        key = connector.put(buffer)
        found = connector.get(key)
        _ensure(isinstance(found, bytes | bytearray | memoryview), f'get returned {found!r}')
        _ensure(found == b'bytes', f'put of {type(buffer).__name__}: get returned {found!r}')


def _keys_are_named_tuples(subject: Subject) -> None:
    key = subject.open().put(b'x')
    _ensure(isinstance(key, tuple), f'the key {key!r} is no tuple')
    _ensure(hasattr(key, '_fields'), f'the key {key!r} has no named fields')


def _keys_survive_pickling(subject: Subject) -> None:
    connector = subject.open()
    key = connector.put(b'x')
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(key, protocol))
        _ensure(type(copy) is type(key), f'a pickled key comes back as {type(copy)}')
        _ensure(copy == key, f'{key!r} is pickled as {copy!r}')
        _ensure(hash(copy) == hash(key), f'the hash of {key!r} changes with pickling')
        _ensure(connector.get(copy) == b'x', f'{copy!r} does not find the object of {key!r}')


def _wrong_types_are_refused(subject: Subject) -> None:
    connector = subject.open()
    for key in (_ForeignKey('x'), 'x', 7, None):
        for operation in (connector.get, connector.exists, connector.evict):
            try:
                operation(key)
            except ConnectorKeyError as error:
                _ensure(repr(key) in str(error), f'the error does not name the key: {error}')
            else:
                _ensure(False, f'{key!r} is no key of this connector, and was not refused')


def _configuration_is_plain(subject: Subject) -> None:
    connector = subject.open()
    config: object = connector.config()
    _ensure(isinstance(config, dict), f'config() is no dictionary but {config!r}')
    _ensure(connector.config() == config, 'config() changes from call to call')
    _ensure(pickle.loads(pickle.dumps(config)) == config, 'the configuration cannot be pickled')


def _context_manager_closes(subject: Subject) -> bool:
    connector: Any = subject.open()
    if not callable(getattr(connector, '__enter__', None)):
        # The protocol does not ask for it.
        return False
    with connector as entered:
        _ensure(entered is connector, 'the context manager gives another connector')
        key = entered.put(b'x')
    try:
        connector.get(key)
    except Exception:
        return True
    message = 'the connector can be used after its with block'
    raise ConformanceError(message)


def _start_methods_reach_the_object(subject: Subject) -> bool:
    if not subject.capabilities.get('crosses_processes'):
        return False
    connector = subject.open()
    key = connector.put(b'from the parent')
    arguments = (type(connector), connector.config(), key)
    for method in ('forkserver', 'spawn'):
        found = _in_process(method, _open_and_get, *arguments)
        _ensure(found == b'from the parent', f'a process by {method} got {found!r}')
    return True


def _event_loops_share_a_connector(subject: Subject) -> None:
    connector = subject.open()

    def round_trip(index: int) -> bool:
        data = str(index).encode()
        key = connector.put(data)
        same = connector.get(key) == data
        connector.evict(key)
        return same and not connector.exists(key)

    async def many() -> list[bool]:
        tasks = (asyncio.to_thread(round_trip, index) for index in range(50))
        return await asyncio.gather(*tasks)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for loop in [pool.submit(asyncio.run, many()) for _ in range(2)]:
            _ensure(all(loop.result(PATIENCE)), 'a task of an event loop got another object')


_IN_PYTHON = (
    Case('has-the-protocol', 'a connector has the methods', body=_has_the_protocol),
    Case(
        'takes-every-buffer',
        'bytes, bytearrays and memory views are taken, and one of them is returned',
        body=_takes_every_buffer,
    ),
    Case('keys-are-named-tuples', 'keys are named tuples', body=_keys_are_named_tuples),
    Case('keys-survive-pickling', 'keys survive pickling', body=_keys_survive_pickling),
    Case(
        'wrong-types-are-refused',
        'a key of another connector is refused, and the error names it',
        body=_wrong_types_are_refused,
    ),
    Case(
        'configuration-is-plain',
        'the configuration is a dictionary that can be pickled',
        body=_configuration_is_plain,
    ),
    Case(
        'context-manager-closes',
        'a connector is a context manager; use after it raises',
        body=_context_manager_closes,
    ),
    Case(
        'start-methods-reach-the-object',
        'processes of every start method can get an object by its key',
        body=_start_methods_reach_the_object,
    ),
    Case(
        'event-loops-share-a-connector',
        'tasks of several event loops may share one connector',
        body=_event_loops_share_a_connector,
    ),
)

#: Every sentence of the contract.
CASES: tuple[Case, ...] = (
    *(Case(name, contract, heavy) for name, contract, heavy in conformance_cases()),
    *_IN_PYTHON,
)
