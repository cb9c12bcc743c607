"""The section of nimify.yaml that says how good the service is to be; alerts and dashboards follow from it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nimify.config.section import Section

# What goes into links of alerts. Braces and quotes are left out: Prometheus expands annotations as templates.
_URL = r"^https?://[A-Za-z0-9._~:/?#@!&()*+,;=%-]+$"


class ObjectivesConfig(Section):
    """What the service promises over 30 days; left out, it is decided."""

    availability: Annotated[float, Field(ge=0.9, le=0.99999)] | None = None
    """Share of requests that get an answer unless the client is to blame, e.g. 0.999."""
    latency_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds in which an answer is to be there; one of the bounds that the service counts by, e.g. 0.25."""
    latency_share: Annotated[float, Field(ge=0.5, le=0.9999)] | None = None
    """Share of answers that are to be there in that time, e.g. 0.99."""
    runbooks_url: Annotated[str, Field(pattern=_URL, max_length=2000)] | None = None
    """Where the folder `monitoring/runbooks` of this bundle can be read; the alerts link to its pages."""
