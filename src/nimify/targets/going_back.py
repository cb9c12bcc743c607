"""Which revision an order without a bundle goes back to; the same at every place."""

from __future__ import annotations

from collections.abc import Sequence

from nimify.errors import ConfigError
from nimify.targets.target import Order


def former_revision(order: Order, good: Sequence[int], *, live: int | None) -> int:
    """The revision that is asked for, or else the last one before the live one.

    Args:
        order: What is asked for.
        good: The revisions that can be returned to, the oldest first.
        live: The one that answers; `None` when none does.

    Raises:
        ConfigError: There is no such revision.
    """
    if order.revision is not None:
        chosen = [number for number in good if number == order.revision]
        problem = f"'{order.reference.name}' has no revision {order.revision}."
    else:
        chosen = [number for number in good if live is None or number < live]
        problem = f"'{order.reference.name}' has no revision before the present one."
    if not chosen:
        raise ConfigError(problem, remedy=f"There are: {', '.join(map(str, good)) or 'none'}.")
    return chosen[-1]
