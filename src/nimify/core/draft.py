"""A bundle before it is written: what was found, what was decided, and every file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nimify.analysis.analysis import Analysis
from nimify.artifacts.drift import Drift, check_bundle
from nimify.artifacts.render import Item
from nimify.artifacts.writer import WriteReport, write_bundle
from nimify.config import ModelConfig
from nimify.core.progress import Progress, silent
from nimify.planning.plan import ServicePlan


@dataclass(frozen=True, slots=True)
class Draft:
    """Everything that `create` is about to write; made by `Nimifier.draft`.

    Attributes:
        folder: Where the bundle is to be.
        config: What was asked for.
        analysis: What was found.
        plan: What was decided, and why.
        items: Every file of the bundle.
        linked: Whether the model file is linked rather than copied.
    """

    folder: Path
    config: ModelConfig
    analysis: Analysis
    plan: ServicePlan
    items: tuple[Item, ...]
    linked: bool = False

    def write(self, *, force: bool = False, progress: Progress = silent) -> WriteReport:
        """Write the bundle, as a whole or not at all.

        Args:
            force: Overwrite what its owner changed in generated files.
            progress: Told of the bytes that are copied.

        Raises:
            BundleEdited: Generated files were changed, and `force` is off.
            BundleError: Something else than a bundle is in the way.
            EnvironmentProblem: The disk is full, or the folder may not be written.
        """
        with progress("Writing the bundle", self.analysis.model.size_bytes) as report:
            return write_bundle(self.folder, self.items, force=force, link=self.linked, progress=report)

    def check(self) -> Drift:
        """How the bundle on disk differs from this one; writes nothing.

        Raises:
            BundleError: There is no bundle.
        """
        return check_bundle(self.folder, self.items)
