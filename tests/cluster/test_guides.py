"""The commands of the guides that need a Kubernetes cluster: the real one, with images in its own registry."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cluster.conftest import Cluster
from tests.container.conftest import BASE, DockerEngine
from tests.guides.pages import Page, guides_that_need
from tests.guides.reader import Reader, lay_out
from tests.guides.sandbox import Sandbox
from tools.cluster import programs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
SMALL = "--set resources.requests.cpu=100m"
"""Three pods that ask for a core each would not fit a node of two."""


@pytest.mark.parametrize("page", guides_that_need("cluster"), ids=lambda page: page.name)
def test_a_guide_works_on_a_cluster(page: Page, cluster: Cluster, docker: DockerEngine, tmp_path: Path) -> None:
    """Built, pushed, installed and proven; replaced, gone back from, and removed."""
    folder = tmp_path / "folder"
    lay_out(folder)
    instead = {
        "registry.example.com": cluster.layout.registry,
        "nimify build digits": f"nimify build digits --base {BASE} --network host",
        "--target kubernetes": f"--target kubernetes {SMALL}",
        "--rollback-on-failure": f"--rollback-on-failure {SMALL}",
    }
    environment = {"DOCKER_HOST": docker.host, "KUBECONFIG": str(cluster.layout.kubeconfig("admin"))}
    places = [Path("/usr/bin"), Path(programs.folder()), ROOT / ".tools" / "bin"]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "models"}}
    cluster.apply("default", namespace)
    try:
        with Sandbox(network=False) as sandbox:
            somebody = Reader(sandbox, folder, {"cluster"}, places, environment, instead)
            somebody.read(page)
        somebody.leave()
    finally:
        cluster.kubectl("delete", "namespace", "models", "ml", "--ignore-not-found", "--wait=false")
    assert [text for text in somebody.typed if "nimify deploy digits --target kubernetes" in text or "helm" in text]
