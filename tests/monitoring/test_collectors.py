"""What collectors add to the page, as Prometheus' own promtool reads it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from nimify.metrics.collectors.board import Board
from nimify.metrics.collectors.collector import Metric, Sample
from nimify.metrics.collectors.loader import checked
from nimify.metrics.collectors.page import CollectedPage
from nimify.testing.collectors import FixedCollector

pytestmark = pytest.mark.monitoring
HOSTILE: Final = ['a"} 1', "back\\slash", "line\nend", "a\x00b\x7f\x85", "\u202emodel\u2028", "ключ 🔑", "\udcff", ""]


def test_promtool_reads_any_label_and_help(program: Callable[[str], str], tmp_path: Path) -> None:
    """And has nothing to say against the service's own metric about collectors."""
    metrics = [Metric(f"own_{number}_total", "counter", text or "x") for number, text in enumerate(HOSTILE[:-2])]
    metrics.append(Metric("own_size_bytes", "gauge", "Size, in bytes.", ("id",)))
    samples = [
        *(Sample(metric.name, 2) for metric in metrics[:-1]),
        *(Sample("own_size_bytes", float(number), {"id": text}) for number, text in enumerate(HOSTILE)),
    ]
    board = Board(2)
    board.put(0, checked("own", FixedCollector(metrics, samples)).text(), good_for_s=600)
    page = CollectedPage(["own", 'odd"\\\nname'], board).text()
    result = subprocess.run(
        [program("promtool"), "check", "metrics"], input=page.encode(), capture_output=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, b""), page
