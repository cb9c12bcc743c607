"""Revisions that cannot work: each ends early with its reason, the one before answers on, and no request is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import onnx
import pytest
from onnx import numpy_helper
from tests.cluster.conftest import MODEL, SMALL
from tests.cluster.load import WRONG
from tests.cluster.waiting import await_that

if TYPE_CHECKING:
    from tests.cluster.conftest import Cluster, MakeRevision, Namespace, Shell
    from tests.cluster.load import Load
    from tests.container.conftest import DockerEngine

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
ROLLED_BACK: Final = 11
EARLY_S: Final = 450.0
"""For all of a command on a machine under load; the Deployment itself would not give up for 675 s."""
_NEVER_READY: Final = """\
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/v1/health/live" else 503)
        self.end_headers()
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
"""A process that lives, and whose model is never loaded."""


@pytest.fixture(scope="module")
def never_ready(cluster: Cluster, docker: DockerEngine, first: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image whose service is never ready."""
    folder = tmp_path_factory.mktemp("never-ready")
    (folder / "server.py").write_text(_NEVER_READY)
    base = f"{cluster.layout.registry}/team/digits:{first}"
    (folder / "Dockerfile").write_text(f'FROM {base}\nCOPY server.py /\nENTRYPOINT ["python3", "/server.py"]\n')
    name = f"{cluster.layout.registry}/team/digits:never-ready"
    docker.run("build", "--tag", name, str(folder))
    docker.run("push", name)
    return name


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("image", "ImagePullBackOff"),
        ("crash", "CrashLoopBackOff"),
        ("readiness", "Startup probe failed"),
        ("scheduling", "Unschedulable"),
    ],
)
def test_a_bad_revision_ends_early_and_loses_no_request(
    kind: str,
    reason: str,
    shell: Shell,
    deployed: Namespace,
    first: str,
    never_ready: str,
    load: Callable[[str], Load],
    cluster: Cluster,
) -> None:
    """The command says why, the pods of before are the pods of after, and clients notice nothing."""
    options = {
        "image": ("--image", f"{cluster.layout.registry}/team/digits:missing"),
        "crash": ("--set", "extraEnv[0].name=NIMIFY_BUNDLE", "--set", "extraEnv[0].value=/nowhere"),
        "readiness": ("--image", never_ready),
        "scheduling": ("--set", "resources.requests.cpu=64"),
    }[kind]
    pods = deployed.pods()
    begin_s = time.monotonic()
    with load(deployed.address()) as clients:
        refused = shell(
            "deploy", first, "--target", "kubernetes", "--namespace", deployed.name, *SMALL, *options,
            status=ROLLED_BACK,
        )  # fmt: skip
    took_s = time.monotonic() - begin_s
    print(f"{kind}: {took_s:.0f} s, {dict(clients.answered)}, {refused.said}")  # noqa: T201 - shown by pytest -rP
    assert reason in refused.said
    assert clients.failures == []
    assert min(clients.answered[key] for key in ("kept", "new", "grpc")) > 0
    assert pods <= deployed.pods()
    assert took_s < EARLY_S
    assert shell("status", "digits", "--json").json()["phase"] == "running"


@pytest.fixture(scope="module")
def other_weights(cluster: Cluster, make_revision: MakeRevision, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of the same service with other weights."""
    model = onnx.load(MODEL)
    for weight in model.graph.initializer:
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 2, weight.name))
    path = tmp_path_factory.mktemp("other") / "digits.onnx"
    onnx.save(model, path)
    return f"{cluster.layout.registry}/team/digits:{make_revision('other', model=path)}"


def test_a_revision_that_answers_wrongly_is_undone(
    shell: Shell, deployed: Namespace, first: str, other_weights: str, load: Callable[[str], Load]
) -> None:
    """It is ready, and its golden requests tell; until then some clients got its answers, and none got none."""
    where = ("--target", "kubernetes", "--namespace", deployed.name, *SMALL)
    with load(deployed.address()) as clients:
        refused = shell("deploy", first, *where, "--image", other_weights, status=ROLLED_BACK)
    assert "golden request" in refused.said
    assert [what for what in clients.failures if not what.startswith(WRONG)] == []
    with load(deployed.address()) as again:
        await_that(lambda: sum(again.answered.values()) > 100, lambda: again.answered)
    assert again.failures == []
