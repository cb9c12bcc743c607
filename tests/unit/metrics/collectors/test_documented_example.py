"""The page that teaches how to write a collector: its example is taken from the page and run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nimify.config import ModelConfig
from nimify.errors import ConfigError
from nimify.metrics.collectors.cgroup import Cgroup
from nimify.metrics.collectors.loader import load_collector

PAGE = Path(__file__).parents[4] / "docs" / "extending" / "collectors.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of the page, saved as it says."""
    blocks = re.findall(r"^```\w+ title=(\S+)\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    for name, content in blocks:
        (tmp_path / name).write_text(content)
    assert [name for name, _ in blocks] == ["my_metrics.py", "nimify.yaml", "test_my_metrics.py"]
    return tmp_path


def test_the_example_runs_as_it_stands(folder: Path) -> None:
    """The page's own test passes in a fresh interpreter, in the folder where the reader saved the files."""
    result = subprocess.run(
        [sys.executable, "test_my_metrics.py"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_settings_on_the_page_load_it(folder: Path) -> None:
    """The page's nimify.yaml is valid, leads to the page's class and to the built-in one, and sets the interval."""
    first, second = ModelConfig.load(folder / "nimify.yaml").collectors
    assert isinstance(load_collector(first.use, first.options, folder).collector, Cgroup)
    loaded = load_collector(second.use, second.options, folder)
    assert list(loaded.families) == ["orders_waiting", "orders_oldest_age_seconds"]
    assert (first.interval_s, second.interval_s) == (10, 5)


def test_the_example_refuses_what_does_not_fit(folder: Path) -> None:
    """No folder is an error with the option's name."""
    with pytest.raises(ConfigError, match="name at least one folder") as caught:
        load_collector("my_metrics.py:QueueAge", {"folders": []}, folder)
    assert caught.value.field == "QueueAge.folders"


def test_the_page_lists_what_the_built_in_collector_has() -> None:
    """Every metric with its type, and no other."""
    rows = re.findall(r"^\| `(cgroup_\w+)` \| (\w+) \|", PAGE.read_text(), flags=re.MULTILINE)
    assert rows == [(metric.name, metric.kind) for metric in Cgroup().describe()]
