"""What a client may still send: no byte more, and it is told of more before it must wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nimify.serving.grpc.windows import ReceiveWindow


def test_a_byte_more_than_the_window_is_too_much() -> None:
    """The last one that fits is taken."""
    window = ReceiveWindow(100)
    assert window.take(100)
    assert not window.take(1)


def test_little_is_not_worth_a_frame() -> None:
    """From a quarter of the window on it is, and then all that arrived may come again."""
    window = ReceiveWindow(100)
    window.take(24)
    assert window.widen() == 0
    window.take(2)
    assert window.widen() == 26
    assert window.widen() == 0
    assert window.take(100)


@given(st.lists(st.integers(0, 50), max_size=200))
def test_who_keeps_to_what_it_is_told_never_waits_for_ever(sizes: list[int]) -> None:
    """The client's own count and ours agree, whatever it sends."""
    window, may_send = ReceiveWindow(100), 100
    for size in sizes:
        sent = min(size, may_send)
        assert window.take(sent)
        may_send += window.widen() - sent
        assert 75 < may_send <= 100
