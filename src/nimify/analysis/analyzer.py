"""`ModelAnalyzer`: from a path to an `Analysis`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nimify.analysis.analysis import Analysis, BatchAxis, GoldenCase
from nimify.analysis.batch_axis import declared_batch_axis
from nimify.analysis.sampling import load_sample
from nimify.analysis.trial_job import TrialJob, TrialOutcome
from nimify.config import GoldenConfig
from nimify.errors import shortened
from nimify.findings import Finding, Severity
from nimify.formats.detect import detect
from nimify.formats.format import ModelInfo
from nimify.formats.model_file import source_name
from nimify.tensors import Signature, TensorSpec, bf16_to_fp32


class ModelAnalyzer:
    """Reads a model file, and tries it in a guarded child process.

    Example:
        >>> analysis = ModelAnalyzer().analyze("model.onnx")  # doctest: +SKIP
        >>> analysis.batch_axis.reason  # doctest: +SKIP
        'Every input and output has a free first dimension, and rows gave the same alone and merged.'

    Args:
        trial: Whether to load and run the model; without it only its file is read.
        golden: Seed, or the user's own inputs, for the requests that are recorded. A relative `sample` is looked up
            from the working directory.
        engine: Name of the engine for the trial, an entry point of `nimify.engines`.
    """

    def __init__(self, *, trial: bool = True, golden: GoldenConfig | None = None, engine: str = "onnxruntime") -> None:
        self._trial = trial
        self._golden = golden or GoldenConfig()
        self._engine = engine

    def analyze(self, path: Path | str, *, progress: Callable[[int], None] | None = None) -> Analysis:
        """Analyse a model file.

        Args:
            path: The model file.
            progress: Told how many further bytes of the model were hashed.

        Raises:
            ModelError: The file is damaged, unsafe or not supported, or the engine cannot load it.
            ConfigError: The user's own inputs do not fit the model.
            PluginError: There is no such engine, or two formats claim the file.
        """
        path = Path(path)
        model = detect(path).read(path, progress=progress)
        declared = declared_batch_axis(model.signature)
        if not self._trial:
            return Analysis(model, declared, findings=model.findings)
        outcome = self._job(model, path).run()
        return Analysis(
            model=model,
            batch_axis=_measured(declared, outcome),
            golden=outcome.golden,
            trial=outcome.trial,
            findings=(*model.findings, *_findings(model.signature, outcome)),
        )

    def _job(self, model: ModelInfo, path: Path) -> TrialJob:
        sample = self._golden.sample
        return TrialJob(
            model=model,
            source=source_name(path),
            engine=self._engine,
            seed=self._golden.seed,
            sample=None if sample is None else load_sample(Path(sample), model.signature),
            sample_name="" if sample is None else Path(sample).name,
        )


def _measured(declared: BatchAxis, outcome: TrialOutcome) -> BatchAxis:
    if not declared.supported:
        return declared
    if not outcome.compared:
        return BatchAxis(False, "No inputs were found with which the rows of a batch could be compared.", "measured")
    if outcome.dependence is not None:
        return BatchAxis(False, outcome.dependence, "measured")
    return BatchAxis(
        True,
        "Every input and output has a free first dimension, and rows gave the same alone and merged.",
        "measured",
    )


def _findings(signature: Signature, outcome: TrialOutcome) -> list[Finding]:
    if not outcome.golden:
        return [
            Finding(
                "trial.no-inputs",
                Severity.WARNING,
                f"The model loads, but refuses every input that was drawn from its signature ({outcome.refusal}).",
                "Give inputs that it takes with --sample FILE.npz or FILE.json.",
            )
        ]
    return [finding for spec in signature.outputs for finding in _output_findings(spec, outcome.golden)]


def _output_findings(spec: TensorSpec, golden: tuple[GoldenCase, ...]) -> Iterator[Finding]:
    answers = [case.outputs[spec.name] for case in golden]
    wrong = next((answer.shape for answer in answers if not _fits(answer.shape, spec)), None)
    if wrong is not None:
        yield Finding(
            "trial.output-shape",
            Severity.WARNING,
            f"Output '{shortened(spec.name)}' is declared as {spec.protocol_shape} and came out as {list(wrong)}.",
            "Export the model again with the right output shape; clients rely on what it declares.",
        )
    if any(not _is_finite(answer, spec) for answer in answers):
        yield Finding(
            "trial.not-finite",
            Severity.WARNING,
            f"Output '{shortened(spec.name)}' holds NaN or infinite values for the recorded inputs.",
            "Give realistic inputs with --sample FILE.npz or FILE.json.",
        )


def _fits(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    return len(shape) == len(spec.shape) and all(
        not isinstance(dim, int) or dim == length for dim, length in zip(spec.shape, shape, strict=True)
    )


def _is_finite(values: np.ndarray[Any, Any], spec: TensorSpec) -> bool:
    if not spec.datatype.is_float:
        return True
    return bool(np.isfinite(bf16_to_fp32(values) if spec.datatype.name == "BF16" else values).all())
