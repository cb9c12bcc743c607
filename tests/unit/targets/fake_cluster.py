"""Stands in for `helm` and `kubectl`, whichever name it is called by: as much of a cluster as a deployment asks for.

State is one JSON file, FAKE_CLUSTER. The tag of the image decides what becomes of a revision: `good`, `pull`, `crash`,
`probe`, `unschedulable`, `quota`, `deadline`. `forbidden` lists what can-i denies, `port` is where port-forward leads
to, `fail` maps the beginning of a command to an error that it ends with, `fail_once` a part of one that fails
for one time, `kinds` are known beside the usual ones, `calls` is what was asked.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

FILE: Final = Path(os.environ["FAKE_CLUSTER"])
LOCK: Final = FILE.with_suffix(".lock").open("w")
fcntl.flock(LOCK, fcntl.LOCK_EX)  # the Lease is renewed beside everything else
STATE: Final[dict[str, Any]] = json.loads(FILE.read_text())
KINDS: Final = {"/api/v1": ["Service", "ServiceAccount"], "/apis/apps/v1": ["Deployment"]}
LABELS: Final = {"app.kubernetes.io/name": "tiny", "app.kubernetes.io/instance": "tiny"}


def save() -> None:
    temporary = FILE.with_suffix(".new")
    temporary.write_text(json.dumps(STATE))
    temporary.replace(FILE)


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def die(message: str, code: int = 1) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    sys.exit(code)


def live() -> dict[str, Any] | None:
    rows = [row for row in STATE["history"] if row["status"] in {"deployed", "pending-upgrade"}]
    return rows[-1] if rows else None


def supersede() -> None:
    for row in STATE["history"]:
        if row["status"] in {"deployed", "pending-upgrade"}:
            row["status"] = "superseded"


def append(manifest: str, description: str) -> None:
    supersede()
    STATE["history"].append(
        {
            "revision": len(STATE["history"]) + 1,
            "updated": "2026-01-01T00:00:00Z",
            "status": "deployed",
            "app_version": "1.0.0",
            "description": description,
            "manifest": manifest,
        }
    )


def helm(verb: str, arguments: list[str]) -> None:
    options = [argument for argument in arguments if argument.startswith("--")]
    if verb == "version":
        say(STATE.get("helm", "v4.2.4"))
    elif verb == "history":
        if not STATE["history"]:
            die("Error: release: not found")
        say(json.dumps(STATE["history"]))
    elif verb == "get":
        row = live()
        say(row["manifest"] if row else die("Error: release: not found"))
    elif verb in {"upgrade", "template"}:
        if verb == "upgrade" and STATE["history"] and STATE["history"][-1]["status"].startswith("pending-"):
            die("Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress")
        chosen = [option for option in options if option.startswith("--set")]
        manifest = "\n---\n".join(
            f"apiVersion: {api}\nkind: {kind}\nspec: {json.dumps(chosen)}"
            for api, kind in [("v1", "Service"), ("apps/v1", "Deployment"), *map(tuple, STATE.get("extra", []))]
        )
        if "--dry-run=server" in options:
            say(manifest if verb == "template" else json.dumps({"manifest": manifest}))
            return
        description = next(option for option in options if option.startswith("--description=")).partition("=")[2]
        append(manifest, description)
        say(json.dumps({"version": STATE["history"][-1]["revision"]}))
    elif verb == "rollback":
        row = next(row for row in STATE["history"] if row["revision"] == int(arguments[2]))
        append(row["manifest"], f"Rollback to {arguments[2]}")
    elif verb == "uninstall":
        supersede()
        if "--keep-history" in options and STATE["history"]:
            STATE["history"][-1]["status"] = "uninstalled"
        else:
            STATE["history"] = []


def condition(kind: str, status: str, **more: str) -> dict[str, str]:
    return {"type": kind, "status": status, **more}


def present() -> dict[str, Any]:
    return live() or die("there is no release")


def fate() -> str:
    found = re.search(r"image\.tag=(\w*)", present()["manifest"])
    return found[1] if found else "good"


def deployment() -> dict[str, Any]:
    done = fate() == "good"
    conditions = {
        "quota": [condition("ReplicaFailure", "True", reason="FailedCreate", message="exceeded quota")],
        "deadline": [condition("Progressing", "False", reason="ProgressDeadlineExceeded")],
    }.get(fate(), [])
    revision = present()["revision"]
    return {
        "metadata": {
            "name": "tiny",
            "namespace": "default",
            "generation": revision,
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
        },
        "spec": {"replicas": 1, "selector": {"matchLabels": LABELS}},
        "status": {
            "observedGeneration": revision,
            "replicas": 1,
            "updatedReplicas": 1,
            "availableReplicas": int(done),
            "conditions": conditions,
        },
    }


def replica_set() -> dict[str, Any]:
    revision = str(present()["revision"])
    return {
        "metadata": {
            "name": f"tiny-{revision}",
            "labels": {"pod-template-hash": revision},
            "annotations": {"deployment.kubernetes.io/revision": revision},
        }
    }


def pod() -> dict[str, Any]:
    kind, revision = fate(), str(present()["revision"])
    waiting = {"pull": "ImagePullBackOff", "crash": "CrashLoopBackOff", "probe": "CrashLoopBackOff"}.get(kind)
    restarts = 3 if kind in {"crash", "probe"} else 0
    container: dict[str, Any] = {"ready": kind == "good", "restartCount": restarts, "state": {}}
    if waiting:
        container["state"] = {"waiting": {"reason": waiting, "message": "Back-off"}}
    if restarts:
        container["lastState"] = {"terminated": {"reason": "Error", "exitCode": 3}}
    conditions = [condition("Ready", "True" if kind == "good" else "False", message="containers are not ready")]
    if kind == "unschedulable":
        conditions.append(condition("PodScheduled", "False", reason="Unschedulable", message="no GPU"))
    return {
        "metadata": {"name": f"tiny-{revision}-pod", "labels": {"pod-template-hash": revision}},
        "status": {"phase": "Running", "conditions": conditions, "containerStatuses": [container]},
    }


def lease(arguments: list[str]) -> None:
    document, held = json.load(sys.stdin), STATE.get("lease")
    read = document["metadata"].get("resourceVersion")
    there = held["metadata"]["resourceVersion"] if held else None
    if arguments[0] == "create" and held:
        die("Error from server (AlreadyExists): leases exists")
    if arguments[0] == "replace" and read != there:
        die("Error from server (Conflict): the object has been modified")
    document["metadata"]["resourceVersion"] = str(int(there or 0) + 1)
    STATE["lease"] = document


def kubectl(verb: str, arguments: list[str]) -> None:
    what = arguments[1] if len(arguments) > 1 else ""
    if verb == "version":
        say(json.dumps({"serverVersion": {"gitVersion": STATE.get("server", "v1.34.1")}}))
    elif verb == "config":
        say("default")
    elif verb == "auth":
        allowed = " ".join(arguments[2:4]) not in STATE.get("forbidden", [])
        say("yes" if allowed else "no")
        sys.exit(0 if allowed else 1)
    elif verb in {"create", "replace"}:
        lease(arguments)
    elif what.startswith("--raw=/api/v1/namespaces"):
        say("nim_ready 1")
    elif what.startswith("--raw="):
        path = what.removeprefix("--raw=")
        known = (KINDS | STATE.get("kinds", {})).get(path)
        if known is None:
            die("Error from server (NotFound): the server could not find the requested resource")
        say(json.dumps({"resources": [{"kind": kind} for kind in known]}))
    elif what.startswith("leases"):
        say(json.dumps(STATE["lease"]) if STATE.get("lease") else "")
    elif verb == "get":
        makers = {"deployments": deployment, "replicasets": replica_set, "pods": pod}
        items = [makers[what]()] if live() and what in makers else []
        if what == "events" and fate() in {"probe", "crash"}:
            said = ["Startup probe failed: HTTP probe failed with statuscode: 503"]
            if fate() == "probe":
                said.append("Container service failed startup probe, will be restarted")
            items = [{"message": message} for message in said]
        say(json.dumps({"items": items}))
    elif verb == "logs":
        say("the last words of the pod")
    elif verb == "port-forward":
        say(f"Forwarding from 127.0.0.1:{STATE['port']} -> 8000")
        LOCK.close()
        time.sleep(600)


def main() -> None:
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    line = " ".join([program, *arguments])
    with FILE.with_name("calls").open("a") as calls:
        calls.write(f"{line}\n")
    for part, message in STATE.get("fail_once", {}).items():
        if part in line:
            del STATE["fail_once"][part]
            save()
            die(message)
    for beginning, message in STATE.get("fail", {}).items():
        if line.startswith(beginning):
            die(message)
    {"helm": helm, "kubectl": kubectl}[program](arguments[0], arguments)
    if arguments[0] in {"upgrade", "rollback", "uninstall", "create", "replace"}:
        save()


main()
