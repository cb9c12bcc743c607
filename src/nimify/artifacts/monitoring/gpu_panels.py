"""What the dashboard shows of GPUs: by NVIDIA's DCGM exporter, and by Triton."""

from __future__ import annotations

from typing import Final

from nimify.artifacts.monitoring.panel import RECENT, Panel, Query, Row

TRITON: Final = 'namespace=~"$namespace", job=~"$service(-triton)?"'
"""Triton's own targets: a job of its own, or another port of the same one as the NIM Operator scrapes it."""


def gpu_row() -> Row:
    """Every GPU of the service's pods, whoever uses it."""

    def dcgm(metric: str) -> Query:
        # With Prometheus' default for targets' own labels, those of the workload get a prefix.
        plain = f'{metric}{{namespace=~"$namespace", pod=~"$service-.*"}}'
        prefixed = f'{metric}{{exported_namespace=~"$namespace", exported_pod=~"$service-.*"}}'
        return Query(f"max by (UUID) ({plain} or {prefixed})", "{{UUID}}")

    return Row(
        "GPU, as the DCGM exporter sees it",
        (
            Panel(
                "Use", "Not there on a MIG slice: see the engine.", (dcgm("DCGM_FI_DEV_GPU_UTIL"),), "percent", width=6
            ),
            Panel("Engine active", "Share of time.", (dcgm("DCGM_FI_PROF_GR_ENGINE_ACTIVE"),), "percentunit", width=6),
            Panel("Memory", "Frame buffer in use.", (dcgm("DCGM_FI_DEV_FB_USED"),), "mbytes", width=6),
            Panel("Power", "Drawn by the GPU.", (dcgm("DCGM_FI_DEV_POWER_USAGE"),), "watt", width=6),
        ),
        collapsed=True,
    )


def triton_row() -> Row:
    """What Triton counts and sees itself."""

    def rate(metric: str, by: str) -> str:
        return f'sum by ({by}) (rate({metric}{{namespace=~"$namespace", job="$service-triton"}}[{RECENT}]))'

    return Row(
        "Triton's own metrics (port 8002, where Triton is the engine and is scraped)",
        (
            Panel(
                "Requests at Triton",
                "Those that came through the front and those that came to its gRPC port directly.",
                (
                    Query(rate("nv_inference_request_success", "model"), "{{model}} answered"),
                    Query(rate("nv_inference_request_failure", "reason"), "{{reason}}"),
                ),
                "reqps",
            ),
            Panel(
                "GPU use",
                "Share of time.",
                (Query(f"max by (gpu_uuid) (nv_gpu_utilization{{{TRITON}}})", "{{gpu_uuid}}"),),
                "percentunit",
            ),
            Panel(
                "GPU memory",
                "In use.",
                (Query(f"max by (gpu_uuid) (nv_gpu_memory_used_bytes{{{TRITON}}})", "{{gpu_uuid}}"),),
                "bytes",
            ),
        ),
        collapsed=True,
    )
