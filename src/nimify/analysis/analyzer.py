"""`ModelAnalyzer`: from a path to an `Analysis`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nimify.analysis.analysis import Analysis, BatchAxis, GoldenCase
from nimify.analysis.assembly import Question, complete
from nimify.analysis.batch_axis import declared_batch_axis
from nimify.analysis.binding import axis_name, free_axis_names
from nimify.analysis.measure import SweepJob
from nimify.analysis.rows import usual_rows
from nimify.analysis.sampling import load_sample
from nimify.analysis.trial_job import TrialJob, TrialOutcome
from nimify.config import GoldenConfig
from nimify.errors import ConfigError, ModelError, one_line, shortened
from nimify.findings import Finding, Severity
from nimify.formats.detect import detect
from nimify.formats.format import ModelInfo
from nimify.formats.model_file import source_name
from nimify.tensors import Signature, TensorSpec, bf16_to_fp32


@dataclass(frozen=True, slots=True)
class AnalysisOptions:
    """How deep an analysis goes.

    Attributes:
        trial: Whether to load and run the model; without it only its file is read.
        digest: Whether to read the weights: the whole file for its digest, and, when `thorough`, those that look alike.
        measure: Whether to measure the model on this machine over growing batches.
        threads: Threads inside the engine while it is measured; 0 for as many as this process may use.
        rows: Estimate for that many rows in one run; left out, for as many as are usually worth merging.
        lengths: Lengths of free axes, by name.
        gpu: Name of a GPU to estimate for; empty for the smallest that fits.
        thorough: Whether to find out what no plan needs: how fast this machine (which is measured briefly) and the GPU
            are, and which weights are stored twice.
        ask_tensorrt: Whether to ask TensorRT itself, where it is at hand.
    """

    trial: bool = True
    digest: bool = True
    measure: bool = False
    threads: int = 0
    rows: int | None = None
    lengths: Mapping[str, int] = field(default_factory=dict)
    gpu: str = ""
    thorough: bool = False
    ask_tensorrt: bool = False


class ModelAnalyzer:
    """Reads a model file, tries it in a guarded child process, and estimates what it takes.

    Example:
        >>> analysis = ModelAnalyzer().analyze("model.onnx")  # doctest: +SKIP
        >>> analysis.batch_axis.reason  # doctest: +SKIP
        'Every input and output has a free first dimension, and rows gave the same alone and merged.'

    Args:
        options: How deep to go.
        golden: Seed, or the user's own inputs, for the requests that are recorded. A relative `sample` is looked up
            from the working directory.
        engine: Name of the engine for the trial, an entry point of `nimify.engines`.
    """

    def __init__(
        self,
        options: AnalysisOptions | None = None,
        *,
        golden: GoldenConfig | None = None,
        engine: str = "onnxruntime",
    ) -> None:
        self._options = options or AnalysisOptions()
        self._golden = golden or GoldenConfig()
        self._engine = engine

    def analyze(self, path: Path | str, *, progress: Callable[[int], None] | None = None) -> Analysis:
        """Analyse a model file.

        Args:
            path: The model file.
            progress: Told how many further bytes of the model were hashed.

        Raises:
            ModelError: The file is damaged, unsafe or not supported, or the engine cannot load it.
            ConfigError: The user's own inputs do not fit the model, or an option names what does not exist.
            PluginError: There is no such engine, or two formats claim the file.
        """
        path = Path(path)
        model = detect(path).read(path, digest=self._options.digest, progress=progress)
        _refuse_unknown_axes(self._options.lengths, model.signature)
        analysis = self._tried(model, path) if self._options.trial else _untried(model)
        question = self._question(analysis)
        completed = complete(analysis, path, question)
        return self._with_measurement(completed) if self._options.measure else completed

    def _with_measurement(self, analysis: Analysis) -> Analysis:
        """The analysis with what is measured on this machine; with a finding when that fails."""
        if not analysis.golden:
            return _unmeasured(analysis, "no inputs are known that the model takes.")
        inputs = analysis.golden[0].inputs
        job = SweepJob(
            model=analysis.model,
            source=analysis.model.name,
            engine=self._engine,
            inputs=inputs,
            largest=analysis.rows if analysis.batch_axis.supported else 0,
            lengths={} if self._golden.sample is not None else _bound_shapes(analysis),
            threads=self._options.threads,
        )
        try:
            return replace(analysis, measured=job.run())
        except ModelError as error:
            return _unmeasured(analysis, error.cause)

    def _tried(self, model: ModelInfo, path: Path) -> Analysis:
        outcome = self._job(model, path).run()
        return Analysis(
            model=model,
            batch_axis=_measured(declared_batch_axis(model.signature), outcome),
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

    def _question(self, analysis: Analysis) -> Question:
        options = self._options
        rows = options.rows or usual_rows(analysis.model.signature.inputs)[0]
        own = analysis.golden[0].inputs if self._golden.sample is not None and analysis.golden else {}
        return Question(
            rows=rows if analysis.batch_axis.supported else 1,
            lengths=options.lengths,
            ran_with={name: array.shape for name, array in own.items()},
            gpu=options.gpu,
            thorough=options.thorough,
            weights=options.thorough and options.digest,
            ask_tensorrt=options.ask_tensorrt,
        )


def _refuse_unknown_axes(lengths: Mapping[str, int], signature: Signature) -> None:
    known = free_axis_names(signature)
    for name in lengths:
        if name not in known:
            raise ConfigError(
                f"The model has no free axis named '{shortened(name)}'.",
                remedy=f"Free axes: {shortened(one_line(', '.join(known)), 300)}."
                if known
                else "Every input has a fixed shape, so no axis can be given a length.",
            )


def _untried(model: ModelInfo) -> Analysis:
    return Analysis(model, declared_batch_axis(model.signature), findings=model.findings)


def _unmeasured(analysis: Analysis, cause: str) -> Analysis:
    finding = Finding(
        "measure.failed",
        Severity.WARNING,
        f"The model could not be measured: {cause}",
        "The plan rests on estimates; give inputs with --sample, or a smaller --batch.",
    )
    return replace(analysis, surroundings=(*analysis.surroundings, finding))


def _bound_shapes(analysis: Analysis) -> dict[str, tuple[int, ...]]:
    """The shapes of the inputs at the lengths for which everything else was estimated."""
    if analysis.structure is None:
        return {}
    binding = analysis.structure.binding
    return {
        spec.name: tuple(
            dim if isinstance(dim, int) else binding.get(axis_name(spec.name, axis, dim), 1)
            for axis, dim in enumerate(spec.shape)
        )
        for spec in analysis.model.signature.inputs
    }


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
