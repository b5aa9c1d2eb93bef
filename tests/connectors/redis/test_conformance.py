"""The contract, over every kind of server and every way to reach one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxystore.conformance import CASES, Case
from tests.connectors.redis.support import SETTINGS, UNTESTABLE, ServedSubject, reach

if TYPE_CHECKING:
    from tests.support.servers import Servers


@pytest.mark.parametrize('case', [case for case in CASES if not case.heavy], ids=str)
@pytest.mark.parametrize('setting', SETTINGS)
def test_contract(setting: str, case: Case, servers: Servers) -> None:
    outcome = case.run(ServedSubject(*reach(servers, setting)))
    assert (outcome == 'untestable') == (case.name in UNTESTABLE)
