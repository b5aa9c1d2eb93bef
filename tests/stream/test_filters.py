"""Filters drop objects by their metadata."""

from __future__ import annotations

import pytest

from proxystore.stream.filters import NullFilter, SamplingFilter


def test_null_filter_drops_nothing() -> None:
    assert NullFilter()({'a': 1}) is False


def test_sampling_filter_drops_at_its_rate() -> None:
    assert not any(SamplingFilter(0)({}) for _ in range(100))
    assert all(SamplingFilter(1)({}) for _ in range(100))
    # The odds of leaving this range are below 1e-20.
    assert 300 < sum(SamplingFilter(0.5)({}) for _ in range(1000)) < 700


@pytest.mark.parametrize('p', [-0.1, 1.1, float('nan')])
def test_sampling_filter_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(ValueError, match=r'must be in \[0, 1\]'):
        SamplingFilter(p)
