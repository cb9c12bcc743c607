"""A cluster that has its troubles: two deployers at once, one that is killed, and parts that die or are full."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.cluster.conftest import SMALL
from tests.cluster.waiting import await_that, read_until
from tools.cluster import cluster as lifecycle

if TYPE_CHECKING:
    from tests.cluster.conftest import Cluster, MakeRevision, Namespace, Shell
    from tests.cluster.load import Load

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
REFUSED, ROLLED_BACK, DEGRADED = 10, 11, 12


@pytest.fixture
def where(deployed: Namespace) -> tuple[str, ...]:
    """The options of a deployment."""
    return ("--target", "kubernetes", "--namespace", deployed.name, *SMALL)


def test_of_two_deployers_one_is_told(shell: Shell, where: tuple[str, ...], second: str) -> None:
    """The second one ends with its own status and says who deploys, and the first goes on."""
    with shell.start("deploy", second, *where) as one:
        said = read_until(one, "is applied")
        other = shell("deploy", second, *where, "--set", "replicaCount=3", status=REFUSED)
        text, rest = one.communicate(timeout=600)
    assert one.returncode == 0, said + rest
    assert "is being deployed by" in other.said
    assert text


def test_a_deployer_that_is_killed_locks_nobody_out(
    shell: Shell, where: tuple[str, ...], deployed: Namespace, second: str, load: Callable[[str], Load]
) -> None:
    """What was live answers on, and the next deployment goes through when the Lease has expired."""
    with load(deployed.address()) as clients:
        with shell.start("deploy", second, *where, "--set", "logLevel=warning") as one:
            read_until(one, "is applied")
            one.kill()
        refused = shell("deploy", second, *where, status=REFUSED)
        assert "forgotten after 30 seconds" in refused.said
        deployed.await_expired_lease()
        shell("deploy", second, *where)
    assert clients.failures == []
    assert shell("status", "digits", "--json").json()["phase"] == "running"


def test_an_api_server_that_dies_in_between_is_waited_for(
    shell: Shell, where: tuple[str, ...], deployed: Namespace, second: str, load: Callable[[str], Load]
) -> None:
    """The rollout is watched on when it is back, and proven; clients notice nothing."""
    deploying = ("deploy", second, *where, "--set", "replicaCount=3")
    with load(deployed.address()) as clients, shell.start(*deploying) as one:
        said = read_until(one, "is applied")
        lifecycle.restart_api_server(deployed.cluster.layout)
        _, rest = one.communicate(timeout=600)
    assert one.returncode == 0, said + rest
    assert clients.failures == []


def test_a_registry_that_is_down_rolls_back(
    shell: Shell, where: tuple[str, ...], deployed: Namespace, make_revision: MakeRevision, load: Callable[[str], Load]
) -> None:
    """The reason is said, what was live answers on, and when the registry is back the same command goes through."""
    new = make_revision("unpulled", "--max-batch-size", "4")
    with load(deployed.address()) as clients:
        lifecycle.crash_registry(deployed.cluster.layout)
        try:
            refused = shell("deploy", new, *where, status=ROLLED_BACK)
        finally:
            lifecycle.restart_registry(deployed.cluster.layout)
        assert "ImagePullBackOff" in refused.said
        shell("deploy", new, *where)
    assert clients.failures == []


def test_a_quota_that_is_used_up_rolls_back(
    shell: Shell, where: tuple[str, ...], deployed: Namespace, first: str, load: Callable[[str], Load]
) -> None:
    """No pod of the new revision can be made; the command says so and does not wait for the time to be over."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "full"},
        "spec": {"hard": {"pods": str(len(deployed.pods()))}},
    }
    deployed.cluster.apply(deployed.name, quota)
    deleted = ("delete", "resourcequota", "full", f"--namespace={deployed.name}")
    try:
        await_that(lambda: bool(deployed.get("resourcequota", "full").get("status")), lambda: "no quota")
        with load(deployed.address()) as clients:
            refused = shell("deploy", first, *where, "--set", "logLevel=debug", status=ROLLED_BACK)
    finally:
        deployed.cluster.kubectl(*deleted)
    assert "exceeded quota" in refused.said
    assert clients.failures == []


def test_a_first_revision_that_fails_leaves_nothing(shell: Shell, empty_namespace: Namespace, first: str) -> None:
    """There is nothing to go back to, so what was begun is removed, and the next one may be the first."""
    where = ("--target", "kubernetes", "--namespace", empty_namespace.name, *SMALL)
    missing = f"{empty_namespace.cluster.layout.registry}/team/digits:missing"
    refused = shell("deploy", first, *where, "--image", missing, status=REFUSED)
    assert "nothing ran before" in refused.said
    assert empty_namespace.get("deployments,services,networkpolicies")["items"] == []
    shell("deploy", first, *where)


def test_a_rollback_that_fails_says_in_which_state_it_leaves(
    shell: Shell, where: tuple[str, ...], deployed: Namespace, first: str, load: Callable[[str], Load], cluster: Cluster
) -> None:
    """With the record of every earlier revision gone, the old pods answer on, and the status says: degraded."""
    missing = f"{cluster.layout.registry}/team/digits:missing"
    records = [item["metadata"]["name"] for item in deployed.get("secrets", "--selector=owner=helm")["items"]]
    # Helm has forgotten the oldest of them by itself.
    deleted = ("delete", "secret", *records, f"--namespace={deployed.name}", "--ignore-not-found")
    with load(deployed.address()) as clients, shell.start("deploy", first, *where, "--image", missing) as one:
        said = read_until(one, "is applied")
        cluster.kubectl(*deleted)
        _, rest = one.communicate(timeout=600)
    assert one.returncode == DEGRADED, said + rest
    assert "Going back failed, too" in rest
    assert clients.failures == []
    shell("deploy", first, *where)
    assert shell("status", "digits", "--json").json()["phase"] == "running"


def test_evictions_wait_for_a_pod_that_answers(deployed: Namespace, load: Callable[[str], Load]) -> None:
    """Of two pods one may be evicted; the other may only go when there are two again, and no request is lost."""
    pods = sorted(deployed.pods())
    with load(deployed.address()) as clients:
        assert evicted(deployed, pods[0])
        assert not evicted(deployed, pods[1])
        await_that(lambda: evicted(deployed, pods[1]), lambda: deployed.get("pods"))
        await_that(lambda: len(deployed.ready_pods() - set(pods)) == len(pods), lambda: deployed.get("pods"))
    assert clients.failures == []


def evicted(namespace: Namespace, pod: str) -> bool:
    """Ask for the eviction of a pod; whether it is granted."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace.name}}
    path = f"/api/v1/namespaces/{namespace.name}/pods/{pod}/eviction"
    refusal = namespace.cluster.refusal("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))
    assert not refusal or "disruption budget" in refusal, refusal
    return not refusal
