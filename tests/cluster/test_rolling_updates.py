"""Rolling updates under load lose no request, and this test would see it if they did."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import pytest
from tests.cluster.conftest import SMALL

if TYPE_CHECKING:
    from tests.cluster.conftest import Cluster, MakeRevision, Namespace, Shell
    from tests.cluster.load import Load

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]
WITHOUT_PRE_STOP: Final = {"op": "remove", "path": "/spec/template/spec/containers/0/lifecycle"}
UPDATES: Final = int(os.environ.get("NIMIFY_ROLLING_UPDATES", "4"))


def test_rolling_updates_under_load_lose_nothing(
    shell: Shell, deployed: Namespace, first: str, second: str, load: Callable[[str], Load]
) -> None:
    """On kept connections, on new ones and by gRPC, while every pod is replaced again and again."""
    with load(deployed.address()) as clients:
        for number in range(UPDATES):
            bundle = (second, first)[number % 2]
            shell("deploy", bundle, "--target", "kubernetes", "--namespace", deployed.name, *SMALL)
    print(f"{UPDATES} updates: {dict(clients.answered)}")  # noqa: T201 - shown by pytest -rP
    assert clients.failures == []
    assert min(clients.answered[kind] for kind in ("kept", "new", "grpc")) > 100


def test_without_the_drain_requests_are_lost(
    shell: Shell, namespace: Namespace, make_revision: MakeRevision, load: Callable[[str], Load], cluster: Cluster
) -> None:
    """With preStop and the service's own drain taken away, the same clients see failures."""
    config = shell.folder / "abrupt.yaml"
    config.write_text("limits: {drain_s: 0}\n")
    abrupt = make_revision("abrupt", "--config", str(config))
    shell("deploy", abrupt, "--target", "kubernetes", "--namespace", namespace.name, *SMALL)
    # The chart's schema refuses a preStop of nothing, so it is taken away behind its back.
    where = ("deployment/digits", f"--namespace={namespace.name}")
    cluster.kubectl("patch", *where, "--type=json", f"--patch={json.dumps([WITHOUT_PRE_STOP])}")
    cluster.kubectl("rollout", "status", *where)
    with load(namespace.address()) as clients:
        for _ in range(UPDATES):
            cluster.kubectl("rollout", "restart", *where)
            cluster.kubectl("rollout", "status", *where)
    print(f"{UPDATES} updates: {dict(clients.answered)}, {len(clients.failures)} lost")  # noqa: T201
    assert clients.failures
