"""Up and down."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from tools.cluster import control_plane, machine, monitoring, names, node, programs
from tools.cluster.credentials import write_credentials
from tools.cluster.daemons import Daemon, DaemonFailed, await_that, crash, start, stop_all
from tools.cluster.journal import Journal
from tools.cluster.layout import NODE, STATE, Layout, new_layout
from tools.cluster.pause import write_pause_image

_JOURNAL: Final = STATE / "journal"
_LAYOUT: Final = STATE / "layout.json"


def up() -> None:
    """Start the cluster; returns when its node is ready. Nothing when it is up already.

    Raises:
        DaemonFailed, NotBuilt, NotOurs: It could not be; what was begun is undone, but for the logs.
    """
    if _LAYOUT.exists():
        sys.stderr.write("The cluster is up already; end it with: make cluster-down\n")
        return
    begin_s = time.monotonic()
    down()
    machine.refuse_strangers()
    for name in programs.COMMANDS:
        programs.program(name)
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(mode=0o700)
    layout = new_layout()
    try:
        _start(layout)
    except BaseException:
        down(keep_logs=True)
        raise
    _LAYOUT.write_text(json.dumps(layout.ports), encoding="utf-8")
    sys.stderr.write(f"Kubernetes {programs.version()} is up after {time.monotonic() - begin_s:.0f} s.\n")
    sys.stdout.write(f"export KUBECONFIG={layout.kubeconfig('admin')}\n")
    sys.stdout.write(f"export PATH={programs.folder()}:$PATH\n")
    sys.stdout.write(f"# registry: {layout.registry}, Prometheus: {layout.prometheus}\n")


def present() -> Layout | None:
    """The cluster that is up."""
    return Layout(STATE, json.loads(_LAYOUT.read_text(encoding="utf-8"))) if _LAYOUT.exists() else None


def restart_api_server(layout: Layout) -> None:
    """Kill the API server as a crash would, start it again, and wait until it is ready."""
    journal, logs = Journal(_JOURNAL), layout.state / "logs"
    daemon = control_plane.api_server(layout)
    crash(daemon.name, journal)
    start(daemon, journal, logs)
    await_that("the API server is ready again", lambda: _ready(layout), journal, logs)


def crash_registry(layout: Layout) -> None:
    """End the image registry as a crash would."""
    crash("registry", Journal(_JOURNAL))


def restart_registry(layout: Layout) -> None:
    """Start the image registry again, with the images that it had."""
    journal, logs = Journal(_JOURNAL), layout.state / "logs"
    start(node.registry(layout), journal, logs)
    await_that("the registry answers", lambda: _answers(f"http://{layout.registry}/v2/"), journal, logs)


def serve_custom_metrics(layout: Layout, rules: str) -> None:
    """Serve the API of custom metrics, by rules in the form of prometheus-adapter; returns when it answers."""
    journal, logs = Journal(_JOURNAL), layout.state / "logs"
    start(monitoring.prometheus_adapter(layout, rules), journal, logs)
    _apply(layout, monitoring.api_objects("custom-metrics", layout))
    await_that("the API of custom metrics answers", lambda: _available(layout, "custom-metrics"), journal, logs)


def crash_custom_metrics(layout: Layout) -> None:
    """End prometheus-adapter as a crash would; its API stays, and answers no more."""
    crash("custom-metrics", Journal(_JOURNAL))


def remove_custom_metrics(layout: Layout) -> None:
    """Take the API of custom metrics away: with one that does not answer, no namespace could be deleted."""
    crash_custom_metrics(layout)
    _kubectl(layout, "delete", "apiservice", monitoring.api_service("custom-metrics"), "--ignore-not-found")


def down(*, keep_logs: bool = False) -> None:
    """End the cluster, and restore what it changed on this machine; nothing when there is none."""
    if not _JOURNAL.exists():
        return
    begin_s = time.monotonic()
    journal = Journal(_JOURNAL)
    _LAYOUT.unlink(missing_ok=True)
    stop_all(journal)
    machine.end_pods(STATE)
    machine.restore(journal, STATE)
    _JOURNAL.unlink()
    if keep_logs:
        return
    shutil.rmtree(STATE)
    sys.stderr.write(f"The cluster is down after {time.monotonic() - begin_s:.0f} s.\n")


def _start(layout: Layout) -> None:
    journal, logs = Journal(_JOURNAL), layout.state / "logs"
    logs.mkdir()
    write_credentials(layout)
    machine.prepare(journal)

    def run(daemon: Daemon) -> None:
        start(daemon, journal, logs)

    run(control_plane.etcd(layout))
    run(node.containerd(layout))
    run(node.registry(layout))
    run(control_plane.api_server(layout))
    await_that("containerd answers", lambda: _succeeds(*_ctr(layout), "version"), journal, logs)
    archive = layout.state / "pause.tar"
    write_pause_image(programs.pause(), archive)
    subprocess.run([*_ctr(layout), "--namespace=k8s.io", "images", "import", str(archive)], check=True, stdout=2)
    await_that("the API server is ready", lambda: _ready(layout), journal, logs)
    run(control_plane.controllers(layout))
    run(control_plane.scheduler(layout))
    run(node.kubelet(layout))
    run(node.kube_proxy(layout))
    _start_monitoring(layout, journal, logs)
    _apply(layout, names.objects(layout))
    run(names.name_service(layout))
    await_that("the node is ready", lambda: _node_ready(layout), journal, logs)
    await_that("names are known", lambda: _answers(names.ready_url(layout)), journal, logs)
    await_that("the API of metrics answers", lambda: _available(layout, "metrics"), journal, logs)


def _start_monitoring(layout: Layout, journal: Journal, logs: Path) -> None:
    folder = programs.definitions("prometheus-operator")
    definitions = [f"--filename={folder / f'monitoring.coreos.com_{kind}.yaml'}" for kind in monitoring.KINDS]
    _kubectl(layout, "apply", "--server-side", *definitions)
    _kubectl(layout, "wait", "--for=condition=Established", *definitions, "--timeout=60s")
    _apply(layout, monitoring.objects(layout))
    for make in (
        monitoring.operator,
        monitoring.prometheus,
        monitoring.prometheus_config,
        monitoring.metrics_server,
    ):
        start(make(layout), journal, logs)


def _kubectl(layout: Layout, *arguments: str, stdin: str | None = None) -> str:
    command = [programs.program("kubectl"), f"--kubeconfig={layout.kubeconfig('admin')}", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DaemonFailed(f"kubectl {' '.join(arguments[:2])}: {done.stderr.strip()}")
    return done.stdout


def _apply(layout: Layout, documents: list[dict[str, Any]]) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": documents}
    _kubectl(layout, "apply", "--server-side", "--filename=-", stdin=json.dumps(listed))


def _ctr(layout: Layout) -> tuple[str, str]:
    return "/usr/bin/ctr", f"--address={layout.containerd}"


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _ready(layout: Layout) -> bool:
    trusted = ssl.create_default_context(cafile=str(layout.state / "pki" / "ca.crt"))
    return _answers(f"{layout.api}/readyz", trusted)


def _answers(url: str, trusted: ssl.SSLContext | None = None) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5, context=trusted) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _node_ready(layout: Layout) -> bool:
    query = "--output=jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    return _asked(layout, "get", "node", NODE, query) == "True"


def _available(layout: Layout, name: str) -> bool:
    query = "--output=jsonpath={.status.conditions[?(@.type=='Available')].status}"
    return _asked(layout, "get", "apiservice", monitoring.api_service(name), query) == "True"


def _asked(layout: Layout, *arguments: str) -> str:
    try:
        return _kubectl(layout, *arguments)
    except DaemonFailed:
        return ""
