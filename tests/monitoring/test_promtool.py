"""The files as Prometheus' own promtool reads them, for services of every kind."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nimify.artifacts.monitoring.panels import rows
from nimify.artifacts.monitoring.promql import equals
from nimify.artifacts.monitoring.rules import rules
from nimify.artifacts.monitoring.rules_test import rules_test
from nimify.artifacts.monitoring.scraping import prometheus_config
from nimify.artifacts.monitoring.watched import WatchedService
from nimify.artifacts.yaml_file import yaml_artifact

pytestmark = pytest.mark.monitoring
Promtool = Callable[..., subprocess.CompletedProcess[str]]

USUAL = WatchedService("digits", "sha256:" + "ab" * 32, 0.999, 0.1, 0.99, 32, 512 << 20)
SERVICES = {
    "usual": USUAL,
    "lenient": replace(USUAL, availability=0.9, latency_s=30.0, latency_share=0.5, max_batch_size=0),
    "strict": replace(USUAL, availability=0.99999, latency_s=0.0005, latency_share=0.9999, max_batch_size=65536),
    "triton": replace(USUAL, memory_limit_bytes=None, latency_s=1.0),
    "fast": replace(USUAL, speed=60.0, name="0o17"),
}
HOSTILE = [
    'a"} or vector(1) or up{job="',
    "back\\slash",
    "line\nend",
    "{{ $labels.job }}",
    "a\x00b\x7f",
    "\u202emodel\u2028",
    "ключ 🔑",
    "'$(id)`id`'",
]


def written(folder: Path, service: WatchedService) -> Path:
    (folder / "rules.yaml").write_bytes(yaml_artifact("rules.yaml", rules(service)).content)
    (folder / "rules.test.yaml").write_bytes(yaml_artifact("rules.test.yaml", rules_test(service)).content)
    config = prometheus_config(service, ["127.0.0.1:8000"], triton=["127.0.0.1:8002"])
    (folder / "prometheus.yaml").write_bytes(yaml_artifact("prometheus.yaml", config).content)
    return folder


@pytest.mark.parametrize("kind", SERVICES)
def test_prometheus_takes_rules_and_configuration(kind: str, promtool: Promtool, tmp_path: Path) -> None:
    """Whatever the objectives, sizes and names are."""
    folder = written(tmp_path, SERVICES[kind])
    for arguments in (("check", "rules", "rules.yaml"), ("check", "config", "prometheus.yaml")):
        done = promtool(folder, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["usual", "lenient", "strict"])
def test_the_rules_pass_their_own_tests(kind: str, promtool: Promtool, tmp_path: Path) -> None:
    """Each alert fires, with every label and word, and stays silent close by."""
    done = promtool(written(tmp_path, SERVICES[kind]), "test", "rules", "rules.test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("expr", ["vector(1)", "vector(1) > 2"])
def test_the_tests_of_the_rules_notice_rules_that_are_wrong(expr: str, promtool: Promtool, tmp_path: Path) -> None:
    """Alerts that always fire, and alerts that never do, each fail for every one of them."""
    folder = written(tmp_path, USUAL)
    wrong: dict[str, Any] = rules(USUAL)
    names = set()
    for group in wrong["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                rule["expr"] = expr
                names.add(rule["alert"])
    (folder / "rules.yaml").write_bytes(yaml_artifact("rules.yaml", wrong).content)
    done = promtool(folder, "test", "rules", "rules.test.yaml")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    verdict = "stays silent" if expr == "vector(1)" else "fires"
    assert all(f"name: {name} {verdict}" in said for name in names), said[:4000]


def test_every_query_of_the_dashboard_is_promql(promtool: Promtool, tmp_path: Path) -> None:
    """The program parses each one, once Grafana has put its variables in."""
    queries = [query.expr for row in rows(USUAL) for panel in row.panels for query in panel.queries]
    records = [
        {"record": f"panel:{number}", "expr": expr.replace("$__rate_interval", "1m")}
        for number, expr in enumerate(queries)
    ]
    data = {"groups": [{"name": "dashboard", "rules": records}]}
    (tmp_path / "queries.yaml").write_bytes(yaml_artifact("queries.yaml", data).content)
    done = promtool(tmp_path, "check", "rules", "queries.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries)} rules found" in done.stdout


@pytest.mark.parametrize("value", HOSTILE)
def test_a_label_value_selects_itself_and_nothing_else(value: str, promtool: Promtool, tmp_path: Path) -> None:
    """Prometheus reads back the very value that was quoted: it finds that series, and no other."""
    matcher = equals("job", value)
    test = {
        "tests": [
            {
                "input_series": [
                    {"series": f"up{{{matcher}}}", "values": "7"},
                    {"series": 'up{job="other"}', "values": "1"},
                ],
                "promql_expr_test": [
                    {
                        "expr": f"up{{{matcher}}}",
                        "eval_time": "0m",
                        "exp_samples": [{"labels": f"up{{{matcher}}}", "value": 7}],
                    },
                    {"expr": "count(up)", "eval_time": "0m", "exp_samples": [{"labels": "{}", "value": 2}]},
                ],
            }
        ]
    }
    (tmp_path / "test.yaml").write_bytes(yaml_artifact("test.yaml", test).content)
    done = promtool(tmp_path, "test", "rules", "test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
