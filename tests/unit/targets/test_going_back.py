"""The revision that a rollback goes to."""

from __future__ import annotations

import pytest

from nimify.errors import ConfigError
from nimify.targets.going_back import former_revision
from nimify.targets.target import Order, Reference


@pytest.mark.parametrize(
    ("asked", "live", "chosen"),
    [(None, 4, 3), (None, 3, 1), (None, None, 4), (1, 4, 1), (4, 4, 4)],
)
def test_it_is_the_one_that_is_asked_for_or_the_last_before_the_live_one(
    asked: int | None, live: int | None, chosen: int
) -> None:
    """Where nothing runs, the newest is the one to go back to."""
    assert former_revision(Order(Reference("tiny"), revision=asked), [1, 3, 4], live=live) == chosen


@pytest.mark.parametrize(
    ("asked", "said"), [(2, "'tiny' has no revision 2."), (None, "'tiny' has no revision before the present one.")]
)
def test_where_there_is_none_the_others_are_named(asked: int | None, said: str) -> None:
    """A number that never was live and the first revision alike."""
    with pytest.raises(ConfigError) as caught:
        former_revision(Order(Reference("tiny"), revision=asked), [1, 3], live=1)

    assert caught.value.message == said
    assert caught.value.remedy == "There are: 1, 3."
