"""GPUs and the cloud instances that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from nimify.analysis.tables.source import Row, read_rows, version_key

GPUS_FILE: Final = "gpus.json"
INSTANCES_FILE: Final = "instances.json"
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One kind of GPU.

    Attributes:
        name: Short name, e.g. `L4`.
        architecture: e.g. `Ada`.
        compute_capability: e.g. `8.9`.
        memory_gb: As marketed.
        usable_mib: What to plan with, in MiB.
        bandwidth_gb_s: Peak memory bandwidth in 1e9 bytes a second.
        tdp_w: Power limit.
        tflops: Dense peak throughput by type (`fp32`, `tf32`, `fp16`, `bf16`, `fp8`, `fp4`, and `int8_tops`); `None`
            where the hardware lacks the type, or the figure is not known.
        mig_max: Into how many parts it can be split; 0 for none.
        form: How it is built in.
        nvml_names: What the driver calls it.
        gke_accelerator: Label of Google's Kubernetes; empty where unknown.
        host: Architecture of the CPU beside it, `amd64` or `arm64`.
        trust: How far the figures can be relied on: `high` or `medium`.
        note: What else to know; may be empty.
        source: Where the figures are from.
    """

    name: str
    architecture: str
    compute_capability: str
    memory_gb: float
    usable_mib: int
    bandwidth_gb_s: float
    tdp_w: int
    tflops: Mapping[str, float | None]
    mig_max: int
    form: str
    nvml_names: tuple[str, ...]
    gke_accelerator: str
    host: str
    trust: str
    note: str
    source: str

    @property
    def usable_bytes(self) -> int:
        """What to plan with, in bytes."""
        return self.usable_mib * _MIB

    def supports(self, compute_capability: str) -> bool:
        """Whether its compute capability is at least the one given."""
        return version_key(self.compute_capability) >= version_key(compute_capability)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"tflops": dict(self.tflops), "nvml_names": list(self.nvml_names)}


@dataclass(frozen=True, slots=True)
class Instance:
    """One kind of cloud instance.

    Attributes:
        cloud: `aws`, `gcp` or `azure`.
        type: The cloud's name for it.
        gpu: Name of its GPU, as in `Gpu.name`.
        gpu_count: How many; less than 1 for a part of one.
        gpu_mib: Memory of one GPU as the cloud gives it; `None` where it says nothing.
        vcpu: Virtual CPUs.
        memory_gib: Main memory.
        host: `amd64` or `arm64`.
        usd_hour: On-demand list price; `None` where unknown. Prices age.
        region: Where that price holds.
        note: What else to know; may be empty.
        trust: `source` when the row was read, `recalled` when in part it was not.
        source: Where it is from.
    """

    cloud: str
    type: str
    gpu: str
    gpu_count: float
    gpu_mib: int | None
    vcpu: int
    memory_gib: float
    host: str
    usd_hour: float | None
    region: str
    note: str
    trust: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def load_gpus() -> tuple[Gpu, ...]:
    """Every GPU of the table, in its order.

    Raises:
        ConfigError: The user's own table is not usable.
    """
    return read_rows(GPUS_FILE, "gpus", _gpu)


def load_instances() -> tuple[Instance, ...]:
    """Every cloud instance of the table, in its order.

    Raises:
        ConfigError: The user's own table is not usable.
    """
    return read_rows(INSTANCES_FILE, "instances", _instance)


def _gpu(row: Row) -> Gpu:
    version_key(row["compute_capability"])
    return Gpu(
        name=str(row["name"]),
        architecture=str(row["architecture"]),
        compute_capability=str(row["compute_capability"]),
        memory_gb=float(row["memory_gb"]),
        usable_mib=int(row["usable_mib"]),
        bandwidth_gb_s=float(row["bandwidth_gb_s"]),
        tdp_w=int(row["tdp_w"]),
        tflops={str(kind): _optional_number(value) for kind, value in row["tflops"].items()},
        mig_max=int(row["mig_max"]),
        form=str(row["form"]),
        nvml_names=tuple(map(str, row["nvml_names"])),
        gke_accelerator=str(row["gke_accelerator"]),
        host=str(row["host"]),
        trust=str(row["trust"]),
        note=str(row["note"]),
        source=str(row["source"]),
    )


def _instance(row: Row) -> Instance:
    gpu_mib = row["gpu_mib"]
    return Instance(
        cloud=str(row["cloud"]),
        type=str(row["type"]),
        gpu=str(row["gpu"]),
        gpu_count=float(row["gpu_count"]),
        gpu_mib=None if gpu_mib is None else int(gpu_mib),
        vcpu=int(row["vcpu"]),
        memory_gib=float(row["memory_gib"]),
        host=str(row["host"]),
        usd_hour=_optional_number(row["usd_hour"]),
        region=str(row["region"]),
        note=str(row["note"]),
        trust=str(row["trust"]),
        source=str(row["source"]),
    )


def _optional_number(value: Any) -> float | None:
    return None if value is None else float(value)
