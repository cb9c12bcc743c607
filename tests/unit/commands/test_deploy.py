"""`nimify deploy`: what a dry run says."""

from __future__ import annotations

import pytest

from nimify.commands.deploy import _forecast_lines
from nimify.findings import Finding, Severity
from nimify.targets.target import Forecast

BLOCKED = Finding("kubernetes.helm", Severity.ERROR, "There is no helm command on this machine.", "Install Helm 4.")
NOTED = Finding("bundle.edited-files", Severity.WARNING, "Files were edited.")


@pytest.mark.parametrize(
    ("forecast", "says"),
    [
        (Forecast(), True),
        (Forecast((NOTED,)), True),
        (Forecast((BLOCKED,)), False),
        (Forecast((), ("set port to 1",)), False),
    ],
    ids=["nothing", "noted", "blocked", "changed"],
)
def test_nothing_would_change_only_where_that_is_known(forecast: Forecast, says: bool) -> None:
    """What stands in the way may have kept the changes from being known."""
    assert ("  Nothing would change." in _forecast_lines(forecast, 100)) is says
