"""The kubernetes target against a stand-in for `helm` and `kubectl`: what it asks for, and what it makes of answers.

The real cluster is that of tests/cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from nimify.core.deployments import DeployedService, deploy, foresee, order_for
from nimify.errors import ConfigError, EnvironmentProblem, LeftDegraded, NotDeployed, RolledBack
from nimify.findings import Severity
from nimify.targets.kubernetes.pods import troubles
from nimify.targets.kubernetes.preflight import kinds_of, permissions
from nimify.targets.proof import Proofs
from nimify.targets.target import Applied, Phase

pytestmark = pytest.mark.usefixtures("state")
MakeBundle = Callable[..., Path]
LEASES = "leases.coordination.k8s.io"
FAKE = Path(__file__).with_name("fake_cluster.py")
TEMPLATES = Path(str(files("nimify.artifacts.chart") / "static" / "templates"))


class FakeCluster:
    """The stand-in's state."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "cluster.json"
        self._calls = folder / "calls"
        self.set(history=[])

    def set(self, **more: Any) -> None:
        state = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._file.write_text(json.dumps({**state, **more}))

    def get(self, key: str) -> Any:
        return json.loads(self._file.read_text()).get(key)

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []

    def forget_calls(self) -> None:
        self._calls.unlink(missing_ok=True)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("helm", "kubectl"):
        program = programs / name
        program.write_text(f"#!{sys.executable} -SE\n{FAKE.read_text()}")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_CLUSTER", str(tmp_path / "cluster.json"))
    return FakeCluster(tmp_path)


@pytest.fixture(scope="module")
def bundle(make_bundle: MakeBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that has a chart; the stand-in reads nothing of it."""
    copy = tmp_path_factory.mktemp("charted") / "bundle"
    shutil.copytree(make_bundle("tiny"), copy)
    (copy / "chart").mkdir(exist_ok=True)
    (copy / "chart" / "Chart.yaml").touch()
    return copy


@pytest.fixture
def served(bundle: Path, cluster: FakeCluster, start_service: Callable[..., Any]) -> None:
    """What `port-forward` leads to: a real service of the bundle."""
    cluster.set(port=start_service(bundle).port)


def deployed(bundle: Path, tag: str, *, timeout_s: float = 60.0, **settings: str) -> Applied:
    order = order_for(bundle, image=f"registry.example.com/tiny:{tag}", settings=settings, timeout_s=timeout_s)
    return deploy("kubernetes", order)


@pytest.mark.usefixtures("served")
def test_a_release_is_applied_on_the_server_watched_and_proven(bundle: Path, cluster: FakeCluster) -> None:
    """The image goes to Helm in its parts, the golden requests to a new pod, and `status` shows what runs."""
    applied = deployed(bundle, "good", replicaCount="1")

    upgrade = next(call for call in cluster.calls if call.startswith("helm upgrade") and "--dry-run" not in call)
    assert "--server-side=true" in upgrade
    assert "--set-literal=image.repository=registry.example.com/tiny" in upgrade
    assert "--set=replicaCount=1" in upgrade
    assert any(call.startswith("kubectl port-forward pod/tiny-1-pod") for call in cluster.calls)
    assert applied.deployment.phase is Phase.RUNNING
    assert [instance.ready for instance in applied.deployment.instances] == [True]
    assert cluster.get("lease")["metadata"]["annotations"] == {"nimify.io/proven-revision": "1"}


@pytest.mark.usefixtures("served")
def test_a_connection_to_a_pod_that_fails_is_tried_again(bundle: Path, cluster: FakeCluster) -> None:
    """An API server that errs once while a pod is proven is no reason to undo the revision."""
    cluster.set(fail_once={"kubectl port-forward": "error: error upgrading connection: etcd is away"})

    assert deployed(bundle, "good").deployment.phase is Phase.RUNNING
    assert len([call for call in cluster.calls if call.startswith("kubectl port-forward")]) == 2


@pytest.mark.usefixtures("served")
def test_a_conflict_is_applied_again(bundle: Path, cluster: FakeCluster) -> None:
    """Somebody changed an object between Helm's looking and its writing; any other error is not repeated."""
    cluster.set(fail_once={"--server-side=true": "Error: UPGRADE FAILED: conflict occurred while applying"})

    assert deployed(bundle, "good").deployment.phase is Phase.RUNNING
    assert len([call for call in cluster.calls if "--server-side=true" in call]) == 2

    cluster.forget_calls()
    cluster.set(fail_once={"--server-side=true": "Error: UPGRADE FAILED: etcd is away"})
    with pytest.raises(RolledBack):
        deployed(bundle, "good", replicaCount="1")
    assert len([call for call in cluster.calls if "--server-side=true" in call]) == 1


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("there", [True, False])
def test_a_namespace_is_made_only_where_there_is_none(there: bool, bundle: Path, cluster: FakeCluster) -> None:
    """Helm would apply one that is there, which the deployer's Role does not allow."""
    missing = {"kubectl create": 'Error from server (NotFound): namespaces "default" not found'}
    cluster.set(fail={} if there else missing)

    deployed(bundle, "good")

    (upgrade,) = (call for call in cluster.calls if call.startswith("helm upgrade") and "--dry-run" not in call)
    assert ("--create-namespace" in upgrade) is not there


@pytest.mark.usefixtures("served")
def test_nothing_is_applied_when_nothing_changed(bundle: Path, cluster: FakeCluster) -> None:
    """The same manifests and healthy pods: Helm is asked, and nothing is applied."""
    deployed(bundle, "good")
    cluster.forget_calls()

    assert not deployed(bundle, "good").changed
    assert not [call for call in cluster.calls if call.startswith("helm upgrade") and "--dry-run" not in call]


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("pull", "its image cannot be pulled"),
        ("crash", r"it ends again and again; its container ended with status 3 \(CrashLoopBackOff\)"),
        ("probe", "ended with status 3; Startup probe failed: HTTP probe failed with statuscode: 503"),
        ("quota", "no pod can be made: exceeded quota"),
        ("deadline", "it made no progress within its deadline"),
    ],
)
def test_a_hopeless_revision_is_told_and_rolled_back(bundle: Path, tag: str, said: str) -> None:
    """Each terminal reason ends the wait early, and the revision that was proven before comes back."""
    deployed(bundle, "good")

    with pytest.raises(RolledBack, match=said) as caught:
        deployed(bundle, tag)

    assert "Revision 1 answers again, as revision 3" in caught.value.message
    assert Proofs("kubernetes", "tiny").find(3) is not None
    assert caught.value.exit_code == 11
    assert DeployedService.find("tiny").status().phase is Phase.RUNNING
    if tag in {"pull", "crash"}:
        assert caught.value.evidence == ("the last words of the pod",)


def test_a_first_revision_that_fails_is_removed(bundle: Path, cluster: FakeCluster) -> None:
    """There is nothing to go back to, so nothing stays."""
    with pytest.raises(NotDeployed, match="nothing ran before"):
        deployed(bundle, "crash")

    assert cluster.get("history") == []


@pytest.mark.usefixtures("cluster")
def test_pods_that_are_never_ready_end_with_the_time(bundle: Path) -> None:
    """What may yet go away by itself is waited for, until the time of the order is over, and told once."""
    said: list[str] = []
    order = order_for(bundle, image="registry.example.com/tiny:unschedulable", timeout_s=4.0)

    with pytest.raises(NotDeployed, match="not done in time"):
        deploy("kubernetes", order, said.append)

    assert any("no node takes it: no GPU" in sentence for sentence in said)
    assert len(said) == len(set(said))


@pytest.mark.usefixtures("served")
def test_going_back_that_fails_is_left_degraded(bundle: Path, cluster: FakeCluster) -> None:
    """When Helm cannot roll back either, the error says so and has a status of its own."""
    deployed(bundle, "good")
    cluster.set(fail={"helm rollback": "Error: the server is gone"})

    with pytest.raises(LeftDegraded, match="the server is gone") as caught:
        deployed(bundle, "crash")

    assert caught.value.exit_code == 12


@pytest.mark.usefixtures("served")
def test_a_deployment_that_was_killed_does_not_lock_the_release(bundle: Path, cluster: FakeCluster) -> None:
    """A release that is left pending, by a holder whose Lease has expired, is restored and then deployed to."""
    deployed(bundle, "good")
    history = cluster.get("history")
    stuck = {**history[-1], "revision": 2, "status": "pending-upgrade"}
    lease = cluster.get("lease")
    lease["spec"] |= {"holderIdentity": "gone-1", "renewTime": "2026-01-01T00:00:00Z"}
    cluster.set(history=[{**history[0], "status": "superseded"}, stuck], lease=lease)
    order = order_for(bundle, image="registry.example.com/tiny:good")
    assert foresee("kubernetes", order).errors == ()

    deployed(bundle, "good", replicaCount="2")

    assert [row["description"].split(" ")[0] for row in cluster.get("history")][-2:] == ["Rollback", "nimify:"]


def test_of_two_deployers_one_is_told(bundle: Path, cluster: FakeCluster) -> None:
    """While somebody else renews the Lease, nothing is applied, and the message names the holder."""
    lease = {"holderIdentity": "other-7", "leaseDurationSeconds": 30, "renewTime": "2999-01-01T00:00:00Z"}
    cluster.set(lease={"metadata": {"resourceVersion": "1"}, "spec": lease})

    with pytest.raises(NotDeployed, match="by other-7 right now"):
        deployed(bundle, "good")

    assert cluster.get("history") == []


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ({"server": "v1.27.3"}, "kubernetes.version", "1.27"),
        ({"helm": "v3.19.0"}, "kubernetes.helm", "v3.19"),
        ({"forbidden": ["create deployments.apps"]}, "kubernetes.permissions", "create deployments.apps"),
        (
            {"fail": {"kubectl version": "Unable to connect to the server"}},
            "kubernetes.unreachable",
            "Unable to connect",
        ),
        ({"extra": [["monitoring.coreos.com/v1", "ServiceMonitor"]]}, "kubernetes.unknown-kind", "ServiceMonitor"),
    ],
)
def test_the_preflight_finds_what_is_lacking(
    bundle: Path, cluster: FakeCluster, state: dict[str, Any], code: str, said: str
) -> None:
    """Each lack is a finding with a code, the cluster's own words and a remedy, and nothing is applied."""
    cluster.set(**state)

    (finding,) = foresee("kubernetes", order_for(bundle)).errors

    assert finding.code == code
    assert said in finding.message
    assert finding.remedy
    with pytest.raises(NotDeployed):
        deployed(bundle, "good")
    assert cluster.get("history") == []


def test_parts_of_resources_are_asked_for_as_parts(bundle: Path, cluster: FakeCluster) -> None:
    """Behind a slash, kubectl would read the name of an object."""
    foresee("kubernetes", order_for(bundle, image="registry.example.com/tiny:good"))

    assert "kubectl auth can-i create pods --subresource=portforward" in cluster.calls
    assert not [call for call in cluster.calls if "can-i" in call and "/" in call]


def test_an_api_server_that_errs_forbids_nothing(bundle: Path, cluster: FakeCluster) -> None:
    """Permissions that cannot be asked for are a warning: the cluster itself will refuse what is not allowed."""
    cluster.set(fail={"kubectl auth can-i create secrets": "Error from server (InternalError): etcd is away"})

    (finding,) = foresee("kubernetes", order_for(bundle, image="registry.example.com/tiny:good")).findings

    assert (finding.severity, "etcd is away" in finding.message) == (Severity.WARNING, True)


@pytest.mark.usefixtures("served")
def test_a_dry_run_shows_the_difference_of_the_manifests(bundle: Path, cluster: FakeCluster) -> None:
    """What the next revision would change is a diff, and nothing is applied."""
    deployed(bundle, "good")

    order = order_for(bundle, image="registry.example.com/tiny:other")
    changes = foresee("kubernetes", order).changes

    assert any(line.startswith("-") and "image.tag=good" in line for line in changes)
    assert any(line.startswith("+") and "image.tag=other" in line for line in changes)
    assert len(cluster.get("history")) == 1


@pytest.mark.usefixtures("served")
def test_rollback_stop_and_back_again(bundle: Path, cluster: FakeCluster) -> None:
    """A rollback applies the revision before; what was stopped keeps its history and can come back."""
    deployed(bundle, "good")
    deployed(bundle, "good", replicaCount="2")
    service = DeployedService.find("tiny")

    service.rollback()
    assert cluster.get("history")[-1]["description"] == "Rollback to 1"
    assert service.stop()
    assert service.status().phase is Phase.STOPPED
    assert not service.stop()
    service.rollback(2)
    assert service.status().phase is Phase.RUNNING
    assert service.stop(purge=True)
    with pytest.raises(ConfigError, match="was not deployed"):
        DeployedService.find("tiny")


@pytest.mark.usefixtures("served")
def test_a_rollback_passes_over_what_failed_and_what_came_back(bundle: Path, cluster: FakeCluster) -> None:
    """Revision 3 was undone and 4 is 2 again, so that the one before is 1; each can still be named."""
    deployed(bundle, "good")
    deployed(bundle, "good", replicaCount="2")
    with pytest.raises(RolledBack, match="as revision 4"):
        deployed(bundle, "crash")

    DeployedService.find("tiny").rollback()
    assert cluster.get("history")[-1]["description"] == "Rollback to 1"
    DeployedService.find("tiny").rollback(2)
    assert cluster.get("history")[-1]["description"] == "Rollback to 2"


@pytest.mark.usefixtures("served")
def test_a_release_that_begins_anew_remembers_nothing(bundle: Path, cluster: FakeCluster) -> None:
    """Helm counts from 1 again, so that what the Lease says of earlier numbers means nothing."""
    deployed(bundle, "good")
    with pytest.raises(RolledBack):
        deployed(bundle, "crash")
    DeployedService.find("tiny").stop(purge=True)

    deployed(bundle, "good")

    assert cluster.get("lease")["metadata"]["annotations"] == {"nimify.io/proven-revision": "1"}


@pytest.mark.usefixtures("served")
def test_metrics_of_pods_come_through_the_api_server(bundle: Path) -> None:
    """The monitor needs no port of its own to each pod."""
    from nimify.monitoring.monitor import Monitor

    deployed(bundle, "good")

    picture = Monitor("tiny", DeployedService.find("tiny").sources).look()

    assert [(replica.name, replica.ready) for replica in picture.replicas] == [("tiny-1-pod", True)]


@pytest.mark.usefixtures("cluster")
def test_an_unreachable_cluster_is_no_traceback(cluster: FakeCluster) -> None:
    """`status` says in one line that the cluster cannot be asked, in its own words."""
    cluster.set(fail={"helm history": "Error: Kubernetes cluster unreachable"})

    with pytest.raises(EnvironmentProblem, match="cluster unreachable"):
        DeployedService.find("tiny", target="kubernetes").status()


@pytest.mark.parametrize(
    ("settings", "namespace"), [({"a;b": "1"}, ""), ({"--post-renderer": "x"}, ""), ({}, "--kubeconfig")]
)
@pytest.mark.usefixtures("cluster")
def test_what_helm_would_take_for_an_option_is_refused(bundle: Path, settings: dict[str, str], namespace: str) -> None:
    """Names of values and namespaces pass through a grammar before they reach a command line."""
    with pytest.raises(ConfigError):
        foresee("kubernetes", order_for(bundle, settings=settings, namespace=namespace))


def test_an_unschedulable_pod_is_given_time() -> None:
    """An autoscaler may bring a node, so that trouble has patience; one that is out of memory is told as that."""
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    pending = {"metadata": {"name": "p"}, "status": {"conditions": [scheduled]}}
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    killed = {"metadata": {"name": "q"}, "status": {"containerStatuses": [{"restartCount": 1, "lastState": ended}]}}
    deployment = {"metadata": {"generation": 2}, "status": {"observedGeneration": 1}}

    first, second = troubles(deployment, [pending, killed])

    assert (first.reason, first.patience_s > 0) == ("Unschedulable", True)
    assert "more memory than its limit" in second.message


@pytest.mark.parametrize(
    ("said", "patient"),
    [
        ('pods is forbidden: User "replicaset-controller" cannot create resource "pods" in API group ""', True),
        ('pods "tiny-1" is forbidden: exceeded quota: full, requested: pods=1', False),
        ('pods "tiny-1" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true', False),
    ],
    ids=["no-roles-read-yet", "quota", "policy"],
)
def test_an_api_server_that_has_just_started_is_given_time(said: str, patient: bool) -> None:
    """It refuses even the cluster's own controllers until it has read who may what; a quota stays what it is."""
    failed = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": said}
    deployment = {"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": [failed]}}

    (trouble,) = troubles(deployment, [])

    assert (trouble.patience_s > 0) is patient
    assert said in trouble.message


def test_kinds_are_read_off_manifests() -> None:
    """Each document counts once, quoted or not; text that looks like a kind further in does not."""
    manifests = (
        "---\napiVersion: v1\nkind: Service\nspec:\n  kind: Inner\n---\napiVersion: 'apps/v1'\nkind: Deployment\n"
    )

    assert kinds_of(manifests) == {("v1", "Service"), ("apps/v1", "Deployment")}


def test_the_role_holds_what_is_asked_for() -> None:
    """The file for administrators is what the preflight asks by, in the form that `can-i` takes."""
    asked = permissions()

    assert ("create", "pods/portforward") in asked
    assert ("patch", "deployments.apps") in asked
    assert not [resource for verb, resource in asked if "*" in (verb, resource)]


def test_the_role_covers_everything_that_the_chart_can_make() -> None:
    """Whatever a template of the chart makes, whoever has the Role may create."""
    resources = {resource.partition(".")[0] for verb, resource in permissions() if verb == "create"}
    kinds = {kind for path in TEMPLATES.glob("*.yaml") for _, kind in kinds_of(path.read_text())}

    assert "ScaledObject" in kinds
    assert {plural(kind) for kind in kinds | {"ServiceMonitor", "PodMonitor"}} <= resources


def test_permissions_for_operators_are_asked_for_where_the_chart_wants_one(bundle: Path, cluster: FakeCluster) -> None:
    """Who has no monitoring needs no right to it; who has, is told before anything is done."""
    cluster.set(forbidden=["create servicemonitors.monitoring.coreos.com"])
    order = order_for(bundle, image="registry.example.com/tiny:good")
    assert foresee("kubernetes", order).errors == ()

    cluster.set(
        extra=[["monitoring.coreos.com/v1", "ServiceMonitor"]],
        kinds={"/apis/monitoring.coreos.com/v1": ["ServiceMonitor"]},
    )
    (finding,) = foresee("kubernetes", order).errors

    assert finding.code == "kubernetes.permissions"
    assert "create servicemonitors.monitoring.coreos.com" in finding.message


def plural(kind: str) -> str:
    """The resource of a kind."""
    word = kind.lower()
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}es" if word.endswith("s") else f"{word}s"


def test_what_helm_deletes_it_may_watch_go() -> None:
    """`helm uninstall --wait` watches what the chart made; the Secrets of releases and the Lease are not of it."""
    asked = permissions()
    deleted = {resource for verb, resource in asked if verb == "delete"}

    assert {resource for verb, resource in asked if verb == "watch"} >= deleted - {"secrets", LEASES}


def test_pods_behind_keys_are_proven_with_the_key_that_is_given(
    bundle: Path, cluster: FakeCluster, start_service: Callable[..., Any], tmp_path: Path
) -> None:
    """Without it the revision is not proven; with it, it is, and no command line of Helm or kubectl has it."""
    key, keys = "a-key-of-these-tests-0123456789", tmp_path / "keys"
    keys.write_text(f"{key}\n")
    cluster.set(port=start_service(bundle, "--api-keys", str(keys)).port)
    with pytest.raises(NotDeployed, match="401"):
        deployed(bundle, "good")
    order = order_for(bundle, image="registry.example.com/tiny:good", headers={"X-API-Key": key}, timeout_s=60.0)
    assert deploy("kubernetes", order).changed
    assert key not in "".join(cluster.calls)
