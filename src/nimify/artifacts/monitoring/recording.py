"""Recording rules: what alerts and dashboards ask again and again, computed once.

Names follow Prometheus' own advice, `level:metric:operation`. A window in a name is the one of operation, also where
a trial watches faster.
"""

from __future__ import annotations

from typing import Any, Final

from nimify.artifacts.monitoring.burn_rates import MINUTE_S, WINDOWS_S
from nimify.artifacts.monitoring.promql import BY_SERVICE, bucket, duration, number
from nimify.artifacts.monitoring.watched import WatchedService

REQUESTS: Final = "job:nim_requests:rate5m"
ERRORS: Final = "job:nim_request_errors:ratio_rate"
SLOW: Final = "job:nim_slow_requests:ratio_rate"
QUANTILES: Final = "job:nim_request_duration_seconds:histogram_quantile"
QUEUE: Final = "job:nv_inference_pending_request_count:sum"
SHOWN_QUANTILES: Final = (0.5, 0.95, 0.99)
SHORTEST_S: Final = 5 * MINUTE_S
"""The window of rates that are shown rather than judged."""


def recording_rules(service: WatchedService) -> list[dict[str, Any]]:
    """The rules, in the order in which they build on each other."""
    job, recent = service.job, service.time(SHORTEST_S)
    return [
        {"record": REQUESTS, "expr": _requests(job, recent)},
        {"record": QUEUE, "expr": f"sum {BY_SERVICE} (nv_inference_pending_request_count{{{job}}})"},
        *(
            {
                "record": QUANTILES,
                "expr": f"histogram_quantile({number(quantile)}, sum by (namespace, job, le) "
                f"(rate(nim_request_duration_seconds_bucket{{{job}}}[{recent}])))",
                "labels": {"quantile": number(quantile)},
            }
            for quantile in SHOWN_QUANTILES
        ),
        *({"record": ratio(ERRORS, window), "expr": _errors(job, service.time(window))} for window in WINDOWS_S),
        *({"record": ratio(SLOW, window), "expr": _slow(service, service.time(window))} for window in WINDOWS_S),
    ]


def ratio(name: str, window_s: float) -> str:
    """The name of a ratio that is recorded over a window."""
    return f"{name}{duration(window_s)}"


def _rate(metric: str, matchers: str, window: str) -> str:
    return f"sum {BY_SERVICE} (rate({metric}{{{matchers}}}[{window}]))"


def _requests(job: str, window: str) -> str:
    """Requests that the service owed an answer: what clients did wrong or gave up is not among them."""
    return f"{_rate('nv_inference_request_success', job, window)} + {_rate('nim_request_errors_total', job, window)}"


def _errors(job: str, window: str) -> str:
    # Without a request there is nothing to judge: no sample, rather than 0/0.
    return f"{_rate('nim_request_errors_total', job, window)} / (({_requests(job, window)}) > 0)"


def _slow(service: WatchedService, window: str) -> str:
    in_time = _rate("nim_request_duration_seconds_bucket", f"{service.job}, {bucket(service.latency_s)}", window)
    answered = _rate("nim_request_duration_seconds_count", service.job, window)
    return f"1 - {in_time} / ({answered} > 0)"
