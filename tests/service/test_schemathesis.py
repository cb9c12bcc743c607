"""Schemathesis reads the served openapi.json, and sends what it allows and what it forbids."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask, ScrapeOf

DIGITS: dict[str, Any] = {
    "pipeline": {"before": [{"scale": {"factor": 0.0625}}], "after": ["softmax", {"top_k": {"k": 3}}]}
}
# A request may be of the right form and still be wrong, in a way that no JSON schema can say: the header length must
# be that of the JSON part, `data` as long as `shape` says, and free axes of one name equally long.
BEYOND_A_SCHEMA = """
[[operations]]
include-path-regex = "{pattern}"

[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "400"]
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "config", "pattern"),
    [
        pytest.param("digits", DIGITS, "^/v2/models/.*/infer$", id="digits-with-processors"),
        pytest.param("text", {}, "^(/v2/models/.*|/v1)/infer$", id="text"),
    ],
)
def test_the_service_does_what_its_document_says(
    kind: str,
    config: dict[str, Any],
    pattern: str,
    start_service: Callable[..., RunningService],
    make_bundle: Callable[..., Path],
    ask: Ask,
    scrape: ScrapeOf,
    tmp_path: Path,
) -> None:
    """No 5xx; every status, header, type and body is documented; forbidden requests are refused, allowed ones not."""
    service = start_service(make_bundle(kind, **config))
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(BEYOND_A_SCHEMA.format(pattern=pattern.replace("\\", "\\\\")))
    # Schemathesis leaves out the one that the document itself comes from.
    operations = -1 + sum(
        method in {"get", "post", "put", "delete"}
        for item in ask(service, "GET", "/openapi.json").json["paths"].values()
        for method in item
    )
    before = scrape(service)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings)),
            *("run", f"{service.url}/openapi.json", "--no-color", "--warnings", "off"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "40", "--generation-deterministic"),
            *("--checks", "all", "--continue-on-failure", "--request-timeout", "10"),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert f"Tested: {operations}\n" in done.stdout
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None
    assert int(generated[1]) > 500
    after = scrape(service)
    for code in ("500", "503", "504"):
        answers = {"name": "nim_http_responses_total", "code": code}
        assert after.value(**answers) == before.value(**answers)
    assert after.value("nv_inference_request_success") > 10
    assert service.stop() == 0
