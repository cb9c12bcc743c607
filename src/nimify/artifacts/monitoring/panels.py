"""What the dashboard shows: rows of panels, from how users fare down to what the machine does.

Quantiles come from histograms that are added up over replicas first: the only way in which they may be aggregated.
"""

from __future__ import annotations

from nimify.artifacts.monitoring.burn_rates import WINDOWS_S
from nimify.artifacts.monitoring.gpu_panels import gpu_row, triton_row
from nimify.artifacts.monitoring.objectives import error_budget, slow_budget
from nimify.artifacts.monitoring.panel import RECENT, REPLICAS, SERVICE, Panel, Query, Row
from nimify.artifacts.monitoring.promql import duration, number
from nimify.artifacts.monitoring.recording import ERRORS, SLOW, ratio
from nimify.artifacts.monitoring.watched import WatchedService


def rows(service: WatchedService) -> tuple[Row, ...]:
    """Every row of the dashboard."""
    return (
        _overview(service),
        _requests(),
        _latency(service),
        _budgets(service),
        _queue(),
        _saturation(),
        gpu_row(),
        triton_row(),
        _about(),
    )


def _rate(metric: str, by: str = "") -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{{REPLICAS}}}[{RECENT}]))"


def _quantile(quantile: float, metric: str) -> str:
    return f"histogram_quantile({number(quantile)}, {_rate(f'{metric}_bucket', 'le')})"


def _quantiles(metric: str) -> tuple[Query, ...]:
    return tuple(Query(_quantile(share, metric), f"p{share * 100:.0f}") for share in (0.5, 0.95, 0.99))


def _overview(service: WatchedService) -> Row:
    answered = f"1 - {ratio(ERRORS, WINDOWS_S[-1])}{{{SERVICE}}}"
    return Row(
        "Overview",
        (
            Panel(
                "Replicas ready",
                "Replicas that can answer.",
                (Query(f"sum(nim_ready{{{SERVICE}}})"),),
                kind="stat",
                width=4,
            ),
            Panel(
                "Requests",
                "Answered with a result.",
                (Query(_rate("nv_inference_request_success")),),
                "reqps",
                "stat",
                5,
            ),
            Panel(
                "p99",
                "99 of 100 answers were quicker.",
                (Query(_quantile(0.99, "nim_request_duration_seconds")),),
                "s",
                "stat",
                5,
            ),
            Panel(
                "Answered, 3 days",
                "Share of requests that were answered.",
                (Query(answered),),
                "percentunit",
                "stat",
                5,
            ),
            Panel(
                "Alerts",
                "Alerts of this service that fire now.",
                (Query('count(ALERTS{alertstate="firing", service="$service"}) or vector(0)'),),
                kind="stat",
                width=5,
                limit=1,
            ),
        ),
        height=4,
    )


def _requests() -> Row:
    return Row(
        "Requests",
        (
            Panel(
                "Requests by outcome",
                "REJECTED by a full queue or a deadline, CANCELED by the client, BACKEND when the engine refused the "
                "values or failed, OTHER when the request was wrong.",
                (
                    Query(_rate("nv_inference_request_success"), "answered"),
                    Query(_rate("nv_inference_request_failure", "reason"), "{{reason}}"),
                ),
                "reqps",
            ),
            Panel(
                "Errors by type",
                "Requests that the service owed an answer: these spend the error budget.",
                (Query(_rate("nim_request_errors_total", "type"), "{{type}}"),),
                "reqps",
            ),
            Panel(
                "HTTP responses by code",
                "Probes and scrapes are among them.",
                (Query(_rate("nim_http_responses_total", "code") + " > 0", "{{code}}"),),
                "reqps",
            ),
        ),
    )


def _latency(service: WatchedService) -> Row:
    stages = ("queue", "compute_input", "compute_infer", "compute_output")
    return Row(
        "Latency",
        (
            Panel(
                "Latency",
                "From receipt to answer, over all replicas; the line is the objective.",
                _quantiles("nim_request_duration_seconds"),
                "s",
                limit=service.latency_s,
            ),
            Panel(
                "Answers by latency",
                "How many answers took how long.",
                (
                    Query(
                        f"sum by (le) (increase(nim_request_duration_seconds_bucket{{{REPLICAS}}}[{RECENT}]))", "{{le}}"
                    ),
                ),
                "s",
                "heatmap",
            ),
            Panel(
                "Mean time by stage",
                "Where a request spends its time.",
                tuple(
                    Query(
                        f"{_rate(f'nv_inference_{stage}_duration_us')} / ({_rate('nv_inference_request_success')} > 0)",
                        stage,
                    )
                    for stage in stages
                ),
                "µs",
            ),
        ),
    )


def _budgets(service: WatchedService) -> Row:
    def burning(name: str, budget: float) -> tuple[Query, ...]:
        return tuple(
            Query(f"{ratio(name, window)}{{{SERVICE}}} / {number(budget)}", duration(window)) for window in WINDOWS_S
        )

    return Row(
        "Objectives",
        (
            Panel(
                "Error budget: how many times too fast it is spent",
                f"{number(service.availability * 100)}% of requests are to be answered. At 1 the budget lasts 30 days.",
                burning(ERRORS, error_budget(service)),
                width=12,
                limit=1,
            ),
            Panel(
                "Latency budget: how many times too fast it is spent",
                f"{number(service.latency_share * 100)}% of answers are to be there within "
                f"{number(service.latency_s)} s. At 1 the budget lasts 30 days.",
                burning(SLOW, slow_budget(service)),
                width=12,
                limit=1,
            ),
        ),
    )


def _queue() -> Row:
    mean = f"{_rate('nv_inference_count')} / ({_rate('nv_inference_exec_count')} > 0)"
    return Row(
        "Queue and batches",
        (
            Panel(
                "Waiting requests",
                "By replica.",
                (Query(f"sum by (instance) (nv_inference_pending_request_count{{{REPLICAS}}})", "{{instance}}"),),
            ),
            Panel("Time in the queue", "Waiting for the engine.", _quantiles("nim_queue_duration_seconds"), "s"),
            Panel(
                "Rows in one run",
                "Near the planned batch size the engine is fully used.",
                (Query(mean, "mean"), Query(_quantile(0.95, "nim_batch_size"), "p95")),
            ),
        ),
    )


def _saturation() -> Row:
    def used(value: str, limit: str) -> str:
        return f"max({value}{{{REPLICAS}}} / ({limit}{{{REPLICAS}}} > 0))"

    return Row(
        "Saturation",
        (
            Panel(
                "Limits, fullest replica",
                "At 100 % clients are turned away.",
                (
                    Query(used("nv_inference_pending_request_count", "nim_queue_limit"), "queue"),
                    Query(used("nim_http_connections", "nim_http_connections_limit"), "connections"),
                ),
                "percentunit",
                limit=1,
            ),
            Panel(
                "In flight",
                "HTTP requests that are being answered, and open connections.",
                (
                    Query(f"sum(nim_http_requests_in_flight{{{REPLICAS}}})", "requests"),
                    Query(f"sum(nim_http_connections{{{REPLICAS}}})", "connections"),
                ),
            ),
            Panel(
                "CPU",
                "CPUs in use by replica.",
                (Query(_rate("process_cpu_seconds_total", "instance"), "{{instance}}"),),
            ),
            Panel(
                "Memory",
                "Resident, by replica.",
                (Query(f"sum by (instance) (process_resident_memory_bytes{{{REPLICAS}}})", "{{instance}}"),),
                "bytes",
            ),
            Panel(
                "Open files",
                "Sockets are among them.",
                (Query(f"sum by (instance) (process_open_fds{{{REPLICAS}}})", "{{instance}}"),),
            ),
            Panel(
                "Workers",
                "Processes that run, and restarts within an hour.",
                (
                    Query(f"sum(nim_workers{{{REPLICAS}}})", "workers"),
                    Query(f"sum(increase(nim_worker_restarts_total{{{REPLICAS}}}[1h]))", "restarts"),
                ),
            ),
        ),
    )


def _about() -> Row:
    return Row(
        "Build and model",
        (
            Panel(
                "What runs",
                "Versions and the digest of the model, by replica.",
                (Query(f"max by (instance, version, engine, model, model_digest) (nim_build_info{{{REPLICAS}}})"),),
                kind="table",
                width=16,
            ),
            Panel(
                "Time to load",
                "Loading and warming up the model.",
                (Query(f"max by (instance) (nv_model_load_duration_secs{{{REPLICAS}}})", "{{instance}}"),),
                "s",
            ),
        ),
    )
