"""From a model file to a service on a real cluster and to its end, as a person types it."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

import pytest
from tests.cluster.conftest import SMALL

if TYPE_CHECKING:
    from tests.cluster.conftest import Namespace, Shell

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]


def test_a_service_from_its_model_to_its_end(shell: Shell, namespace: Namespace, first: str, second: str) -> None:
    """create, build, push, deploy, ask, status, monitor, logs, again, another, rollback, stop, back, purge."""
    where = ("--target", "kubernetes", "--namespace", namespace.name)
    assert "kubernetes" in shell("targets").text
    foreseen = shell("deploy", first, *where, *SMALL, "--dry-run", "--json").json()
    assert foreseen["findings"] == []
    assert any("kind: Deployment" in line for line in foreseen["changes"])
    deployed = shell("deploy", first, *where, *SMALL, "--json").json()
    assert (deployed["outcome"], deployed["phase"]) == ("deployed", "running")
    assert ask(shell, namespace, first)

    pods = namespace.pods()
    again = shell("deploy", first, *where, *SMALL, "--json").json()
    assert again["outcome"] == "unchanged"
    assert namespace.pods() == pods
    assert shell("deploy", first, *where, *SMALL, "--dry-run", "--json").json()["changes"] == []

    status = shell("status", "digits", "--json").json()
    assert (status["phase"], {pod["name"] for pod in status["instances"]}) == ("running", pods)
    picture = shell("monitor", "digits", "--once", "--json").json()
    assert [replica["ready"] for replica in picture["replicas"]] == [True, True]
    assert '"event":"ready"' in shell("logs", "digits").text.replace(" ", "")

    changed = shell("deploy", second, *where, *SMALL, "--json").json()
    assert [revision["live"] for revision in changed["revisions"]] == [True, False]
    assert not namespace.pods() & pods
    assert ask(shell, namespace, second)

    back = shell("rollback", "digits", "--json").json()
    assert [revision["live"] for revision in back["revisions"]] == [True, False, False]
    assert ask(shell, namespace, first)

    shell("stop", "digits")
    assert namespace.get("deployments,services")["items"] == []
    assert shell("status", "digits", "--json", status=1).json()["phase"] == "stopped"
    shell("rollback", "digits")
    assert ask(shell, namespace, first)
    shell("stop", "digits", "--purge")
    assert shell("status", "digits", *where, "--json", status=1).json()["phase"] == "absent"
    assert "sh.helm.release" not in json.dumps(namespace.get("secrets"))


def ask(shell: Shell, namespace: Namespace, bundle: str) -> bool:
    """Whether the Service answers the first golden request as recorded."""
    golden = shell.folder / bundle / "golden"
    url = f"http://{namespace.address()}:8000/v2/models/digits/infer"
    with urllib.request.urlopen(url, (golden / "batch-1.request.json").read_bytes(), timeout=30) as answer:
        (given,) = json.load(answer)["outputs"]
    (recorded,) = json.loads((golden / "batch-1.response.json").read_bytes())["outputs"]
    return bool(given["data"] == pytest.approx(recorded["data"], rel=1e-4, abs=1e-5))
