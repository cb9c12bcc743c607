"""The GPU of the Triton runtime, and whether TensorRT executes the model there."""

from __future__ import annotations

import re
from typing import Any, Final

from nimify.analysis.analysis import Analysis
from nimify.analysis.tables.hardware import load_gpus
from nimify.analysis.tensorrt import TensorRTReport
from nimify.config import ResourcesConfig, TensorRTConfig
from nimify.errors import ConfigError
from nimify.planning.plan import Basis, Decision
from nimify.quantities import human_bytes, human_count, human_share

LEAST_FLOPS: Final = 1e8
"""For one item: below this, a run is assumed to take longer to start than to compute, so that TensorRT gains nothing.

Not measured: by their data sheet a T4 does as many FP32 operations in 12 microseconds, and starting one kernel takes
about five."""
NO_GPU: Final = "none"

_PROFILE_NAME: Final = re.compile(r"[^:,\s]+")
"""Input names that can be told to ONNX Runtime's TensorRT options."""


def decide_gpu(analysis: Analysis, asked: ResourcesConfig) -> Decision:
    """`resources.gpu`: the GPU for the Triton runtime by its name in the catalogue, or `none`.

    Raises:
        ConfigError: A GPU was asked for that the catalogue does not know.
    """
    key = "resources.gpu"
    if asked.gpu is not None:
        return Decision(key, known_gpu(asked.gpu), "You asked for it.", Basis.ASKED)
    choice = analysis.gpus
    if choice is None:
        return Decision(key, NO_GPU, "What the model takes on a GPU could not be estimated.", Basis.DEFAULT)
    needed = human_bytes(choice.need.memory_bytes)
    if choice.gpu is None:
        reason = f"No GPU of the catalogue holds the {needed} that the model needs at a batch of {analysis.rows}."
        return Decision(key, NO_GPU, reason, Basis.ESTIMATED)
    spare = human_share(choice.need.headroom)
    reason = (
        f"For the Triton runtime only; the embedded engine needs none. It is the smallest that holds the {needed} "
        f"that the model needs at most at a batch of {analysis.rows}, with {spare} to spare."
    )
    return Decision(key, choice.gpu.name, reason, Basis.ESTIMATED)


def known_gpu(name: str) -> str:
    """The name of a GPU as the catalogue writes it; `none` as it is.

    Raises:
        ConfigError: The catalogue does not know it.
    """
    if name.lower() == NO_GPU:
        return NO_GPU
    names = {gpu.name.lower(): gpu.name for gpu in load_gpus()}
    if name.lower() not in names:
        raise ConfigError(
            f"'{name}' is not in the catalogue.", field="resources.gpu", remedy=f"Known: {', '.join(names.values())}."
        )
    return names[name.lower()]


def decide_tensorrt(analysis: Analysis, asked: TensorRTConfig, max_batch_size: int) -> list[Decision]:
    """`tensorrt.enabled` and `tensorrt.profiles`: smallest, usual and largest shape of each input.

    Raises:
        ConfigError: TensorRT was asked for, and it runs nothing of this model.
    """
    report = analysis.tensorrt
    enabled = _enabled(analysis, report, asked)
    return [enabled, _profiles(report, max_batch_size, enabled=enabled.value)]


def _enabled(analysis: Analysis, report: TensorRTReport | None, asked: TensorRTConfig) -> Decision:
    key = "tensorrt.enabled"
    if asked.enabled and report is not None and report.verdict == "none":
        blocker = f" {report.blockers[0].reason} {report.blockers[0].remedy}" if report.blockers else ""
        raise ConfigError(
            f"TensorRT {report.version} runs nothing of this model.{blocker}",
            field=key,
            remedy="Leave the setting out.",
        )
    if asked.enabled is not None:
        return Decision(key, asked.enabled, "You asked for it.", Basis.ASKED)
    enabled, reason = _verdict(analysis, report)
    return Decision(key, enabled, reason, Basis.DEFAULT if report is None else Basis.ESTIMATED)


def _verdict(analysis: Analysis, report: TensorRTReport | None) -> tuple[bool, str]:
    if report is None:
        return False, "Off: what TensorRT supports of the model could not be told."
    if report.verdict == "none":
        return False, f"Off: TensorRT {report.version} runs nothing of this model."
    if report.verdict == "partial":
        share = "part" if report.flops_share is None else human_share(report.flops_share)
        return False, (
            f"Off: TensorRT {report.version} runs only {share} of the arithmetic, and each change to ONNX Runtime "
            f"costs time; {report.blockers[0].reason}"
        )
    if any(not _PROFILE_NAME.fullmatch(profile.input) for profile in report.profiles):
        return False, "Off: the name of an input cannot be written into TensorRT's options."
    flops = analysis.flops_per_item
    if flops is None or flops < LEAST_FLOPS:
        amount = "an unknown number of" if flops is None else f"only about {human_count(int(flops))}"
        return False, (
            f"Off: one item takes {amount} floating-point operations, and below {human_count(int(LEAST_FLOPS))} "
            "building an engine at every start is assumed not to pay."
        )
    return True, f"On for the Triton runtime: TensorRT {report.version} runs the whole model."


def _profiles(report: TensorRTReport | None, max_batch_size: int, *, enabled: bool) -> Decision:
    key = "tensorrt.profiles"
    profiles = () if report is None or not enabled else report.profiles
    value: dict[str, Any] = {
        profile.input: {
            kind: _within(shape, max_batch_size)
            for kind, shape in (("min", profile.minimum), ("opt", profile.optimum), ("max", profile.maximum))
        }
        for profile in profiles
    }
    if not enabled:
        return Decision(key, value, "None, as TensorRT is off.", Basis.DEFAULT)
    if not value:
        return Decision(key, value, "None are needed: every shape is fixed.", Basis.DECLARED)
    reason = f"Engines are built for batches of 1 to {max(max_batch_size, 1)}, tuned for the largest."
    return Decision(key, value, reason, Basis.ESTIMATED)


def _within(shape: tuple[int, ...], max_batch_size: int) -> list[int]:
    """A shape with no more rows than are planned; the analysis may have looked at more."""
    return [min(shape[0], max_batch_size), *shape[1:]] if max_batch_size and shape else list(shape)
