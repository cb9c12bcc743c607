"""Values that must not reach a cluster are refused before they do, and `null` means the default or a refusal."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from tests.chart.conftest import Helm

pytestmark = pytest.mark.chart

REFUSALS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "refusals.yaml").read_text())


@pytest.mark.parametrize("case", REFUSALS, ids=[case["name"] for case in REFUSALS])
def test_it_is_refused(case: dict[str, Any], helm: Helm) -> None:
    """Helm ends with an error that names the value."""
    done = helm.template(copy.deepcopy(case["values"]), kubernetes=case.get("kubernetes", "1.37"))

    assert done.returncode != 0
    assert case["words"] in done.stderr
    assert "nil pointer" not in done.stderr


def test_null_never_breaks_a_template(helm: Helm) -> None:
    """Helm removes what is null; each top-level key is then missed by the schema, not by a template."""
    for key in yaml.safe_load((helm.chart / "values.yaml").read_text()):
        if key == "image":
            continue  # the fixture gives it a value
        done = helm.template({key: None})
        assert done.returncode != 0
        assert f"missing property '{key}'" in done.stderr
