"""The smallest GPU, the cheapest instances, and why the others were passed over."""

from __future__ import annotations

from typing import Any

import pytest

from nimify.analysis.gpu_choice import GpuChoice, GpuNeed, choose_gpu, instance_gpu_mib
from nimify.analysis.tables.hardware import Gpu, Instance, load_gpus, load_instances

GIB = 1 << 30


def choose(memory_gib: float, **need: Any) -> GpuChoice:
    return choose_gpu(GpuNeed(int(memory_gib * GIB), **need), gpus=load_gpus(), instances=load_instances())


def gpu(name: str) -> Gpu:
    return next(gpu for gpu in load_gpus() if gpu.name == name)


def instance(kind: str) -> Instance:
    return next(instance for instance in load_instances() if instance.type == kind)


def reason(choice: GpuChoice, name: str) -> str:
    return next(refusal.reason for refusal in choice.refused if refusal.gpu == name)


@pytest.mark.parametrize(
    ("memory_gib", "expected"),
    [
        (0.5, "T4"),
        (13.4, "T4"),
        (13.6, "L4"),
        (20, "L4"),
        (21, "A30"),
        (30, "A100-40GB"),
        (65, "H100-SXM"),
        (300, None),
    ],
)
def test_the_smallest_that_holds_it_is_chosen(memory_gib: float, expected: str | None) -> None:
    """Of equals in memory (L4, A10, A10G) the one that can be had for less."""
    choice = choose(memory_gib)

    assert (choice.gpu.name if choice.gpu else None) == expected
    assert len(choice.fitting) + len(choice.refused) == len(load_gpus())


def test_a_smaller_one_is_refused_with_figures() -> None:
    """What it has, what is needed, and how much of that is headroom."""
    choice = choose(13.6)

    assert reason(choice, "T4") == "It has 15.0 GiB to plan with, and 15.1 GiB are needed (10% of them headroom)."


def test_the_choice_has_a_reason() -> None:
    """One sentence for the plan."""
    assert choose(20).reason == (
        "L4 is the smallest that holds the 20.0 GiB that the model needs there, with 10% of its memory to spare."
    )
    assert choose(300).reason.startswith("No GPU of the catalogue")


def test_headroom_decides() -> None:
    """13.4 GiB fill a T4 to nine tenths; with more headroom they do not fit."""
    assert choose(13.4).gpu == gpu("T4")
    assert choose(13.4, headroom=0.3).gpu == gpu("L4")


@pytest.mark.parametrize(
    ("kind", "expected", "refused"),
    [
        ("FLOAT", "T4", ()),
        ("FLOAT16", "T4", ()),
        ("BFLOAT16", "L4", ("T4",)),
        ("FLOAT8E4M3FN", "L4", ("T4", "A10", "A30", "A100-80GB")),
        ("FLOAT4E2M1", "RTX-PRO-6000-SE", ("L4", "H100-SXM", "H200")),
    ],
)
def test_types_need_a_compute_capability(kind: str, expected: str, refused: tuple[str, ...]) -> None:
    """BF16 came with Ampere, FP8 with Ada, FP4 with Blackwell."""
    choice = choose(1, element_types=frozenset({kind}))

    assert choice.gpu is not None
    assert choice.gpu.name == expected
    assert all("needs compute capability" in reason(choice, name) for name in refused)


def test_the_image_has_a_floor() -> None:
    """A newer Triton may leave GPUs behind."""
    assert "Triton's floor" in reason(choose(1, min_compute_capability="8.0"), "T4")


def test_arm_hosts_need_an_arm_image() -> None:
    """GB200 and GB300 sit beside Grace CPUs."""
    assert "arm64" in reason(choose(1), "GB200")
    assert choose(1, host="arm64").gpu == gpu("GB200")


def test_the_cheapest_instances_come_first() -> None:
    """At most three of each cloud, those without a price last, each with a GPU that does."""
    choice = choose(20)
    prices = [instance.usd_hour for instance in choice.instances]
    known = [price for price in prices if price is not None]

    assert known == sorted(known)
    assert prices[: len(known)] == known
    assert choice.instances[0].type == "g2-standard-4"
    assert all(sum(offer.cloud == cloud for offer in choice.instances) == 3 for cloud in ("aws", "gcp", "azure"))
    assert {offer.gpu for offer in choice.instances} <= {gpu.name for gpu in choice.fitting}


def test_a_part_of_a_gpu_is_named_and_not_chosen() -> None:
    """An eighth of an L4 holds 2.8 GiB, and needs another driver."""
    small = choose(2)

    assert any("aws g6f.large (0.125 of an L4) at $0.20 an hour" in note for note in small.notes)
    assert all(offer.gpu_count >= 1 for offer in small.instances)
    assert not any("g6f.large" in note for note in choose(3).notes)


def test_the_service_needs_main_memory_too() -> None:
    """An instance with 16 GiB is passed over by a service that needs 20."""
    offers = choose(20, host_memory_bytes=20 * GIB).instances

    assert offers
    assert all(offer.memory_gib >= 20 for offer in offers)


def test_an_instance_never_has_more_than_its_gpu() -> None:
    """Clouds give nominal sizes; a T4 has less to plan with. Where they say nothing, the GPU counts."""
    assert instance_gpu_mib(instance("g4dn.xlarge"), gpu("T4")) == 15360
    assert instance_gpu_mib(instance("g2-standard-4"), gpu("L4")) == 22888
    assert instance_gpu_mib(instance("g4-standard-6"), gpu("RTX-PRO-6000-SE")) == 97887 // 8


def test_int8_is_warned_of_where_it_is_slow() -> None:
    """Blackwell Ultra gave up its INT8 units."""
    notes = choose(150, element_types=frozenset({"INT8"})).notes

    assert any("B300" in note and "INT8 is slow" in note for note in notes)
    assert not any("INT8" in note for note in choose(150).notes)


def test_a_model_that_fits_nowhere_says_what_to_do() -> None:
    """Every GPU is refused, and the notes help."""
    choice = choose(300)

    assert choice.instances == ()
    assert any("split it" in note for note in choice.notes)


def test_the_choice_is_plain_data() -> None:
    """With what was asked for, so that it can be checked."""
    data = choose(9).to_dict()

    assert (data["required_bytes"], data["required_bytes_with_headroom"]) == (9 * GIB, 10 * GIB)
    assert data["gpu"]["name"] == "T4"
    assert data["instances"][0]["usd_hour"] == 0.526
