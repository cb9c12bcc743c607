"""rules.test.yaml: the scenarios, in the form that `promtool test rules` runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from nimify.artifacts.monitoring.rules import RULES_FILE
from nimify.artifacts.monitoring.scenarios import Firing, Scenario, scenarios
from nimify.artifacts.monitoring.watched import WatchedService

RULES_TEST_FILE: Final = "monitoring/rules.test.yaml"
_VALUE: Final = re.compile(r"\{\{ \$value \| \w+ \}\}")
_LABEL: Final = re.compile(r"\{\{ \$labels\.(\w+) \}\}")


def rules_test(service: WatchedService) -> dict[str, Any]:
    """The tests as plain data."""
    return {
        "rule_files": [RULES_FILE.rpartition("/")[2]],
        "evaluation_interval": "5m",
        "tests": [_test(scenario, service) for scenario in scenarios(service)],
    }


def _test(scenario: Scenario, service: WatchedService) -> dict[str, Any]:
    return {
        "name": f"{scenario.alert} {'fires' if scenario.firing else 'stays silent'}: {scenario.name}",
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in scenario.series.items()],
        "alert_rule_test": [
            {
                "eval_time": scenario.at,
                "alertname": scenario.alert,
                "exp_alerts": [_expected(firing, service) for firing in scenario.firing],
            }
        ],
    }


def _expected(firing: Firing, service: WatchedService) -> dict[str, Any]:
    annotations = firing.alert.annotations(service)
    return {
        "exp_labels": {**firing.labels, **firing.alert.rule_labels(service)},
        "exp_annotations": {name: _expanded(text, firing.labels, firing.shown) for name, text in annotations.items()},
    }


def _expanded(text: str, labels: Mapping[str, str], shown: str) -> str:
    """A text as Prometheus expands it."""
    return _LABEL.sub(lambda match: labels[match[1]], _VALUE.sub(lambda _: shown, text))
