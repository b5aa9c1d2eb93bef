"""What the comparisons with ProxyStore 1.1.0 share."""

from __future__ import annotations

import pandas as pd
import pytest


@pytest.fixture(autouse=True)
def pandas_without_pyarrow():
    """The reading side has no pyarrow, which pandas else pickles its strings with."""
    with pd.option_context('mode.string_storage', 'python'):
        yield
