"""The programs of the cluster: Go modules that go.sum pins, built here, and packages of Debian."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RECIPE: Final = Path(__file__).with_name("binaries")
_KUBERNETES: Final = "k8s.io/kubernetes"
_OPERATOR: Final = "github.com/prometheus-operator/prometheus-operator"
_PROMETHEUS: Final = "github.com/prometheus/prometheus"
_METRICS_SERVER: Final = "sigs.k8s.io/metrics-server"
_ADAPTER: Final = "sigs.k8s.io/prometheus-adapter"
_COREDNS: Final = "github.com/coredns/coredns"
_KEDA: Final = ("github.com/kedacore/keda/v2", "v2.20.2", "h1:SR60v8uIcelbveS8n/1jcl8tLdBBIbHMxmdOHw8tKqA=")
"""Built from nothing here: only the definition of its resources is taken. The module, its release and its hash."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program that Go builds.

    Attributes:
        package: What is built.
        module: Whose release stands in the go.mod of the recipe.
        recipe: A folder below `binaries`; modules that cannot agree on releases of their parts have one each.
        tags: Of the build.
    """

    package: str
    module: str
    recipe: str = ""
    tags: str = ""


COMMANDS: Final = {
    **{
        name: GoProgram(f"{_KUBERNETES}/cmd/{name}", _KUBERNETES)
        for name in ("kube-apiserver", "kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubectl")
    },
    "pause": GoProgram("./pause", _KUBERNETES),
    "prometheus-operator": GoProgram(f"{_OPERATOR}/cmd/operator", _OPERATOR, "monitoring"),
    # Debian's is built without the discovery in Kubernetes; this one without all others.
    "prometheus": GoProgram(
        f"{_PROMETHEUS}/cmd/prometheus", _PROMETHEUS, "monitoring", "remove_all_sd,enable_kubernetes_sd"
    ),
    "metrics-server": GoProgram(f"{_METRICS_SERVER}/cmd/metrics-server", _METRICS_SERVER, "monitoring"),
    "prometheus-adapter": GoProgram(f"{_ADAPTER}/cmd/adapter", _ADAPTER, "custom-metrics"),
    "coredns": GoProgram(".", _COREDNS, "dns"),
}
DEFINITIONS: Final = {
    "prometheus-operator": "example/prometheus-operator-crd",
    "keda": "config/crd/bases",
}
"""Folders of CustomResourceDefinitions in the modules."""
_DEBIAN: Final = {
    "/usr/bin/containerd": "containerd",
    "/usr/sbin/runc": "runc",
    "/usr/bin/etcd": "etcd-server",
    "/usr/bin/docker-registry": "docker-registry",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "/usr/sbin/iptables": "iptables",
    "/usr/sbin/ip": "iproute2",
    "/usr/sbin/conntrack": "conntrack",
    "/usr/bin/socat": "socat",
}
"""What must be there, and the package that brings it."""
_VERSIONED: Final = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


class NotBuilt(Exception):
    """A program of the cluster is missing, or cannot be built."""


def version() -> str:
    """The release of Kubernetes, e.g. `1.35.4`."""
    return _release(COMMANDS["kubectl"])


def prometheus_version() -> str:
    """The release of Prometheus, e.g. `3.13.0`: its module counts 0.313.0."""
    _, minor, patch = map(int, _release(COMMANDS["prometheus"]).split("."))
    return f"{minor // 100}.{minor % 100}.{patch}"


def folder() -> Path:
    """Where the programs of Kubernetes lie, outside the tree, so that every checkout of this user shares them."""
    return _path("kubectl").parent


def program(name: str) -> str:
    """The path of a built program.

    Raises:
        NotBuilt: It is not there.
    """
    return str(_there(_path(name)))


def pause() -> Path:
    """The program that holds a pod's namespaces, linked statically."""
    return Path(program("pause"))


def definitions(name: str) -> Path:
    """The folder with the CustomResourceDefinitions of an operator, see `DEFINITIONS`.

    Raises:
        NotBuilt: It is not there.
    """
    return _there(_definitions_path(name))


def build() -> None:
    """Install and build what is missing.

    Raises:
        NotBuilt: Something cannot be had.
    """
    _install()
    go = shutil.which("go")
    for name in COMMANDS:
        if not _path(name).is_file():
            start_s = time.monotonic()
            sys.stderr.write(f"Building {name} ...\n")
            _compile(_needed(go, name), name)
            sys.stderr.write(f"  done in {time.monotonic() - start_s:.0f} s\n")
    for name in DEFINITIONS:
        if not _definitions_path(name).is_dir():
            _copy_definitions(_needed(go, name), name)


def _needed(go: str | None, name: str) -> str:
    if go is None:
        raise NotBuilt(f"Go is missing; it brings {name}.")
    return go


def _there(path: Path) -> Path:
    if not path.exists():
        raise NotBuilt(f"{path} is missing; build it with: python -m tools.cluster build")
    return path


def _release(wanted: GoProgram) -> str:
    file = RECIPE / wanted.recipe / "go.mod"
    pattern = rf"^(?:\s*|require ){re.escape(wanted.module)} v(\S+)"
    found = re.search(pattern, file.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise NotBuilt(f"{file} names no release of {wanted.module}.")
    return found[1]


def _cache() -> Path:
    return Path(os.environ.get("NIMIFY_CLUSTER_CACHE") or Path.home() / ".cache" / "nimify-cluster")


def _path(name: str) -> Path:
    wanted = COMMANDS[name]
    own = "" if wanted.module == _KUBERNETES else f"{wanted.module.rpartition('/')[2]}-"
    return _cache() / f"{own}v{_release(wanted)}" / name


def _definitions_path(name: str) -> Path:
    if name == "keda":
        return _cache() / f"{name}-{_KEDA[1]}" / "definitions"
    return _path(name).with_name("definitions")


def _install() -> None:
    missing = [package for path, package in _DEBIAN.items() if not Path(path).exists()]
    if missing:
        subprocess.run(["apt-get", "--quiet", "update"], check=True)
        done = subprocess.run(
            ["apt-get", "--quiet", "--yes", "--no-install-recommends", "install", *missing], check=False
        )
        if done.returncode:
            raise NotBuilt(f"Debian's {', '.join(missing)} cannot be installed.")


def _compile(go: str, name: str) -> None:
    wanted, path = COMMANDS[name], _path(name)
    staged = path.with_name(f".{name}.{os.getpid()}")
    options = _link_options() if wanted.module == _KUBERNETES else "-s -w"
    flags = ["-trimpath", "-p", "2", "-tags", wanted.tags, "-ldflags", options]
    command = [go, "build", *flags, "-o", str(staged), wanted.package]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    path.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["nice", "-n", "15", *command], cwd=RECIPE / wanted.recipe, env=environment, check=False)
    if done.returncode:
        raise NotBuilt(f"{name} cannot be built: go ended with {done.returncode}.")
    staged.replace(path)


def _copy_definitions(go: str, name: str) -> None:
    """Copy them out of the module, whose hash must be the one that is pinned."""
    if name == "keda":
        module, release, pinned = _KEDA
        where, recipe = f"{module}@{release}", RECIPE
    else:
        # Its release and its hash stand in the recipe.
        where, pinned, recipe = COMMANDS[name].module, "", RECIPE / COMMANDS[name].recipe
    done = subprocess.run([go, "mod", "download", "-json", where], cwd=recipe, capture_output=True, check=False)
    found = json.loads(done.stdout or b"{}")
    if done.returncode or (pinned and found.get("Sum") != pinned):
        raise NotBuilt(f"{where} cannot be had: {found.get('Error', 'it has another hash')}.")
    path = _definitions_path(name)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.copytree(Path(found["Dir"]) / DEFINITIONS[name], staged)
    staged.chmod(0o755)
    staged.replace(path)


def _link_options() -> str:
    """Without the version, the API server would call itself v0.0.0, which no chart accepts."""
    release = version()
    stamps = {"gitVersion": f"v{release}", "gitMajor": "1", "gitMinor": release.split(".")[1], "gitTreeState": "clean"}
    return " ".join(["-s -w", *(f"-X {where}.{key}={value}" for where in _VERSIONED for key, value in stamps.items())])
