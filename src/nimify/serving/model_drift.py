"""Whether the bundle still holds the model that is served.

What is in memory goes on answering, and rightly so; but the next start, or the next worker, would serve another model,
or none. So the service stops being ready, and says why, until the files are what they were or it is started again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nimify.errors import BundleDamaged
from nimify.serving.logs import Log
from nimify.serving.model import verify_files
from nimify.serving.spec import ServiceSpec
from nimify.serving.watch import Stamped


class ModelDrift:
    """Compares the model's files with what was loaded.

    Args:
        changed: Told, on the watching thread, when the files drift (true) and when they are back (false).
    """

    def __init__(self, bundle: Path, spec: ServiceSpec, *, changed: Callable[[bool], None], log: Log) -> None:
        self._bundle = bundle
        self._spec = spec
        self._changed = changed
        self._log = log
        files = [bundle / file.path for file in spec.model_files]
        self._stamped = Stamped(lambda: files)
        self._drifted = False

    def check(self) -> None:
        """Look at the files; their digests are taken only when something about them has changed."""
        if not self._stamped.changed():
            return
        try:
            verify_files(self._bundle, self._spec)
        except BundleDamaged as error:
            if not self._drifted:
                self._log.error("the model's files have changed; what was loaded is served on", reason=error.message)
            self._tell(drifted=True)
        else:
            self._tell(drifted=False)

    def _tell(self, *, drifted: bool) -> None:
        if drifted != self._drifted:
            self._drifted = drifted
            self._changed(drifted)
            if not drifted:
                self._log.info("the model's files are as they were")
