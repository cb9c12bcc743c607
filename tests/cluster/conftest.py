"""A real cluster of one node, images of the digits example in its registry, and a person who deploys them.

A cluster that is up already is used and left (make cluster-up); otherwise one is started, and ended with the session.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from tests.cluster.load import Load, Question
from tests.container.conftest import BASE, DockerEngine, base_archive, docker, one_nimify
from tools.cluster import cluster as lifecycle
from tools.cluster import programs
from tools.cluster.layout import Layout

from nimify.targets.kubernetes.pods import is_ready
from nimify.targets.kubernetes.preflight import ROLE_FILE

__all__ = ["base_archive", "docker", "one_nimify"]
ROOT: Final = Path(__file__).parents[2]
MODEL: Final = ROOT / "examples" / "digits" / "digits.onnx"
SMALL: Final = ("--set", "resources.requests.cpu=100m")
"""Three pods that ask for a core each would not fit a node of two."""
_COMMAND_S: Final = 900.0


@dataclass(frozen=True)
class Cluster:
    """The cluster, as its administrator has it."""

    layout: Layout

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run `kubectl`; its output."""
        done = self._kubectl(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refusal(self, *arguments: str, stdin: str | None = None) -> str:
        """Run `kubectl`; why the API server refuses, empty when it does not."""
        done = self._kubectl(*arguments, stdin=stdin)
        return (done.stderr or done.stdout) if done.returncode else ""

    def rights(self, user: str, namespace: str) -> set[tuple[str, str]]:
        """The verbs and resources that a user has in a namespace, e.g. `("create", "deployments.apps")`."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        asked = self.kubectl("create", f"--raw={path}", f"--as={user}", "--filename=-", stdin=json.dumps(review))
        return {
            (verb, f"{resource}.{group}" if group else resource)
            for rule in json.loads(asked)["status"]["resourceRules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    def manifest(self, release: str, namespace: str) -> str:
        """What Helm applied."""
        command = [str(ROOT / ".tools" / "bin" / "helm"), f"--kubeconfig={self.layout.kubeconfig('admin')}"]
        command += [f"--namespace={namespace}", "get", "manifest", release]
        return subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=True).stdout

    def namespace_labels(self, name: str) -> dict[str, str]:
        """The labels of a namespace."""
        labels: dict[str, str] = json.loads(self.kubectl("get", "namespace", name, "--output=json"))["metadata"][
            "labels"
        ]
        return labels

    def apply(self, namespace: str, *documents: dict[str, Any]) -> None:
        """Apply documents in a namespace."""
        options = ("--server-side", f"--namespace={namespace}", "--filename=-")
        self.kubectl("apply", *options, stdin=yaml.safe_dump_all(documents))

    def _kubectl(self, *arguments: str, stdin: str | None) -> subprocess.CompletedProcess[str]:
        command = [programs.program("kubectl"), f"--kubeconfig={self.layout.kubeconfig('admin')}", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=_COMMAND_S, check=False)


@dataclass(frozen=True)
class Namespace:
    """A namespace that enforces Pod Security `restricted`, in which one user has the Role of a deployer.

    Attributes:
        name: Its name.
        cluster: Where it is.
    """

    name: str
    cluster: Cluster

    def get(self, *what: str) -> Any:
        """Objects of the namespace."""
        return json.loads(self.cluster.kubectl("get", *what, f"--namespace={self.name}", "--output=json"))

    def address(self) -> str:
        """The ClusterIP of the service."""
        return str(self.get("service", "digits")["spec"]["clusterIP"])

    def await_expired_lease(self) -> None:
        """Wait until the Lease of a deployer that was killed has expired."""
        spec = self.get("lease", "nimify-digits")["spec"]
        renewed = datetime.datetime.fromisoformat(spec["renewTime"].replace("Z", "+00:00"))
        expires = renewed + datetime.timedelta(seconds=spec["leaseDurationSeconds"] + 1)
        time.sleep(max(0.0, (expires - datetime.datetime.now(datetime.UTC)).total_seconds()))

    def pods(self) -> set[str]:
        """The names of the pods that are not going."""
        return {str(pod["metadata"]["name"]) for pod in self._staying()}

    def ready_pods(self) -> set[str]:
        """The names of those of them that are ready."""
        return {str(pod["metadata"]["name"]) for pod in self._staying() if is_ready(pod)}

    def _staying(self) -> list[Any]:
        return [pod for pod in self.get("pods")["items"] if "deletionTimestamp" not in pod["metadata"]]


@dataclass(frozen=True)
class Answer:
    """What a command did.

    Attributes:
        status: Its exit status.
        text: What it wrote to standard output.
        said: What it wrote to standard error.
    """

    status: int
    text: str
    said: str

    def json(self) -> Any:
        """The document that it wrote."""
        return json.loads(self.text)


@dataclass(frozen=True)
class Shell:
    """Runs `nimify` in a folder, as somebody who may do no more than deploy in one namespace.

    Attributes:
        folder: Where the bundles lie.
        environment: Of the commands.
    """

    folder: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str, status: int = 0) -> Answer:
        """Run it; it must end with a status."""
        process = self.start(*arguments)
        text, said = process.communicate(timeout=_COMMAND_S)
        assert process.returncode == status, f"{' '.join(arguments)}: {process.returncode}\n{text}\n{said}"
        return Answer(process.returncode, text, said)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it."""
        return subprocess.Popen(
            [sys.executable, "-m", "nimify", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster."""
    before = lifecycle.present()
    if before is None:
        lifecycle.up()
    layout = lifecycle.present()
    assert layout is not None
    yield Cluster(layout)
    if before is None:
        lifecycle.down()


@pytest.fixture(scope="session")
def environment(cluster: Cluster, docker: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a deployer has set."""
    # Debian's docker has the BuildKit of its own engine; a newer one beside it may not.
    debian = tmp_path_factory.mktemp("debian")
    (debian / "docker").symlink_to("/usr/bin/docker")
    path = (str(debian), str(programs.folder()), str(ROOT / ".tools" / "bin"), os.environ["PATH"])
    return {
        **os.environ,
        "DOCKER_HOST": docker.host,
        "HELM_CACHE_HOME": str(tmp_path_factory.mktemp("helm")),
        "KUBECONFIG": str(cluster.layout.kubeconfig("deployer")),
        "NIMIFY_STATE": str(tmp_path_factory.mktemp("state")),
        "NO_COLOR": "1",
        "PATH": os.pathsep.join(path),
    }


@pytest.fixture(scope="session")
def shell(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The deployer's terminal."""
    return Shell(tmp_path_factory.mktemp("bundles"), environment)


MakeRevision = Callable[..., str]


@pytest.fixture(scope="session")
def make_revision(shell: Shell, cluster: Cluster) -> MakeRevision:
    """Create a bundle, build its image and push it; the name of the bundle's folder. Each is made once."""
    made: set[str] = set()

    def make(name: str, *options: str, model: Path = MODEL, service: str = "digits") -> str:
        if name not in made:
            shell("create", str(model), "--name", service, "--output", name, *options)
            tag = f"{cluster.layout.registry}/team/{service}:{name}"
            building = ("--builder", "docker", "--base", BASE, "--network", "host")
            shell("build", name, "--tag", tag, "--push", *building)
            made.add(name)
        return name

    return make


@pytest.fixture(scope="session")
def first(make_revision: MakeRevision) -> str:
    """The bundle that is deployed first."""
    return make_revision("first", "--max-batch-size", "8")


@pytest.fixture(scope="session")
def second(make_revision: MakeRevision) -> str:
    """The same with another batch size."""
    return make_revision("second", "--max-batch-size", "16")


_NUMBERS: Final = itertools.count(1)


@contextmanager
def new_namespace(cluster: Cluster) -> Iterator[Namespace]:
    """A namespace of one's own."""
    name = f"team-{os.getpid()}-{next(_NUMBERS)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply(name, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "deployer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "nimify-deployer"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "deployer"}],
    }
    cluster.apply(name, yaml.safe_load(ROLE_FILE.read_text()), binding)
    yield Namespace(name, cluster)
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[Namespace]:
    """A namespace, which goes with the tests of a module."""
    with new_namespace(cluster) as made:
        yield made


@pytest.fixture
def empty_namespace(cluster: Cluster) -> Iterator[Namespace]:
    """A namespace in which nothing was ever deployed."""
    with new_namespace(cluster) as made:
        yield made


@pytest.fixture
def deployed(shell: Shell, namespace: Namespace, first: str) -> Namespace:
    """The namespace with the first revision live in it."""
    shell("deploy", first, "--target", "kubernetes", "--namespace", namespace.name, *SMALL)
    return namespace


@pytest.fixture
def load(shell: Shell, first: str) -> Callable[[str], Load]:
    """Clients of the service at an address."""
    question = Question.golden(shell.folder / first, "digits")
    return lambda address: Load(address, question)
