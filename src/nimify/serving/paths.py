"""Where orchestrators and Prometheus ask, in NIM's words; nothing is imported for it."""

from __future__ import annotations

from typing import Final

LIVE_PATH: Final = "/v1/health/live"
READY_PATH: Final = "/v1/health/ready"
METRICS_PATH: Final = "/v1/metrics"
