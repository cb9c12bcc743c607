"""Work beside the event loop gives way to it."""

from __future__ import annotations

import time

import pytest

from nimify.serving import bulk


def test_work_gives_way_when_its_turn_is_over_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause costs more than the steps between which it is asked for."""
    now_s, pauses = time.monotonic() + 1.0, 0  # after whatever turn this thread has had in other tests

    def sleep(seconds: float) -> None:
        nonlocal pauses
        assert seconds > 0, "a sleep of no time may let nobody in"
        pauses += 1

    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    monkeypatch.setattr(time, "sleep", sleep)
    bulk.give_way()
    begun = pauses
    bulk.give_way()
    now_s += bulk.TURN_S / 2
    bulk.give_way()
    assert pauses == begun
    now_s += bulk.TURN_S
    bulk.give_way()
    assert pauses == begun + 1
