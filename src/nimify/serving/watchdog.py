"""An engine that does not come back: the process ends, so that another can take its place.

Nothing can stop a run inside native code. Requests that wait for it get their 504 in time, but no other would ever run.
So when a run takes longer than anybody could have waited for it, the worker ends at once; its supervisor, or the
orchestrator, starts another.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from nimify.serving.logs import Log

EXIT_HUNG: Final = 8
"""As when a stop leaves requests unanswered: that is what happens to those in flight."""
PATIENCE: Final = 2.0
"""How many times as long as the longest request a run may take."""
LEAST_S: Final = 30.0
"""However impatient clients are, a run may take so long: it may be short of nothing but a processor."""


class EngineWatchdog:
    """Ends the process when the engine hangs.

    Args:
        running_for_s: How long the run that is under way has taken.
        request_timeout_s: How long a request may wait for its answer.
    """

    def __init__(self, running_for_s: Callable[[], float], *, request_timeout_s: float, log: Log) -> None:
        self._running_for_s = running_for_s
        self._limit_s = max(PATIENCE * request_timeout_s, LEAST_S)
        self._log = log

    def check(self) -> None:
        """Look at the engine; does not return when it hangs."""
        taken_s = self._running_for_s()
        if taken_s > self._limit_s:
            self._log.error("the engine hangs; this worker ends", seconds=round(taken_s, 1), limit_s=self._limit_s)
            os._exit(EXIT_HUNG)
