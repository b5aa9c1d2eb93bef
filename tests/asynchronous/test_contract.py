"""The asynchronous operations keep the contract that the synchronous ones keep."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from proxystore.conformance import CASES, Case
from proxystore.connectors import _asyncio
from tests.connectors.test_conformance import SUBJECTS

if TYPE_CHECKING:
    from pathlib import Path

OPERATIONS = ('close', 'evict', 'exists', 'get', 'get_batch', 'put', 'put_batch', 'set')


class Awaited:
    """A connector whose methods await their asynchronous twins, in a loop for each call."""

    def __init__(self, connector: Any) -> None:
        self.connector = connector

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.connector, name)
        if name not in OPERATIONS:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            async def operation() -> Any:
                return await _asyncio.start(self.connector, f'a{name}', *args, **kwargs)

            if asyncio._get_running_loop() is None:
                return asyncio.run(operation())
            return _in_thread(operation)

        return call


def _in_thread(operation: Any) -> Any:
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((asyncio.run(operation()), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


class AwaitedSubject:
    """The subject of a connector, which opens it like this."""

    def __init__(self, subject: Any) -> None:
        self.subject = subject

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subject, name)

    def open(self) -> Any:
        return Awaited(self.subject.open())

    def reopen(self, config: dict[str, Any]) -> Any:
        return Awaited(self.subject.reopen(config))


#: Cases that are about the connector's class, which `Awaited` is not.
ABOUT_CLASSES = {
    'context-manager-closes',
    'put-is-visible-in-other-processes',
    'start-methods-reach-the-object',
}
CASES_OF_METHODS = [case for case in CASES if not case.heavy and case.name not in ABOUT_CLASSES]


@pytest.mark.parametrize('case', CASES_OF_METHODS, ids=str)
@pytest.mark.parametrize('kind', sorted(SUBJECTS))
def test_contract(kind: str, case: Case, tmp_path: Path) -> None:
    subject, untestable = SUBJECTS[kind]
    outcome = case.run(AwaitedSubject(subject(tmp_path)))
    assert (outcome == 'untestable') == (case.name in untestable), outcome


def test_the_cases_left_out_exist() -> None:
    assert {case.name for case in CASES} >= ABOUT_CLASSES
