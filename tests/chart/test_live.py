"""The chart and the service agree: what the chart sets is what a real service reads, and the helm test passes on it."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.chart.conftest import Document, Helm
    from tests.conftest import ServiceStarter

pytestmark = pytest.mark.chart

PORTS = {"NIM_HTTP_API_PORT", "NIM_GRPC_API_PORT"}
"""Tests take free ports instead."""


def environment_of(documents: list[Document]) -> dict[str, str]:
    """The variables of the service's container."""
    (deployment,) = (document for document in documents if document["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def ask_as_the_helm_test(documents: list[Document], url: str) -> subprocess.CompletedProcess[str]:
    """Run what the helm test's pod runs, against another address."""
    (pod,) = (document for document in documents if document["kind"] == "Pod")
    (container,) = pod["spec"]["containers"]
    (variable,) = container["env"]
    path = variable["value"].partition("//")[2].partition("/")[2]
    return subprocess.run(
        [sys.executable, *container["command"][1:]],
        env={**os.environ, "URL": f"{url}/{path}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_helm_test_passes_on_a_live_service(
    helm: Helm, make_bundle: Callable[..., Path], start_service: ServiceStarter
) -> None:
    """With the chart's variables, a service is ready at the path that the probes and the helm test ask."""
    documents = helm.render({})
    variables = environment_of(documents)
    service = start_service(
        make_bundle("digits"), env={name: value for name, value in variables.items() if name not in PORTS}
    )

    done = ask_as_the_helm_test(documents, service.url)

    assert variables.keys() >= PORTS
    assert done.returncode == 0, done.stderr
    assert service.log.read_text().startswith("{")


def test_the_helm_test_fails_where_nothing_answers(helm: Helm) -> None:
    """It can fail."""
    assert ask_as_the_helm_test(helm.render({}), "http://127.0.0.1:9").returncode != 0


def test_keys_are_read_as_a_mounted_secret(
    helm: Helm, make_bundle: Callable[..., Path], start_service: ServiceStarter, tmp_path: Path
) -> None:
    """Health stays open for probes, and everything else wants a key out of the folder that the chart names."""
    values: dict[str, Any] = {"apiKeys": {"enabled": True, "existingSecret": "keys"}}
    variables = environment_of(helm.render(values))
    (tmp_path / "prometheus").write_text("a-key-that-is-long-enough-for-anybody")
    changed = {**variables, "NIMIFY_API_KEYS_FILE": str(tmp_path)}
    service = start_service(
        make_bundle("digits"), env={name: value for name, value in changed.items() if name not in PORTS}
    )
    models = f"{service.url}/v1/models"
    shown = urllib.request.Request(models, headers={"Authorization": f"Bearer {(tmp_path / 'prometheus').read_text()}"})

    assert variables["NIMIFY_API_KEYS_FILE"] == "/etc/nimify/api-keys"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(models, timeout=10)
    with urllib.request.urlopen(shown, timeout=10) as answer:
        assert answer.status == 200
