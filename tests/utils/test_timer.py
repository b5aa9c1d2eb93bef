"""Stopwatch."""

from __future__ import annotations

import pytest

from proxystore.utils.timer import Timer


def test_starts_at_zero():
    timer = Timer()
    assert (timer.elapsed_ns, timer.elapsed_ms, timer.elapsed_s) == (0, 0, 0)
    assert timer.stop() is timer
    assert timer.elapsed_ns == 0


def test_measures_a_block():
    with Timer() as timer, pytest.raises(RuntimeError, match='still running'):
        timer.elapsed_ns  # noqa: B018
    assert timer.elapsed_ns > 0
    assert timer.elapsed_ms == timer.elapsed_ns / 1e6
    assert timer.elapsed_s == timer.elapsed_ns / 1e9


def test_stop_again_changes_nothing():
    timer = Timer().start().stop()
    elapsed = timer.elapsed_ns
    assert timer.stop().elapsed_ns == elapsed


def test_restarts_from_zero():
    timer = Timer().start().stop()
    timer.start()
    for property_ in ('elapsed_ns', 'elapsed_ms', 'elapsed_s'):
        with pytest.raises(RuntimeError, match='still running'):
            getattr(timer, property_)
