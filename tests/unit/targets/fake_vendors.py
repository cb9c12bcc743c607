"""Stands in for `aws`, `gcloud` and `az`, whichever name it is called by: as much of each cloud as a deployment asks.

State is one JSON file, FAKE_CLOUD. An image with the tag `bad` never answers. `port` is where a release answers, a real
service; `lag` is how often SageMaker says that it is not done; `fail` maps the beginning of a command to an error that
it ends with; the file `calls` is what was asked.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

FILE: Final = Path(os.environ["FAKE_CLOUD"])
STATE: Final[dict[str, Any]] = json.loads(FILE.read_text())
AWS_NAME: Final = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


def save() -> None:
    temporary = FILE.with_suffix(".new")
    temporary.write_text(json.dumps(STATE))
    temporary.replace(FILE)


def say(data: object) -> None:
    sys.stdout.write((data if isinstance(data, str) else json.dumps(data)) + "\n")


def die(message: str) -> NoReturn:
    save()
    sys.stderr.write(f"{message}\n")
    sys.exit(1)


def shelf(name: str) -> dict[str, Any]:
    """One kind of thing that the cloud keeps, by name."""
    kept: dict[str, Any] = STATE.setdefault(name, {})
    return kept


def loaded(path: str) -> dict[str, Any]:
    sys.path.append(os.environ["FAKE_LIBRARIES"])
    import yaml

    document: dict[str, Any] = yaml.safe_load(Path(path).read_text())
    return document


def asked(path: str, body: bytes) -> bytes:
    """What the release answers, by a real service."""
    import urllib.error
    import urllib.request

    url = f"http://127.0.0.1:{STATE['port']}{path}"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        die(f"the container answered {error.code}: {error.read()[:200].decode()}")


def aws(words: list[str], options: dict[str, str]) -> None:
    verb = words[1] if len(words) > 1 else ""
    given = options.get("cli-input-json", "")
    document = json.loads(Path(given.removeprefix("file://")).read_text()) if given else {}
    endpoint = shelf("endpoints").get(options.get("endpoint-name") or document.get("EndpointName", ""))
    if words[0] == "sts":
        say({"Account": "123456789012"})
    elif words[0] == "logs":
        say({"events": [{"message": f"line {number}\n"} for number in range(9)]})
    elif words[0] == "sagemaker-runtime":
        content = asked("/invocations", Path(options["body"].removeprefix("fileb://")).read_bytes())
        Path(words[2]).write_bytes(content)
        say({"ContentType": "application/json"})
    elif verb in {"create-model", "create-endpoint-config"}:
        kind, key = ("models", "ModelName") if verb == "create-model" else ("configs", "EndpointConfigName")
        if not AWS_NAME.fullmatch(document[key]):
            die("An error occurred (ValidationException): the name is too long, or is none")
        if document[key] in shelf(kind):
            die(f"An error occurred (ValidationException): Cannot create already existing {kind}")
        shelf(kind)[document[key]] = document
    elif verb in {"create-endpoint", "update-endpoint"}:
        name = document.get("EndpointName") or options["endpoint-name"]
        config = document.get("EndpointConfigName") or options["endpoint-config-name"]
        if (verb == "create-endpoint") is (endpoint is not None):
            die("An error occurred (ValidationException): it exists, or does not")
        model = shelf("configs")[config]["ProductionVariants"][0]["ModelName"]
        good = not shelf("models")[model]["PrimaryContainer"]["Image"].endswith(":bad")
        live = config if good or endpoint is None else endpoint["EndpointConfigName"]
        row = {"EndpointName": name, "EndpointConfigName": live, "lag": STATE.get("lag", 0)}
        row["EndpointStatus"] = "InService" if good or endpoint is not None else "Failed"
        row["FailureReason"] = "" if good else "The container did not pass the ping health check."
        shelf("endpoints")[name] = row
    elif verb == "describe-endpoint":
        if endpoint is None:
            die("An error occurred (ValidationException) when calling DescribeEndpoint: Could not find endpoint")
        if endpoint["lag"] > 0:
            endpoint["lag"] -= 1
            say({**endpoint, "EndpointStatus": "Updating"})
        else:
            say(endpoint)
    elif verb == "list-endpoint-configs":
        names = [name for name in shelf("configs") if options["name-contains"] in name]
        say({"EndpointConfigs": [{"EndpointConfigName": name} for name in sorted(names, reverse=True)]})
    elif verb.startswith("delete-"):
        kind = {"delete-endpoint": "endpoints", "delete-model": "models"}.get(verb, "configs")
        option = {"endpoints": "endpoint-name", "models": "model-name", "configs": "endpoint-config-name"}[kind]
        if shelf(kind).pop(options[option], None) is None:
            die("An error occurred (ValidationException): Could not find it")
    else:
        die(f"aws: unknown {words}")


def run_service(words: list[str], options: dict[str, str]) -> None:
    verb, name = words[2], words[-1]
    services = shelf("services")
    if words[1] == "revisions" and verb == "list":
        say([{"metadata": {"name": revision}} for revision in shelf("revisions")])
    elif words[1] == "revisions":
        shelf("revisions").pop(name)
    elif verb == "logs":
        say("a line of the log")
    elif verb == "replace":
        document = loaded(name)
        template = document["spec"]["template"]
        image = template["spec"]["containers"][0]["image"]
        shelf("revisions")[template["metadata"]["name"]] = image
        good = not image.endswith(":bad")
        service = document["metadata"]["name"]
        services[service] = {"traffic": document["spec"]["traffic"], "ready": good}
        if not good:
            die(f"ERROR: (gcloud.run.services.replace) Revision {template['metadata']['name']} is not ready.")
    elif name not in services:
        die(f"ERROR: (gcloud.run.services.{verb}) Cannot find service [{name}]")
    elif verb == "describe":
        service, url = services[name], f"http://127.0.0.1:{STATE['port']}"
        images = shelf("revisions")
        live = [row for row in service["traffic"] if row["percent"]]
        routed = all(not str(images.get(row["revisionName"], "bad")).endswith("bad") for row in live)
        say(
            {
                "status": {
                    "url": url,
                    "traffic": [{**row, "url": url} if "tag" in row else row for row in service["traffic"]],
                    "conditions": [
                        {"type": "Ready", "status": str(service["ready"]), "message": "the revision failed"},
                        {"type": "RoutesReady", "status": str(routed)},
                    ],
                }
            }
        )
    elif verb == "update-traffic":
        revision = options["to-revisions"].removesuffix("=100")
        services[name]["traffic"] = [{"revisionName": revision, "percent": 100}]
        services[name]["ready"] = True
    elif verb == "delete":
        services.pop(name)
        shelf("revisions").clear()


def gcloud_ai(words: list[str], options: dict[str, str]) -> None:
    kind, verb, name = words[1], words[2], words[-1]
    flags = loaded(options["flags-file"]) if "flags-file" in options else {}
    given = {**{f"--{key}": value for key, value in options.items()}, **flags}
    rows = shelf(f"vertex-{kind}")
    if verb == "list":
        say(list(rows.values()))
    elif verb in {"create", "upload"}:
        number = str(STATE.setdefault("number", 100))
        STATE["number"] += 1
        path = f"projects/1/locations/here/{kind}/{number}"
        rows[number] = {"name": path, "displayName": given["--display-name"], "deployedModels": [], "given": given}
    elif verb == "delete":
        rows.pop(name)
    elif verb == "raw-predict":
        say(asked("/predict", Path(options["request"].removeprefix("@")).read_bytes()).decode())
    elif verb == "update":
        deployed, _, share = options["traffic-split"].partition("=")
        rows[name]["trafficSplit"] = {deployed: int(share)}
    elif verb == "undeploy-model":
        chosen = options["deployed-model-id"]
        rows[name]["deployedModels"] = [row for row in rows[name]["deployedModels"] if row["id"] != chosen]
        rows[name].get("trafficSplit", {}).pop(chosen, None)
    elif verb == "deploy-model":
        model = shelf("vertex-models")[options["model"]]
        if model["given"]["--container-image-uri"].endswith(":bad"):
            die("ERROR: (gcloud.ai.endpoints.deploy-model) Model server never became ready.")
        deployed = str(STATE["number"])
        STATE["number"] += 1
        machine = {"machineType": given["--machine-type"]}
        row = {"id": deployed, "displayName": given["--display-name"], "dedicatedResources": {"machineSpec": machine}}
        rows[name]["deployedModels"].append(row)
        rows[name]["trafficSplit"] = {deployed: 100}
    else:
        die(f"gcloud: unknown {words}")


def gcloud(words: list[str], options: dict[str, str]) -> None:
    if words[:2] == ["auth", "list"]:
        say("somebody@example.com")
    elif words[:2] == ["auth", "print-identity-token"]:
        say("a-token")
    elif words[0] == "logging":
        say("a line of the log")
    elif words[0] == "run":
        run_service(words, options)
    else:
        gcloud_ai(words, options)


def az(words: list[str], options: dict[str, str]) -> None:
    if words[0] != "ml":
        say({})
        return
    kind, verb = words[1], words[2]
    document = loaded(options["file"]) if "file" in options else {}
    name = options.get("name", "")
    endpoints, deployments = shelf("az-endpoints"), shelf("az-deployments")
    if verb == "create" and kind == "online-endpoint":
        endpoints[document["name"]] = {
            "provisioning_state": "Succeeded",
            "traffic": {},
            "scoring_uri": "https://x/score",
        }
    elif verb == "create":
        good = not document["environment"]["image"].endswith(":bad")
        deployments[document["name"]] = {
            "name": document["name"],
            "provisioning_state": "Succeeded" if good else "Failed",
        }
        if not good:
            die("ERROR: (ImageBuildFailure) the container did not come up")
    elif verb == "list":
        say(list(deployments.values()))
    elif verb == "invoke":
        say(json.dumps(asked("/score", Path(options["request-file"]).read_bytes()).decode()))
    elif verb == "get-logs":
        say("a line of the log")
    elif verb == "update":
        chosen, _, share = options["traffic"].partition("=")
        endpoints[name]["traffic"] = {chosen: int(share)}
    elif name not in (rows := endpoints if kind == "online-endpoint" else deployments):
        die("ERROR: (ResourceNotFound) it could not be found")
    elif verb == "show":
        say(rows[name])
    elif verb == "delete":
        rows.pop(name)
        if kind == "online-endpoint":
            deployments.clear()


def main() -> None:
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    line = " ".join([program, *arguments])
    with FILE.with_name("calls").open("a") as calls:
        calls.write(f"{line}\n")
    for beginning, message in STATE.get("fail", {}).items():
        if line.startswith(beginning):
            die(message)
    if "--cli-input-json" in arguments:  # the one option whose value is an argument of its own
        place = arguments.index("--cli-input-json")
        arguments[place : place + 2] = ["=".join(arguments[place : place + 2])]
    words = [argument for argument in arguments if not argument.startswith("--")]
    options = dict(argument[2:].partition("=")[::2] for argument in arguments if argument.startswith("--"))
    {"aws": aws, "gcloud": gcloud, "az": az}[program](words, options)
    save()


main()
