"""The smallest GPU and the cheapest cloud instances that hold a model, and why each smaller one does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nimify.analysis.tables.hardware import Gpu, Instance

_MIB: Final = 1 << 20
_TYPE_GATES: Final = (
    # Element types by the compute capability that first computes in them (NVIDIA's CUDA programming guide).
    ("BF16", frozenset({"BFLOAT16"}), "8.0"),
    ("FP8", frozenset({"FLOAT8E4M3FN", "FLOAT8E5M2"}), "8.9"),
    ("FP4", frozenset({"FLOAT4E2M1"}), "10.0"),
)
_WEAK_INT8_TOPS: Final = 200.0
"""A GPU of this class with fewer INT8 operations than FP16 ones is no place for an INT8 engine."""
_PRICE_NOTE: Final = "Prices are on-demand list prices of one region at the table's date; they age."


@dataclass(frozen=True, slots=True)
class GpuNeed:
    """What a model asks of a GPU.

    Attributes:
        memory_bytes: What it holds at the planned batch, engine included.
        headroom: Share of the GPU's memory that stays free, for fragmentation and other processes.
        element_types: Types that it computes in, by the names of `TensorProto.DataType`.
        host: Architecture of the image, `amd64` or `arm64`.
        min_compute_capability: What the serving image needs.
        host_memory_bytes: Main memory that the service needs.
    """

    memory_bytes: int
    headroom: float = 0.1
    element_types: frozenset[str] = frozenset({"FLOAT"})
    host: str = "amd64"
    min_compute_capability: str = "7.5"
    host_memory_bytes: int = 0

    @property
    def gpu_bytes(self) -> int:
        """Memory that a GPU must have, headroom included."""
        return -(-self.memory_bytes * 1000 // max(1, round(1000 * (1 - self.headroom))))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A GPU that was passed over.

    Attributes:
        gpu: Its name.
        reason: Why, in one sentence.
    """

    gpu: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"gpu": self.gpu, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class GpuChoice:
    """Where a model fits.

    Attributes:
        need: What was asked for.
        gpu: The smallest that holds it; `None` when none does.
        fitting: Every GPU that holds it, smallest first.
        instances: Cloud instances with whole GPUs that hold it, cheapest first; those without a known price last.
        refused: Every other GPU, with the reason.
        notes: What else to know.
    """

    need: GpuNeed
    gpu: Gpu | None
    fitting: tuple[Gpu, ...]
    instances: tuple[Instance, ...]
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Why this GPU, or none, in one sentence."""
        needed = f"the {_gib(self.need.memory_bytes)} that the model needs there"
        if self.gpu is None:
            return f"No GPU of the catalogue holds {needed} and computes in its types."
        spare = f"with {self.need.headroom:.0%} of its memory to spare"
        return f"{self.gpu.name} is the smallest that holds {needed}, {spare}."

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "reason": self.reason,
            "required_bytes": self.need.memory_bytes,
            "required_bytes_with_headroom": self.need.gpu_bytes,
            "headroom": self.need.headroom,
            "gpu": None if self.gpu is None else self.gpu.to_dict(),
            "fitting": [gpu.name for gpu in self.fitting],
            "instances": [instance.to_dict() for instance in self.instances],
            "refused": [refusal.to_dict() for refusal in self.refused],
            "notes": list(self.notes),
        }


def choose_gpu(
    need: GpuNeed, *, gpus: Sequence[Gpu], instances: Sequence[Instance], offers_per_cloud: int = 3
) -> GpuChoice:
    """Choose the smallest GPU and the cheapest instances that hold a model.

    The smallest is the one with the least memory; of equals, the one that can be had at the lowest known price.

    Args:
        need: What the model asks for.
        gpus: The GPUs to choose from.
        instances: The instances to choose from.
        offers_per_cloud: How many instances to keep of each cloud.
    """
    ordered = sorted(gpus, key=lambda gpu: (gpu.usable_mib, _lowest_price(gpu, instances), gpu.name))
    reasons = [(gpu, refusal(gpu, need)) for gpu in ordered]
    fitting = tuple(gpu for gpu, reason in reasons if reason is None)
    usable = {gpu.name: gpu for gpu in ordered if _capability_reason(gpu, need) is None}
    offers = _cheapest_first(need, usable, instances)
    whole = [offer for offer in offers if offer.gpu_count >= 1]
    parts = [offer for offer in offers if offer.gpu_count < 1]
    return GpuChoice(
        need=need,
        gpu=next(iter(fitting), None),
        fitting=fitting,
        instances=tuple(_some_of_each(whole, offers_per_cloud)),
        refused=tuple(Refusal(gpu.name, reason) for gpu, reason in reasons if reason is not None),
        notes=(*_notes(need, fitting), *_part_notes(parts)),
    )


def refusal(gpu: Gpu, need: GpuNeed) -> str | None:
    """Why a GPU does not do; `None` when it does."""
    if gpu.usable_bytes < need.gpu_bytes:
        return (
            f"It has {_gib(gpu.usable_bytes)} to plan with, and {_gib(need.gpu_bytes)} are needed "
            f"({need.headroom:.0%} of them headroom)."
        )
    return _capability_reason(gpu, need)


def _capability_reason(gpu: Gpu, need: GpuNeed) -> str | None:
    if not gpu.supports(need.min_compute_capability):
        return (
            f"Its compute capability {gpu.compute_capability} is below {need.min_compute_capability}, Triton's floor."
        )
    for name, types, capability in _TYPE_GATES:
        if types & need.element_types and not gpu.supports(capability):
            return f"{name} needs compute capability {capability}, and it has {gpu.compute_capability}."
    if gpu.host != need.host:
        return f"Its host is {gpu.host}, and the image is built for {need.host}."
    return None


def _cheapest_first(need: GpuNeed, gpus: Mapping[str, Gpu], instances: Sequence[Instance]) -> list[Instance]:
    fitting = [offer for offer in instances if offer.gpu in gpus and _holds(offer, gpus[offer.gpu], need)]
    return sorted(fitting, key=lambda offer: (_price(offer), gpus[offer.gpu].usable_mib, offer.vcpu, offer.type))


def _some_of_each(offers: Sequence[Instance], per_cloud: int) -> Iterator[Instance]:
    """The first few of each cloud."""
    taken: Counter[str] = Counter()
    for offer in offers:
        taken[offer.cloud] += 1
        if taken[offer.cloud] <= per_cloud:
            yield offer


def _part_notes(parts: Sequence[Instance]) -> Iterator[str]:
    """Clouds also lend parts of a GPU; they take other drivers, so they are named and not chosen."""
    if parts and parts[0].usd_hour is not None:
        yield (
            f"A part of a GPU would do, e.g. {parts[0].cloud} {parts[0].type} ({parts[0].gpu_count:g} of an "
            f"{parts[0].gpu}) at ${parts[0].usd_hour:.2f} an hour; it may need NVIDIA's driver for virtual GPUs."
        )


def _holds(offer: Instance, gpu: Gpu, need: GpuNeed) -> bool:
    """Whether one of its GPUs, or the part of one that it gives, holds the model."""
    return (
        offer.host == need.host
        and instance_gpu_mib(offer, gpu) * _MIB >= need.gpu_bytes
        and offer.memory_gib * (1 << 30) >= need.host_memory_bytes
    )


def instance_gpu_mib(offer: Instance, gpu: Gpu) -> int:
    """Memory of one GPU in an instance: what the cloud says, and never more than the GPU has."""
    own = int(gpu.usable_mib * min(offer.gpu_count, 1.0))
    return own if offer.gpu_mib is None else min(offer.gpu_mib, own)


def _notes(need: GpuNeed, fitting: Collection[Gpu]) -> Iterator[str]:
    if not fitting:
        yield "No GPU of the table holds the model: split it, or store its weights in fewer bits."
    yield _PRICE_NOTE
    if "INT8" in need.element_types:
        weak = [
            gpu.name for gpu in fitting if (gpu.tflops.get("int8_tops") or 0) < _WEAK_INT8_TOPS and gpu.supports("10.3")
        ]
        if weak:
            yield f"{', '.join(weak)}: INT8 is slow there; FP8 is the better choice."


def _lowest_price(gpu: Gpu, instances: Sequence[Instance]) -> float:
    return min((_price(offer) for offer in instances if offer.gpu == gpu.name and offer.gpu_count >= 1), default=_NEVER)


def _price(offer: Instance) -> float:
    return _NEVER if offer.usd_hour is None else offer.usd_hour


_NEVER: Final = float("inf")


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 100 << 20 else f"{size / (1 << 20):.0f} MiB"
