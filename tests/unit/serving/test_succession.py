"""A process that hands over to another one: no signal is lost on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvloop

from nimify.serving.stop_signals import StopSignals
from nimify.serving.succession import Succession

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put back what the process did on signals before."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_in_the_last_moment_of_the_event_loop_is_not_lost(number: signal.Signals) -> None:
    """It came before its handler was exchanged, and the loop had not turned since."""
    told: list[signal.Signals] = []
    succession = Succession(cast(Any, SimpleNamespace(log=None)))
    succession._successor = cast(Any, object())  # another process has taken over

    async def end() -> None:
        stop = StopSignals(restarts=True)
        stop.pass_on(told.append)
        os.kill(os.getpid(), number)
        await succession.hold_signals(stop)
        os.kill(os.getpid(), number)

    uvloop.run(end())
    assert told + succession._held == [number, number]
