"""Every metric that the service exports: its name, type, labels, unit and meaning, in one table.

Names, units and label names of `nv_*` follow Triton, so that dashboards and autoscalers made for it work unchanged
(source: Triton's docs/user_guide/metrics.md). Triton has no latency histogram for ordinary models and its summaries
cannot be aggregated over replicas; the `nim_*` histograms can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DURATION_BUCKETS_S: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Seconds; from the cheapest model to the longest default deadline."""
BATCH_BUCKETS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Rows in one run of the engine."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family.

    Attributes:
        name: As exported.
        kind: `counter`, `gauge` or `histogram`.
        help: One sentence with the unit.
        labels: Label names, in order.
        buckets: Upper bounds of a histogram; +Inf is added.
        per_worker: How a gauge of several workers becomes one number: `sum`, or `max`.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    per_worker: str = "sum"


_MODEL = ("model", "version")


def _counter(name: str, text: str, labels: tuple[str, ...] = _MODEL) -> Metric:
    return Metric(name, "counter", text, labels)


def _gauge(name: str, text: str, labels: tuple[str, ...] = _MODEL, per_worker: str = "sum") -> Metric:
    return Metric(name, "gauge", text, labels, per_worker=per_worker)


REQUEST_SUCCESS: Final = _counter("nv_inference_request_success", "Requests that were answered with a result.")
REQUEST_FAILURE: Final = _counter(
    "nv_inference_request_failure",
    "Requests that failed: REJECTED by a full queue or a deadline, CANCELED by the client, "
    "BACKEND when the engine refused the values, OTHER when the request itself was wrong.",
    (*_MODEL, "reason"),
)
FAILURE_REASONS: Final = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
REQUEST_ERRORS: Final = _counter(
    "nim_request_errors_total",
    "Requests that the service owed an answer and did not give one: service_unavailable when it was not ready or its "
    "queue was full, deadline_exceeded when time ran out, internal for a fault of its own.",
    (*_MODEL, "type"),
)
ERROR_TYPES: Final = ("service_unavailable", "deadline_exceeded", "internal")
"""The faults that count against an objective; what is the client's doing is not among them."""
INFERENCE_COUNT: Final = _counter("nv_inference_count", "Rows that the engine ran.")
EXECUTION_COUNT: Final = _counter(
    "nv_inference_exec_count", "Runs of the engine; rows divided by runs is the mean batch."
)
REQUEST_DURATION: Final = _counter(
    "nv_inference_request_duration_us", "Microseconds from receipt to answer, summed over successful requests."
)
QUEUE_DURATION: Final = _counter(
    "nv_inference_queue_duration_us", "Microseconds of waiting for the engine, summed over requests that ran."
)
COMPUTE_INPUT_DURATION: Final = _counter(
    "nv_inference_compute_input_duration_us", "Microseconds of merging inputs, summed over requests that ran."
)
COMPUTE_INFER_DURATION: Final = _counter(
    "nv_inference_compute_infer_duration_us", "Microseconds inside the engine, summed over requests that ran."
)
COMPUTE_OUTPUT_DURATION: Final = _counter(
    "nv_inference_compute_output_duration_us", "Microseconds of parting outputs, summed over requests that ran."
)
CACHE_HITS: Final = _counter("nv_cache_num_hits_per_model", "Requests that were answered from the response cache.")
CACHE_MISSES: Final = _counter(
    "nv_cache_num_misses_per_model", "Requests that the response cache had no answer to; 0 while it is off."
)
CACHE_HIT_DURATION: Final = _counter(
    "nv_cache_hit_duration_per_model", "Microseconds of finding answers in the response cache, summed over hits."
)
CACHE_MISS_DURATION: Final = _counter(
    "nv_cache_miss_duration_per_model",
    "Microseconds of not finding answers in the response cache and of keeping them, summed over misses.",
)
CACHE_EVICTIONS: Final = _counter(
    "nim_response_cache_evictions_total", "Answers that left the response cache to make room for others."
)
CACHE_ENTRIES: Final = _gauge("nim_response_cache_entries", "Answers in the response cache.")
CACHE_USED: Final = _gauge("nim_response_cache_bytes", "Bytes that the answers in the response cache take.")
CACHE_LIMIT: Final = _gauge(
    "nim_response_cache_limit_bytes", "Bytes that the answers in the response cache may take; 0 while it is off."
)
PENDING: Final = _gauge("nv_inference_pending_request_count", "Requests that wait for the engine.")
QUEUE_LIMIT: Final = _gauge("nim_queue_limit", "Requests that may wait for the engine; a further one is rejected.")
LAST_RUN: Final = _gauge(
    "nim_last_run_timestamp_seconds",
    "Unix seconds of the last run of the engine; 0 before one.",
    per_worker="max",
)
LOAD_DURATION: Final = _gauge(
    "nv_model_load_duration_secs", "Seconds that the model took to load and warm up.", per_worker="max"
)
DURATION: Final = Metric(
    "nim_request_duration_seconds",
    "histogram",
    "Seconds from receipt to answer, of successful requests.",
    _MODEL,
    DURATION_BUCKETS_S,
)
QUEUE_SECONDS: Final = Metric(
    "nim_queue_duration_seconds", "histogram", "Seconds of waiting for the engine.", _MODEL, DURATION_BUCKETS_S
)
BATCH_SIZE: Final = Metric("nim_batch_size", "histogram", "Rows in one run of the engine.", _MODEL, BATCH_BUCKETS)
HTTP_RESPONSES: Final = _counter("nim_http_responses_total", "HTTP responses by status code.", ("code",))
HTTP_CONNECTIONS: Final = _gauge("nim_http_connections", "Open HTTP connections.", ())
HTTP_CONNECTIONS_LIMIT: Final = _gauge(
    "nim_http_connections_limit", "HTTP connections that may be open; a further one is turned away.", ()
)
HTTP_IN_FLIGHT: Final = _gauge("nim_http_requests_in_flight", "HTTP requests that are being answered.", ())
GRPC_CALLS: Final = _counter(
    "nim_grpc_calls_total", "gRPC calls that ended, by method and status code.", ("method", "code")
)
GRPC_DURATION: Final = Metric(
    "nim_grpc_call_duration_seconds",
    "histogram",
    "Seconds from the headers of a gRPC call to its answer, of successful calls.",
    ("method",),
    DURATION_BUCKETS_S,
)
GRPC_CONNECTIONS: Final = _gauge("nim_grpc_connections", "Open gRPC connections.", ())
GRPC_IN_FLIGHT: Final = _gauge("nim_grpc_calls_in_flight", "gRPC calls that are being answered.", ())
GRPC_CALMED: Final = _counter(
    "nim_grpc_connections_calmed_total", "gRPC connections that were ended because their client flooded them.", ()
)
WORKERS: Final = _gauge("nim_workers", "Worker processes that run.", ())
WORKER_RESTARTS: Final = _counter("nim_worker_restarts_total", "Worker processes that died and were replaced.", ())
READY: Final = _gauge("nim_ready", "1 when the service is ready, 0 when it is not.", (), "max")
BUILD_INFO: Final = _gauge(
    "nim_build_info", "1, with the versions that run as labels.", ("version", "engine", "model", "model_digest"), "max"
)
PROCESS_CPU: Final = _counter("process_cpu_seconds_total", "CPU seconds of all workers, user and system.", ())
PROCESS_MEMORY: Final = _gauge("process_resident_memory_bytes", "Resident memory of all workers, in bytes.", ())
PROCESS_START: Final = _gauge("process_start_time_seconds", "Start of the service, in Unix seconds.", (), "max")
PROCESS_FDS: Final = _gauge("process_open_fds", "Open file descriptors of all workers.", ())
COLLECTOR_UP: Final = _gauge(
    "nim_collector_up",
    "1 when what the collector measured last still counts, 0 when it fails or hangs.",
    ("collector",),
)
"""Of services that have collectors of their owner's; not in the catalog, which is what every service exports."""

CATALOG: Final = (
    REQUEST_SUCCESS,
    REQUEST_FAILURE,
    REQUEST_ERRORS,
    INFERENCE_COUNT,
    EXECUTION_COUNT,
    REQUEST_DURATION,
    QUEUE_DURATION,
    COMPUTE_INPUT_DURATION,
    COMPUTE_INFER_DURATION,
    COMPUTE_OUTPUT_DURATION,
    CACHE_HITS,
    CACHE_MISSES,
    CACHE_HIT_DURATION,
    CACHE_MISS_DURATION,
    CACHE_EVICTIONS,
    CACHE_ENTRIES,
    CACHE_USED,
    CACHE_LIMIT,
    PENDING,
    QUEUE_LIMIT,
    LAST_RUN,
    LOAD_DURATION,
    DURATION,
    QUEUE_SECONDS,
    BATCH_SIZE,
    HTTP_RESPONSES,
    HTTP_CONNECTIONS,
    HTTP_CONNECTIONS_LIMIT,
    HTTP_IN_FLIGHT,
    GRPC_CALLS,
    GRPC_DURATION,
    GRPC_CONNECTIONS,
    GRPC_IN_FLIGHT,
    GRPC_CALMED,
    WORKERS,
    WORKER_RESTARTS,
    READY,
    BUILD_INFO,
    PROCESS_CPU,
    PROCESS_MEMORY,
    PROCESS_START,
    PROCESS_FDS,
)
