"""Starts a trial run in a guarded child process, and reads what it found."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from nimify import plugins
from nimify.analysis.analysis import GoldenCase, Trial
from nimify.analysis.guarded import GuardLimits, run_guarded
from nimify.analysis.tensor_files import read_tensors, write_tensors
from nimify.errors import ConfigError, ModelError
from nimify.formats.format import ModelInfo

Array = np.ndarray[Any, Any]

# -P: the folder in which the child works must not be searched for modules.
_COMMAND: Final = (sys.executable, "-P", "-m", "nimify.analysis.trial")


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """What a trial run found.

    Attributes:
        trial: Measurements.
        golden: Recorded requests and answers; empty when no inputs were found that the model takes.
        refusal: What the engine said of the last inputs that it refused.
        compared: Whether rows of a merged run were compared with rows run alone.
        dependence: Why rows must not be merged; `None` when nothing speaks against it.
    """

    trial: Trial
    golden: tuple[GoldenCase, ...]
    refusal: str
    compared: bool
    dependence: str | None


@dataclass(frozen=True, slots=True)
class TrialJob:
    """A trial run that is to be done.

    Attributes:
        model: The model, read and checked.
        source: Its name as the user gave it, for messages.
        engine: Name of the engine, an entry point of `nimify.engines`.
        seed: For inputs that are drawn.
        sample: The user's own inputs, or `None`.
        sample_name: What to call them.
    """

    model: ModelInfo
    source: str
    engine: str
    seed: int
    sample: Mapping[str, Array] | None = None
    sample_name: str = ""

    def run(self, limits: GuardLimits | None = None) -> TrialOutcome:
        """Carry it out.

        Raises:
            ModelError: The engine cannot load the model, or the child process broke a limit or crashed.
            ConfigError: The model does not take the user's own inputs.
            PluginError: There is no such engine.
            EnvironmentProblem: The child process could not be started.
        """
        plugins.find(plugins.ENGINES, self.engine)
        limits = limits or GuardLimits.for_model(self.model.size_bytes)
        with tempfile.TemporaryDirectory(prefix="nimify-trial-") as name:
            folder = Path(name)
            result = run_guarded(_COMMAND, self._description(folder), folder=folder, source=self.source, limits=limits)
            if "refused_sample" in result:
                raise ConfigError(
                    f"the model does not take the inputs of '{self.sample_name}' ({result['refused_sample']}).",
                    field="golden.sample",
                )
            try:
                return self._outcome(result, folder)
            except (OSError, KeyError, TypeError, ValueError):
                raise ModelError(self.source, "its trial run ended with a result that makes no sense.") from None

    def _description(self, folder: Path) -> dict[str, Any]:
        return {
            "model_file": str(self.model.path),
            "engine": self.engine,
            "signature": self.model.signature.to_dict(),
            "seed": self.seed,
            "sample": None if self.sample is None else write_tensors(folder, "sample", self.sample),
        }

    def _outcome(self, result: Mapping[str, Any], folder: Path) -> TrialOutcome:
        dependence = result["dependence"]
        return TrialOutcome(
            trial=Trial(float(result["load_s"]), float(result["run_s"]), int(result["peak_memory_bytes"])),
            golden=tuple(self._case(case, folder) for case in result["cases"]),
            refusal=str(result["refusal"]),
            compared=bool(result["compared"]),
            dependence=None if dependence is None else str(dependence),
        )

    def _case(self, case: Mapping[str, Any], folder: Path) -> GoldenCase:
        signature = self.model.signature
        return GoldenCase(
            name=str(case["name"]),
            source=self.sample_name if case["name"] == "sample" else str(case["source"]),
            inputs=read_tensors(folder, case["inputs"], signature.inputs),
            outputs=read_tensors(folder, case["outputs"], signature.outputs),
        )
