"""Rules, their scenarios, runbooks and the dashboard: complete, and about the service that was planned."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from nimify.artifacts.artifact import Artifact
from nimify.artifacts.monitoring.burn_rates import BURN_RATES, reachable
from nimify.artifacts.monitoring.dashboard import dashboard
from nimify.artifacts.monitoring.panels import rows
from nimify.artifacts.monitoring.promql import bucket, duration, quoted
from nimify.artifacts.monitoring.rules import alerts, rules
from nimify.artifacts.monitoring.runbook import runbook_artifacts
from nimify.artifacts.monitoring.scenarios import scenarios
from nimify.artifacts.monitoring.watched import WatchedService
from nimify.metrics.catalog import CATALOG

Prepare = Callable[..., Any]
SERVICE = WatchedService("digits", "sha256:" + "ab" * 32, 0.999, 0.25, 0.99, 32, 512 << 20)
_TARGETS = {"up", "ALERTS"}
"""What Prometheus itself knows."""


def files(prepare: Prepare, **config: Any) -> dict[str, bytes]:
    return {item.path: item.content for item in prepare("tiny", **config).items() if isinstance(item, Artifact)}


def test_every_alert_has_a_scenario_of_each_outcome() -> None:
    """For each name there is one in which it fires and one in which it stays silent."""
    outcomes = {(scenario.alert, bool(scenario.firing)) for scenario in scenarios(SERVICE)}
    assert outcomes == set(itertools.product({alert.name for alert in alerts(SERVICE)}, (True, False)))


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    """The page carries the alert's name as its title, and links in it lead to other pages."""
    pages = {artifact.path.rpartition("/")[2]: artifact.content.decode() for artifact in runbook_artifacts()}
    assert {alert.runbook: alert.name for alert in alerts(SERVICE)} == {
        name: page.splitlines()[0].removeprefix("# ") for name, page in pages.items()
    }
    for page in pages.values():
        assert set(re.findall(r"\]\(([^)]+)\)", page)) <= set(pages)


def test_alerts_link_to_where_the_runbooks_are(prepare: Prepare) -> None:
    """To the folder in the bundle until somebody says where it can be read."""
    for asked, start in (({}, "monitoring/runbooks/"), ({"runbooks_url": "https://wiki.example.com/r/"}, "https://")):
        groups = yaml.safe_load(files(prepare, objectives=asked)["monitoring/rules.yaml"])["groups"]
        urls = [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule]
        assert urls
        assert all(url.startswith(start) and "//" not in url.removeprefix("https://") for url in urls)


def test_every_alert_says_how_bad_it_is_and_whose_it_is() -> None:
    """Severity and service are labels of each rule."""
    for alert in alerts(SERVICE):
        labels = alert.rule(SERVICE)["labels"]
        assert labels["severity"] in {"critical", "warning"}
        assert labels["service"] == "digits"


def test_rules_and_panels_name_only_metrics_that_exist() -> None:
    """Whatever they ask for is in the catalog, recorded by a rule, or known to come from elsewhere."""
    made = rules(SERVICE)
    recorded = {rule["record"] for group in made["groups"] for rule in group["rules"] if "record" in rule}
    exported = {
        f"{metric.name}{suffix}"
        for metric in CATALOG
        for suffix in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
    }
    asked = [rule["expr"] for group in made["groups"] for rule in group["rules"]]
    asked += [
        query.expr for row in rows(SERVICE) if not row.collapsed for panel in row.panels for query in panel.queries
    ]
    named = set().union(*(re.findall(r"([A-Za-z_:][A-Za-z0-9_:]*)\{", expr) for expr in asked))
    assert named <= recorded | exported | _TARGETS


def test_a_budget_that_cannot_be_spent_so_fast_has_no_rule_for_it() -> None:
    """Nothing fails 14.4 times as often as one time in ten."""
    assert [rate.factor for rate in reachable(0.1)] == [6.0, 3.0, 1.0]
    assert reachable(0.001) == BURN_RATES


def test_without_a_limit_on_what_is_seen_there_is_no_alert_on_memory() -> None:
    """Triton's memory is not in the figures of the front."""
    names = {alert.name for alert in alerts(replace(SERVICE, memory_limit_bytes=None))}
    assert names == {alert.name for alert in alerts(SERVICE)} - {"NimMemoryNearLimit"}


def test_a_trial_watches_everything_faster_and_names_nothing_else() -> None:
    """Only durations differ, each by the same factor."""
    usual, fast = rules(SERVICE), rules(replace(SERVICE, speed=60.0))
    assert [group["interval"] for group in fast["groups"]] == ["500ms"] * 4
    for ours, theirs in zip(usual["groups"], fast["groups"], strict=True):
        for rule, other in zip(ours["rules"], theirs["rules"], strict=True):
            assert rule.get("record") == other.get("record")
            assert re.sub(r"\[\w+\]", "", rule["expr"]) == re.sub(r"\[\w+\]", "", other["expr"])


@pytest.mark.parametrize(
    ("seconds", "text"), [(86400, "1d"), (5400, "90m"), (300, "5m"), (90, "90s"), (0.25, "250ms"), (0, "1ms")]
)
def test_durations_are_in_the_largest_whole_unit(seconds: float, text: str) -> None:
    """As people write them."""
    assert duration(seconds) == text


def test_strings_are_quoted_as_prometheus_reads_them() -> None:
    """Quotes, backslashes and line ends are escaped, as is what cannot be seen."""
    assert quoted('a"b\\c\nd') == r'"a\"b\\c\nd"'
    assert quoted("\x00\u2028\U000e0001\udce9") == r'"\u0000\u2028\U000e0001\ufffd"'


def test_whole_bounds_match_both_ways_in_which_prometheus_writes_them() -> None:
    """Version 3 makes `1.0` of `1`."""
    assert re.fullmatch(json.loads(bucket(1.0).removeprefix("le=~")), "1")
    assert re.fullmatch(json.loads(bucket(1.0).removeprefix("le=~")), "1.0")
    assert bucket(0.25) == 'le="0.25"'


def test_the_chart_has_copies_of_the_same_files(prepare: Prepare) -> None:
    """Written once, read by a plain Prometheus and through the chart."""
    made = files(prepare)
    assert made["chart/files/rules.yaml"] == made["monitoring/rules.yaml"]
    assert made["chart/files/dashboard.json"] == made["monitoring/dashboard.json"]


def test_objectives_of_the_plan_are_those_of_the_rules(prepare: Prepare) -> None:
    """What is asked for stands in the thresholds."""
    asked = {"availability": 0.95, "latency_s": 0.25, "latency_share": 0.9}
    text = files(prepare, objectives=asked)["monitoring/rules.yaml"].decode()
    assert '> 0.72 and job:nim_request_errors:ratio_rate5m{job="model"} > 0.72' in text
    assert 'le="0.25"' in text


def test_panels_have_places_and_numbers_of_their_own() -> None:
    """No two panels of an open dashboard overlap."""
    board = dashboard(SERVICE)
    panels = [member for panel in board["panels"] for member in (panel, *panel.get("panels", ()))]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_a_dashboard_keeps_its_address() -> None:
    """By the name of the service, within what Grafana allows."""
    uids = {dashboard(replace(SERVICE, name=name))["uid"] for name in ("digits", "d" * 53, "other")}
    assert len(uids) == 3
    assert all(re.fullmatch(r"[a-z0-9-]{1,40}", uid) for uid in uids)
    assert dashboard(SERVICE)["uid"] == dashboard(replace(SERVICE, availability=0.9))["uid"]


def test_every_query_is_about_the_chosen_service() -> None:
    """Each selector holds to the variables, so that nothing of other services is added up."""
    for row in rows(SERVICE):
        for panel in row.panels:
            for query in panel.queries:
                selectors = re.findall(r"\{([^{}]*)\}", query.expr)
                assert selectors
                assert all("$service" in selector for selector in selectors), query.expr
