"""GPUs of the catalogue as devices of the roofline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nimify.analysis.roofline import Device
from nimify.analysis.tables.hardware import Gpu

BANDWIDTH_SHARE: Final = 0.8
"""What large transfers reach of the peak."""
LAUNCH_S: Final = 5e-6
"""To start one kernel."""

_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    # Libraries compute matrix products of FP32 tensors in TF32 where there is such a unit.
    "FLOAT": ("tf32", "fp32"),
    "FLOAT16": ("fp16",),
    "BFLOAT16": ("bf16",),
    "FLOAT8E4M3FN": ("fp8",),
    "FLOAT4E2M1": ("fp4",),
    "INT8": ("int8_tops",),
}


def gpu_device(gpu: Gpu) -> Device:
    """What a GPU can do, by the peaks that its maker states."""
    peaks = {
        element_type: value * 1e12
        for element_type, columns in _COLUMNS.items()
        if (value := next((gpu.tflops[column] for column in columns if gpu.tflops.get(column)), None))
    }
    fallback = max(peaks.values(), default=1e12)
    return Device(gpu.name, {"FLOAT": fallback, **peaks}, gpu.bandwidth_gb_s * 1e9 * BANDWIDTH_SHARE, LAUNCH_S)
