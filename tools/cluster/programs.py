"""The programs of the cluster: Kubernetes, built from the Go modules that go.sum pins, and packages of Debian."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

RECIPE: Final = Path(__file__).with_name("binaries")
COMMANDS: Final = (
    "kube-apiserver",
    "kubelet",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubectl",
)
_PAUSE: Final = "pause"
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
    text = (RECIPE / "go.mod").read_text(encoding="utf-8")
    found = re.search(r"^(?:\s*|require )k8s\.io/kubernetes v(\S+)", text, re.MULTILINE)
    if found is None:
        raise NotBuilt(f"{RECIPE / 'go.mod'} names no release of Kubernetes.")
    return found[1]


def folder() -> Path:
    """Where the built programs lie, outside the tree, so that every checkout of this user shares them."""
    cache = os.environ.get("NIMIFY_CLUSTER_CACHE") or Path.home() / ".cache" / "nimify-cluster"
    return Path(cache) / f"v{version()}"


def program(name: str) -> str:
    """The path of a built program.

    Raises:
        NotBuilt: It is not there.
    """
    path = folder() / name
    if not path.is_file():
        raise NotBuilt(f"{path} is missing; build it with: python -m tools.cluster build")
    return str(path)


def pause() -> Path:
    """The program that holds a pod's namespaces, linked statically."""
    return Path(program(_PAUSE))


def build() -> None:
    """Install and build what is missing.

    Raises:
        NotBuilt: Something cannot be had.
    """
    _install()
    go = shutil.which("go")
    for name in (*COMMANDS, _PAUSE):
        if (folder() / name).is_file():
            continue
        if go is None:
            raise NotBuilt(f"Go is missing; it builds {name}.")
        start_s = time.monotonic()
        sys.stderr.write(f"Building {name} ...\n")
        _compile(go, name)
        sys.stderr.write(f"  done in {time.monotonic() - start_s:.0f} s\n")


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
    package = f"./{_PAUSE}" if name == _PAUSE else f"k8s.io/kubernetes/cmd/{name}"
    staged = folder() / f".{name}.{os.getpid()}"
    command = [go, "build", "-trimpath", "-p", "2", "-ldflags", _link_options(), "-o", str(staged), package]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    folder().mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["nice", "-n", "10", *command], cwd=RECIPE, env=environment, check=False)
    if done.returncode:
        raise NotBuilt(f"{name} cannot be built: go ended with {done.returncode}.")
    staged.replace(folder() / name)


def _link_options() -> str:
    """Without the version, the API server would call itself v0.0.0, which no chart accepts."""
    release = version()
    stamps = {"gitVersion": f"v{release}", "gitMajor": "1", "gitMinor": release.split(".")[1], "gitTreeState": "clean"}
    return " ".join(["-s -w", *(f"-X {where}.{key}={value}" for where in _VERSIONED for key, value in stamps.items())])
