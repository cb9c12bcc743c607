"""Stands in for `kubectl` at a cluster with the NIM Operator and KServe: an API server's store, and what they make.

State is one JSON file, FAKE_CLUSTER. The tag of the image decides what becomes of a resource: `good`, `pull`, `crash`,
`refused` (the operator says that it failed), `slow` (nothing happens). `lag` is how many times the operator's work is
still that for the resource before; `forbidden`, `kinds`, `port`, `fail` and the file `calls` are as in fake_cluster.py.
"""

from __future__ import annotations

import copy
import fcntl
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

FILE: Final = Path(os.environ["FAKE_CLUSTER"])
LOCK: Final = FILE.with_suffix(".lock").open("w")
fcntl.flock(LOCK, fcntl.LOCK_EX)  # the Lease is renewed beside everything else
STATE: Final[dict[str, Any]] = json.loads(FILE.read_text())
STORE: Final[dict[str, Any]] = STATE.setdefault("store", {})
LABELS: Final = {"app": "tiny"}
RESOURCES: Final = {
    "NIMService": "nimservices.apps.nvidia.com",
    "InferenceService": "inferenceservices.serving.kserve.io",
    "Lease": "leases.coordination.k8s.io",
    "ControllerRevision": "controllerrevisions.apps",
}


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


def key_of(document: dict[str, Any]) -> str:
    return f"{RESOURCES[document['kind']]}/{document['metadata']['name']}"


def service() -> dict[str, Any] | None:
    """The custom resource as its operator has seen it so far."""
    found = next((item for key, item in STORE.items() if key.startswith(("nim", "inf"))), None)
    if found is not None and STATE.get("lagging", 0) > 0 and STATE.get("before"):
        STATE["lagging"] -= 1
        return dict(STATE["before"])
    return found


def container(document: dict[str, Any]) -> dict[str, Any]:
    spec = document["spec"]
    if document["kind"] == "NIMService":
        image = f"{spec['image']['repository']}:{spec['image']['tag']}"
        return {"name": f"{document['metadata']['name']}-ctr", "image": image, "env": spec.get("env", [])}
    return dict(spec["predictor"]["containers"][0])


def fate(document: dict[str, Any]) -> str:
    tag = str(container(document)["image"].rpartition(":")[2])
    return tag if tag in {"pull", "crash", "refused", "slow"} else "good"


def deployment() -> dict[str, Any] | None:
    document = service()
    if document is None:
        return None
    name = document["metadata"]["name"] + ("" if document["kind"] == "NIMService" else "-predictor")
    generation = document["metadata"]["generation"]
    available = int(fate(document) == "good")
    return {
        "metadata": {"name": name, "namespace": "default", "generation": generation, "annotations": {}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": LABELS},
            "template": {"spec": {"containers": [container(document)]}},
        },
        "status": {
            "observedGeneration": generation,
            "replicas": 1,
            "updatedReplicas": 1,
            "availableReplicas": available,
        },
    }


def pods() -> list[dict[str, Any]]:
    document = service()
    if document is None:
        return []
    kind = fate(document)
    status: dict[str, Any] = {"ready": kind == "good", "restartCount": 3 if kind == "crash" else 0, "state": {}}
    waiting = {"pull": "ImagePullBackOff", "crash": "CrashLoopBackOff"}.get(kind)
    if waiting:
        status["state"] = {"waiting": {"reason": waiting, "message": "Back-off"}}
    if kind == "crash":
        status["lastState"] = {"terminated": {"reason": "Error", "exitCode": 3}}
    ready = {"type": "Ready", "status": "True" if kind == "good" else "False", "message": "containers are not ready"}
    return [
        {
            "metadata": {"name": f"tiny-{document['metadata']['generation']}-pod", "labels": LABELS},
            "spec": {"containers": [container(document)]},
            "status": {"phase": "Running", "conditions": [ready], "containerStatuses": [status]},
        }
    ]


def with_status(document: dict[str, Any]) -> dict[str, Any]:
    """The resource with what its operator says of it."""
    seen = service() or document
    kind, generation = fate(seen), seen["metadata"]["generation"]
    good, refused = str(kind == "good"), kind == "refused"
    if document["kind"] == "NIMService":
        condition = {"status": good, "message": "deployment is not ready", "reason": "NotReady"}
        found: list[dict[str, Any]] = [{"type": "NIM_SERVICE_READY", **condition}]
        if refused:
            wrong = {"reason": "ReconcileFailed", "message": "no such storage class", "observedGeneration": generation}
            found.append({"type": "NIM_SERVICE_FAILED", "status": "True", **wrong})
        state = "Failed" if refused else "Ready" if kind == "good" else "NotReady"
        model = {"clusterEndpoint": "tiny.default.svc.cluster.local:8000"}
        return {**document, "status": {"state": state, "conditions": found, "model": model}}
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "url": "http://tiny.example.com",
        "conditions": [
            {"type": "PredictorReady", "status": good, "message": "the predictor is not ready"},
            {"type": "Ready", "status": good, "reason": "PredictorNotReady"},
        ],
    }
    if refused:
        status["modelStatus"] = {"transitionStatus": "InvalidSpec", "lastFailureInfo": {"message": "no such runtime"}}
    return {**document, "status": status}


def apply(document: dict[str, Any], *, dry_run: bool) -> None:
    key = key_of(document)
    there = STORE.get(key)
    document = copy.deepcopy(document)
    document["spec"]["defaulted"] = "by the API server"
    metadata = document["metadata"]
    generation = 0 if there is None else there["metadata"]["generation"]
    metadata["generation"] = generation + (there is None or there["spec"] != document["spec"])
    if not dry_run:
        STATE["before"], STATE["lagging"] = there, STATE.get("lag", 0)
        STORE[key] = document
    say(json.dumps(document))


def put(verb: str, document: dict[str, Any]) -> None:
    key = key_of(document)
    there = STORE.get(key)
    version = there["metadata"]["resourceVersion"] if there else None
    if verb == "create" and there:
        die("Error from server (AlreadyExists): it exists")
    if verb == "replace" and document["metadata"].get("resourceVersion") != version:
        die("Error from server (Conflict): the object has been modified")
    document["metadata"]["resourceVersion"] = str(int(version or 0) + 1)
    STORE[key] = document


def get(arguments: list[str]) -> None:
    what = arguments[1]
    if what.startswith("--raw=/api/v1/namespaces"):
        say("nim_ready 1")
    elif what.startswith("--raw="):
        group = what.removeprefix("--raw=/apis/").removeprefix("--raw=/api/")
        known = STATE.get("kinds", {}).get(group)
        if known is None:
            die("Error from server (NotFound): the server could not find the requested resource")
        say(json.dumps({"resources": [{"kind": kind} for kind in known]}))
    elif what == "pods":
        say(json.dumps({"items": pods()}))
    elif what == "events":
        say(json.dumps({"items": []}))
    elif arguments[2].startswith("--selector="):
        wanted = dict(pair.split("=") for pair in arguments[2].removeprefix("--selector=").split(","))
        items = [item for key, item in STORE.items() if key.startswith(f"{what}/")]
        say(json.dumps({"items": [item for item in items if wanted.items() <= item["metadata"]["labels"].items()]}))
    elif what == "deployments.apps":
        found = deployment()
        say(json.dumps(found) if found and found["metadata"]["name"] == arguments[2] else "")
    else:
        found = STORE.get(f"{what}/{arguments[2]}")
        if found is not None and found["kind"] in {"NIMService", "InferenceService"}:
            found = with_status(found)
        say(json.dumps(found) if found else "")


def kubectl(verb: str, arguments: list[str]) -> None:
    if verb == "version":
        say(json.dumps({"serverVersion": {"gitVersion": "v1.34.1"}}))
    elif verb == "config":
        say("default")
    elif verb == "auth":
        allowed = " ".join(arguments[2:4]) not in STATE.get("forbidden", [])
        say("yes" if allowed else "no")
        sys.exit(0 if allowed else 1)
    elif verb == "apply":
        apply(json.load(sys.stdin), dry_run="--dry-run=server" in arguments)
    elif verb in {"create", "replace"}:
        put(verb, json.load(sys.stdin))
    elif verb == "delete":
        STORE.pop(f"{arguments[1]}/{arguments[2]}", None)
    elif verb == "get":
        get(arguments)
    elif verb == "logs":
        say("the last words of the pod")
    elif verb == "port-forward":
        say(f"Forwarding from 127.0.0.1:{STATE['port']} -> 8000")
        LOCK.close()
        time.sleep(600)


def main() -> None:
    arguments = sys.argv[1:]
    line = " ".join(["kubectl", *arguments])
    with FILE.with_name("calls").open("a") as calls:
        calls.write(f"{line}\n")
    for beginning, message in STATE.get("fail", {}).items():
        if line.startswith(beginning):
            die(message)
    kubectl(arguments[0], arguments)
    save()


main()
