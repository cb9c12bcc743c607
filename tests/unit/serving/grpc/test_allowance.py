"""Allowances: spent at once, back with time, and more with honest work."""

from __future__ import annotations

from nimify.serving.grpc.allowance import Allowance


def test_a_burst_is_allowed_and_no_more() -> None:
    """What comes back with time can be used again."""
    allowance = Allowance(3, 2)
    assert [allowance.use(100.0) for _ in range(4)] == [True, True, True, False]
    assert not allowance.use(100.4)
    assert [allowance.use(101.0) for _ in range(3)] == [True, True, False]


def test_it_never_grows_beyond_the_burst() -> None:
    """Neither by waiting nor by work."""
    allowance = Allowance(2, 10)
    allowance.earn(100)
    assert [allowance.use(0.0) for _ in range(3)] == [True, True, False]
    assert [allowance.use(1000.0) for _ in range(3)] == [True, True, False]


def test_work_gives_back() -> None:
    """As much as it is worth."""
    allowance = Allowance(2, 0)
    assert [allowance.use(0.0) for _ in range(3)] == [True, True, False]
    allowance.earn(1)
    assert [allowance.use(0.0) for _ in range(2)] == [True, False]
