"""What the cluster keeps from the service and from whoever deploys it, as the live objects have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from tests.cluster.conftest import SMALL

from nimify.targets.kubernetes.preflight import permissions

if TYPE_CHECKING:
    from tests.cluster.conftest import Cluster, Namespace, Shell

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
REFUSED: Final = 10
_SERVICE: Final = {"app.kubernetes.io/instance": "digits", "app.kubernetes.io/name": "digits"}
_TEST: Final = {"app.kubernetes.io/instance": "digits", "app.kubernetes.io/name": "digits-test"}
_NAME_SERVICE: Final = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
_TOKEN: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"


def test_the_service_may_be_asked_and_asks_nobody(deployed: Namespace) -> None:
    """The network policies are those that were planned: clients of the namespace, scrapes, and no way out."""
    policies = {item["metadata"]["name"]: item["spec"] for item in deployed.get("networkpolicies")["items"]}
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    http, grpc = {"port": "http", "protocol": "TCP"}, {"port": "grpc", "protocol": "TCP"}
    service, test = policies.pop("digits"), policies.pop("digits-test")
    assert policies == {}
    assert service == {
        "podSelector": {"matchLabels": _SERVICE},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [{"podSelector": {"matchLabels": _TEST}}, {"podSelector": {}}], "ports": [http, grpc]},
            {"from": [monitoring], "ports": [http]},
        ],
    }
    assert test == {
        "podSelector": {"matchLabels": _TEST},
        "policyTypes": ["Ingress", "Egress"],
        "egress": [{"to": [{"podSelector": {"matchLabels": _SERVICE}}]}, {"ports": _NAME_SERVICE}],
    }
    for pod in deployed.get("pods")["items"]:
        assert _SERVICE.items() <= pod["metadata"]["labels"].items()


def test_the_pods_have_no_token_and_no_rights(deployed: Namespace, cluster: Cluster) -> None:
    """Neither their specification nor their file system has a token, and Pod Security took them as `restricted`."""
    labels = cluster.namespace_labels(deployed.name)
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    (account,) = (item for item in deployed.get("serviceaccounts")["items"] if item["metadata"]["name"] == "digits")
    assert account["automountServiceAccountToken"] is False
    pods = deployed.get("pods")["items"]
    assert pods
    for pod in pods:
        spec = pod["spec"]
        assert spec["serviceAccountName"] == "digits"
        assert spec["automountServiceAccountToken"] is False
        assert not [volume for volume in spec["volumes"] if "projected" in volume or "secret" in volume]
        assert spec["securityContext"]["runAsNonRoot"] is True
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        inside = ("exec", pod["metadata"]["name"], f"--namespace={deployed.name}", "--", "python3", "-c")
        told = (
            f"import os; print(os.path.exists({_TOKEN!r}), os.getuid(), sorted(k for k in os.environ if 'KUBE' in k))"
        )
        exists, uid, variables = cluster.kubectl(*inside, told).split(maxsplit=2)
        assert (exists, uid) == ("False", "10001")
        assert "TOKEN" not in variables


def test_the_deployer_may_do_what_is_written_and_no_more(namespace: Namespace, cluster: Cluster) -> None:
    """The API server lists the verbs of the Role for the namespace, and for another none beyond what everybody has."""
    everybody = cluster.rights("deployer", "kube-system")
    assert {resource for _, resource in everybody} == {
        "selfsubjectaccessreviews.authorization.k8s.io",
        "selfsubjectrulesreviews.authorization.k8s.io",
        "selfsubjectreviews.authentication.k8s.io",
    }
    assert cluster.rights("deployer", namespace.name) - everybody == set(permissions())


def test_a_deployer_without_the_role_is_told_what_is_missing(
    shell: Shell, empty_namespace: Namespace, first: str, cluster: Cluster
) -> None:
    """Before anything is done, with the way to mend it."""
    cluster.kubectl("delete", "rolebinding", "deployer", f"--namespace={empty_namespace.name}")
    refused = shell(
        "deploy", first, "--target", "kubernetes", "--namespace", empty_namespace.name, *SMALL, status=REFUSED
    )
    assert "You may not, in this namespace: create secrets" in refused.said
    assert "deployer.yaml" in refused.said
    assert empty_namespace.get("deployments,services,leases")["items"] == []
