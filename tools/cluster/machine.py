"""What a node changes on its machine, and how that is taken back: sysctls, a link, folders, cgroups, mounts, iptables.

Only what carries the cluster's own names or lies below its own folder is ever removed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from tools.cluster.journal import Journal
from tools.cluster.layout import CGROUP, LINK, NODE_ADDRESS

CNI_NETWORK: Final = "nimify-cluster"
_CGROUPS: Final = Path("/sys/fs/cgroup")
_SYSCTLS: Final = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
"""Those that kubelet, kube-proxy and the network plugin set."""
_FOLDERS: Final = tuple(
    map(
        Path,
        (
            "/opt/containerd",
            "/run/containerd",
            "/run/kubernetes",
            "/var/lib/calico",
            "/var/lib/cni",
            "/var/lib/containerd",
            "/var/lib/kubelet",
            "/var/log/containers",
            "/var/log/pods",
        ),
    )
)
"""Those that the programs make at fixed places; removed again where there was none."""
_CHAIN: Final = "KUBE-"
_END_S: Final = 15.0


class NotOurs(Exception):
    """Another cluster lives on this machine, or it lacks what a node needs."""


def refuse_strangers() -> None:
    """Leave alone a machine on which another node runs.

    Raises:
        NotOurs: It does, or we are not root.
    """
    if os.geteuid() != 0:
        raise NotOurs("A node needs root.")
    if any(_CHAIN in line for line in _rules("iptables")):
        raise NotOurs("iptables holds rules of another Kubernetes node; a second one on this machine would break both.")


def prepare(journal: Journal) -> None:
    """Note what will be changed, and make the node's link and its cgroup."""
    for name in _SYSCTLS:
        with suppress(OSError):
            journal.note("sysctl", name, (Path("/proc/sys") / name).read_text().strip())
    for folder in _FOLDERS:
        if not folder.exists():
            journal.note("folder", str(folder))
    if "-P FORWARD DROP" in _run("iptables", "--list-rules", "FORWARD", check=False).splitlines():
        journal.note("forward-drop")  # a dockerd did that
        _run("iptables", "--policy", "FORWARD", "ACCEPT")
    journal.note("link", LINK)
    _run("ip", "link", "add", LINK, "type", "bridge")
    _run("ip", "addr", "add", f"{NODE_ADDRESS}/32", "dev", LINK)
    _run("ip", "link", "set", LINK, "up")
    for hierarchy in _hierarchies():
        group = hierarchy / CGROUP
        group.mkdir(exist_ok=True)
        # A new group of cgroup v1 may use no processor until it is told which.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (group / name).exists():
                (group / name).write_text((hierarchy / name).read_text())


def end_pods(state: Path) -> None:
    """End every process of every pod, and the shims that held them."""
    deadline_s = time.monotonic() + _END_S
    while (processes := {*_cgroup_processes(), *_shims(state)}) and time.monotonic() < deadline_s:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)


def shim_sockets(state: Path) -> list[Path]:
    """The sockets that containerd's shims listen on, outside of the state folder."""
    found = []
    for note in state.glob("containerd/run/io.containerd.runtime.v2.task/*/*/address"):
        path = note.read_text().strip().removeprefix("unix://")
        if path.startswith("/run/containerd/s/"):
            found.append(Path(path))
    return found


def restore(journal: Journal, state: Path) -> None:
    """Take back what `prepare` noted and what the node did since; every daemon and pod has ended."""
    sockets = shim_sockets(state)
    _unmount_below(state)
    for socket in sockets:
        socket.unlink(missing_ok=True)
    for command in ("iptables", "ip6tables"):
        _remove_chains(command)
    if journal.entries("forward-drop"):
        _run("iptables", "--policy", "FORWARD", "DROP")
    for (link,) in journal.entries("link"):
        _run("ip", "link", "delete", link, check=False)
    for hierarchy in _hierarchies():
        _remove_cgroup(hierarchy / CGROUP)
    _remove_network_results()
    for (folder,) in journal.entries("folder"):
        _unmount_below(Path(folder))
        shutil.rmtree(folder, ignore_errors=True)
    for name, value in journal.entries("sysctl"):
        path = Path("/proc/sys") / name
        if path.read_text().strip() != value:
            path.write_text(value)


def _hierarchies() -> Iterator[Path]:
    """The roots of the cgroup v1 controllers, or that of cgroup v2."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        path = Path(fields.split()[4])
        if kind.split()[0] in {"cgroup", "cgroup2"} and path.is_relative_to(_CGROUPS):
            yield path


def _cgroup_processes() -> Iterator[int]:
    for hierarchy in _hierarchies():
        for file in (hierarchy / CGROUP).rglob("cgroup.procs"):
            with suppress(OSError):
                yield from map(int, file.read_text().split())


def _shims(state: Path) -> Iterator[int]:
    """Containerd's shims that were given our socket."""
    address = os.fsencode(state / "containerd.sock")
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = file.read_bytes().split(b"\0")
            if words[0].rpartition(b"/")[2].startswith(b"containerd-shim") and address in words:
                yield int(file.parent.name)


def _remove_cgroup(group: Path) -> None:
    for folder in sorted(group.rglob("*/"), key=lambda path: len(path.parts), reverse=True):
        _rmdir(folder)
    _rmdir(group)


def _rmdir(folder: Path) -> None:
    """Remove a cgroup; its last process may take a moment to be gone."""
    deadline_s = time.monotonic() + _END_S
    while folder.is_dir():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline_s:
                return
            time.sleep(0.05)


def _remove_network_results() -> None:
    """Remove what the network library remembers of our pods; their loopbacks belong to a network that is not ours."""
    folder = Path("/var/lib/cni/results")
    for result in folder.glob(f"{CNI_NETWORK}-*-eth0"):
        pod = result.name.removeprefix(f"{CNI_NETWORK}-").removesuffix("-eth0")
        (folder / f"cni-loopback-{pod}-lo").unlink(missing_ok=True)
        result.unlink()


def _unmount_below(folder: Path) -> None:
    """Unmount everything below a folder, what was mounted last first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if Path(point).is_relative_to(folder):
            points.append(point)
    for point in reversed(points):
        _run("umount", "--lazy", point, check=False)


def _remove_chains(command: str) -> None:
    """Remove the chains of kube-proxy, and the rules of other chains that lead to them; empty tables stay."""
    table = ""
    chains: list[tuple[str, str]] = []
    for line in _rules(command):
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(f":{_CHAIN}"):
            chains.append((table, line[1:].split()[0]))
        elif line.startswith("-A ") and not line.startswith(f"-A {_CHAIN}") and f" -j {_CHAIN}" in line:
            # --delete takes a rule as iptables-save writes it, a quoted comment and all.
            _restore(command, f"*{table}\n-D {line[3:]}\nCOMMIT\n")
    for verb in ("--flush", "--delete-chain"):
        for table, chain in chains:
            _run(command, "--table", table, verb, chain, check=False)


def _rules(command: str) -> list[str]:
    return _run(f"{command}-save", check=False).splitlines()


def _restore(command: str, text: str) -> None:
    subprocess.run([f"{command}-restore", "--noflush"], input=text, text=True, capture_output=True, check=False)


def _run(*command: str, check: bool = True) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=check).stdout
