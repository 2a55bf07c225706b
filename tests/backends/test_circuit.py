"""The circuit breaker by itself."""

from __future__ import annotations

import pytest

from llmcache.backends._circuit import Circuit
from llmcache.errors import BackendUnavailableError


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _opened(clock: _Clock) -> Circuit:
    circuit = Circuit("store", clock=clock)
    for _ in range(3):
        with pytest.raises(BackendUnavailableError, match="refused"), circuit.use("get"):
            raise BackendUnavailableError("refused", backend="store", operation="get")
    assert circuit.is_open
    return circuit


def test_one_call_tries_and_the_others_are_kept_out_meanwhile() -> None:
    clock = _Clock()
    circuit = _opened(clock)
    clock.now += 1.5
    with circuit.use("get"):
        with pytest.raises(BackendUnavailableError, match="left alone"):
            circuit.use("get")
    assert not circuit.is_open


def test_a_trial_that_never_ends_keeps_nobody_out_for_ever() -> None:
    """Its loop is gone, or it is that of the process that this one was forked from."""
    clock = _Clock()
    circuit = _opened(clock)
    clock.now += 1.5
    circuit.use("get").__enter__()
    assert circuit.is_open
    clock.now += 31
    assert not circuit.is_open
    with circuit.use("get"):
        pass
    assert not circuit.is_open
