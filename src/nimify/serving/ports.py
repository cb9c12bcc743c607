"""Where the service listens unless told, as NIMs and Triton do; nothing is imported for it."""

from __future__ import annotations

from typing import Final

HTTP_PORT: Final = 8000
GRPC_PORT: Final = 8001
METRICS_PORT: Final = 8002
"""Of Triton's own metrics."""
HTTP_PORT_VARIABLES: Final = ("NIM_HTTP_API_PORT", "NIM_SERVER_PORT", "PORT")
"""In order of precedence: NIM's, the NIM Operator's, Cloud Run's."""
