"""What a replica gets: memory, CPUs, GPU and TensorRT, each with its reason, its basis, and its override."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nimify.analysis.analysis import Analysis
from nimify.analysis.measure import Measurement, SweepPoint
from nimify.analysis.outlook import MemoryOutlook
from nimify.analysis.tensorrt import Blocker, TensorRTReport
from nimify.analysis.tensorrt_profiles import Profile
from nimify.artifacts.triton import parse_config, triton_artifact
from nimify.config import ModelConfig
from nimify.errors import ConfigError
from nimify.planning.plan import Basis, Decision, ServicePlan
from nimify.planning.planner import plan

Analyse = Callable[[str], Analysis]

MIB = 1 << 20
GIB = 1 << 30


def _decision(made: ServicePlan, key: str) -> Decision:
    return next(decision for decision in made.decisions if decision.key == key)


def _asking(**sections: Any) -> ModelConfig:
    return ModelConfig.build(sections)


def _heavier(analysis: Analysis, one: int, many: int) -> Analysis:
    """The analysis with other estimates of memory, at batch 1 and at its larger batch."""
    assert analysis.memory is not None
    outlook = MemoryOutlook(
        replace(analysis.memory.one, total_bytes=one), replace(analysis.memory.many, total_bytes=many), analysis.rows
    )
    return replace(analysis, memory=outlook)


def _measured(analysis: Analysis) -> Analysis:
    points = tuple(
        SweepPoint(batch, 10, 0.01, 0.02, rate, 200 * MIB)
        for batch, rate in ((1, 100.0), (2, 190.0), (4, 300.0), (8, 310.0))
    )
    return replace(analysis, measured=Measurement(0.5, 60 * MIB, 200 * MIB, 3, {}, points))


def _report(analysis: Analysis, **changes: Any) -> Analysis:
    profile = Profile("pixels", (1, 64), (32, 64), (32, 64))
    report = TensorRTReport("full", "11.2.1", "table", (), 3, 3, 1.0, (), (profile,))
    assert analysis.compute is not None
    compute = replace(analysis.compute, total_flops=10**9)
    return replace(analysis, tensorrt=replace(report, **changes), compute=compute)


def test_every_resource_is_decided_with_a_reason_and_a_basis(analyse: Analyse) -> None:
    """Nothing is left open, and what is estimated says so."""
    made = plan(analyse("digits"), ModelConfig())

    assert _decision(made, "resources.memory").basis is Basis.ESTIMATED
    assert _decision(made, "resources.memory").value % (64 * MIB) == 0
    assert _decision(made, "resources.memory_limit").value > _decision(made, "resources.memory").value
    assert _decision(made, "resources.cpu").value == 1
    assert _decision(made, "resources.cpu_limit").value is None
    assert _decision(made, "resources.instances").value == 1
    assert _decision(made, "resources.gpu").value != "none"
    assert _decision(made, "tensorrt.enabled").value is False


@pytest.mark.parametrize(
    ("asked", "key", "value"),
    [
        ({"memory": "1Gi"}, "resources.memory", GIB),
        ({"memory_limit": "2Gi"}, "resources.memory_limit", 2 * GIB),
        ({"cpu": 0.5}, "resources.cpu", 0.5),
        ({"cpu": 2, "cpu_limit": 4}, "resources.cpu_limit", 4.0),
        ({"gpu": "l4"}, "resources.gpu", "L4"),
        ({"gpu": "none"}, "resources.gpu", "none"),
        ({"instances": 2}, "resources.instances", 2),
    ],
)
def test_what_was_asked_for_is_taken(asked: dict[str, Any], key: str, value: object, analyse: Analyse) -> None:
    """A setting overrides the decision and becomes its reason."""
    made = _decision(plan(analyse("digits"), _asking(resources=asked)), key)

    assert (made.value, made.basis, made.reason) == (value, Basis.ASKED, "You asked for it.")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"memory": "1Gi", "memory_limit": "512Mi"}, r"resources\.memory_limit: 537 MB are less than the 1\.1 GB"),
        ({"memory_limit": "8Mi"}, r"resources\.memory_limit: .* are less than"),
        ({"cpu": 2, "cpu_limit": 1}, r"resources\.cpu_limit: 1 CPUs are fewer than the 2"),
        ({"gpu": "Voodoo2"}, r"resources\.gpu: 'Voodoo2' is not in the catalogue"),
    ],
)
def test_what_cannot_be_is_an_error(asked: dict[str, Any], words: str, analyse: Analyse) -> None:
    """A wish that contradicts itself or the estimate names its setting."""
    with pytest.raises(ConfigError, match=words):
        plan(analyse("digits"), _asking(resources=asked))


def test_more_instances_need_more_memory(analyse: Analyse) -> None:
    """Each has the model once more."""
    heavy = _heavier(analyse("digits"), GIB, GIB)

    one, two = (
        _decision(plan(heavy, _asking(resources={"instances": count})), "resources.memory").value for count in (1, 2)
    )

    assert two - one >= GIB


def test_a_batch_that_takes_too_much_is_halved(analyse: Analyse) -> None:
    """The estimate lowers the batch, and the reason says what it would have taken."""
    made = plan(_heavier(analyse("digits"), GIB, 5 * GIB), ModelConfig())

    batch = _decision(made, "batching.max_batch_size")
    assert batch.value == 4
    assert batch.basis is Basis.ESTIMATED
    assert "6.2 GB with 32" in batch.reason


def test_a_memory_limit_lowers_the_batch(analyse: Analyse) -> None:
    """What was asked for holds; the plan fits into it."""
    made = plan(_heavier(analyse("digits"), 100 * MIB, 700 * MIB), _asking(resources={"memory_limit": "512Mi"}))

    assert _decision(made, "batching.max_batch_size").value == 8
    assert _decision(made, "resources.memory").value <= 512 * MIB


def test_a_heavy_model_gets_more_cpus_up_to_a_bound(analyse: Analyse) -> None:
    """CPUs follow the arithmetic of one item."""
    analysis = analyse("digits")
    assert analysis.compute is not None
    cpus = [
        _decision(
            plan(replace(analysis, compute=replace(analysis.compute, total_flops=flops)), ModelConfig()),
            "resources.cpu",
        )
        for flops in (10**6, 8 * 10**9, 10**13)
    ]

    assert [decision.value for decision in cpus] == [1, 4, 8]
    assert "more replicas scale better" in cpus[2].reason


def test_without_estimates_there_is_still_a_plan(analyse: Analyse) -> None:
    """A failure of the analysis is no failure of `create`; the plan says that it does not know."""
    blind = replace(analyse("digits"), memory=None, compute=None, gpus=None, tensorrt=None, gpu_memory=None)
    made = plan(blind, ModelConfig())

    assert _decision(made, "resources.memory").value >= 128 * MIB
    for key in ("resources.memory", "resources.cpu", "resources.gpu", "tensorrt.enabled"):
        assert _decision(made, key).basis is Basis.DEFAULT


def test_measured_figures_are_used_and_said_to_be_measured(analyse: Analyse) -> None:
    """With a sweep, batch, memory and CPUs rest on it."""
    made = plan(_measured(analyse("digits")), ModelConfig())

    assert _decision(made, "batching.max_batch_size").value == 4
    assert "300 rows in a second" in _decision(made, "batching.max_batch_size").reason
    assert _decision(made, "resources.cpu").value == 3
    for key in ("batching.max_batch_size", "resources.memory", "resources.cpu"):
        assert _decision(made, key).basis is Basis.MEASURED


def test_nothing_of_the_machine_is_in_a_plan_that_was_not_measured(analyse: Analyse) -> None:
    """Findings about this machine, and how fast it is, stay out of the bundle."""
    analysis = analyse("digits")
    elsewhere = replace(analysis, surroundings=(), rooflines=(), trial=None, versions=None)

    assert plan(elsewhere, ModelConfig()).to_dict() == plan(analysis, ModelConfig()).to_dict()


def test_tensorrt_is_on_for_a_model_that_it_runs_whole(analyse: Analyse) -> None:
    """Then config.pbtxt says so, with shapes up to the planned batch."""
    made = plan(_report(analyse("digits")), _asking(batching={"max_batch_size": 8}))

    config = parse_config(triton_artifact(made).content)
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert _decision(made, "tensorrt.enabled").value is True
    assert accelerator.name == "tensorrt"
    assert accelerator.parameters["trt_profile_min_shapes"] == "pixels:1x64"
    assert accelerator.parameters["trt_profile_max_shapes"] == "pixels:8x64"


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "none"},
        {"verdict": "partial", "blockers": (Blocker("n", "Foo", "No Foo.", "Drop it."),), "flops_share": 0.4},
        {"profiles": (Profile("a:b", (1,), (1,), (1,)),)},
    ],
)
def test_tensorrt_is_off_otherwise_and_says_why(changes: dict[str, Any], analyse: Analyse) -> None:
    """Nothing of it reaches config.pbtxt."""
    made = plan(_report(analyse("digits"), **changes), ModelConfig())

    assert _decision(made, "tensorrt.enabled").value is False
    assert _decision(made, "tensorrt.enabled").reason.startswith("Off: ")
    assert _decision(made, "tensorrt.profiles").value == {}
    accelerators = parse_config(triton_artifact(made).content).optimization.execution_accelerators
    assert "tensorrt" not in {accelerator.name for accelerator in accelerators.gpu_execution_accelerator}


def test_tensorrt_can_be_asked_for_unless_it_runs_nothing(analyse: Analyse) -> None:
    """A wish that cannot be granted names what stands in the way."""
    blocked = _report(analyse("digits"), verdict="none", blockers=(Blocker("n", "Foo", "No Foo.", "Drop it."),))
    asked = _asking(tensorrt={"enabled": True})

    assert _decision(plan(analyse("digits"), asked), "tensorrt.enabled").basis is Basis.ASKED
    with pytest.raises(ConfigError, match=r"tensorrt\.enabled: .*No Foo"):
        plan(blocked, asked)


def test_a_plan_is_the_same_twice(analyse: Analyse) -> None:
    """Two analyses of one file give one text."""
    texts = {json.dumps(plan(analyse("image"), ModelConfig()).to_dict()) for _ in range(2)}

    assert len(texts) == 1
