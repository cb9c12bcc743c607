"""The `vertex` target: a model and an endpoint of Vertex AI.

`gcloud` takes its options from files here (`--flags-file`), so that what is asked for can be read and kept. A release
is an uploaded model; only the live one is deployed, which costs. The namespace is `PROJECT/REGION`, or the region.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nimify.artifacts.yaml_file import yaml_text
from nimify.errors import ConfigError, EnvironmentProblem
from nimify.findings import Finding, Severity
from nimify.programs import Program, ProgramFailed
from nimify.serving.platform import PLATFORM_VARIABLE, VERTEX
from nimify.targets.cloud.cloud import Cloud, Release, State
from nimify.targets.cloud.google import check_signed_in
from nimify.targets.cloud.place import options_of
from nimify.targets.cloud.tag import Tag
from nimify.targets.cloud.target import CloudTarget
from nimify.targets.settings import typed
from nimify.targets.target import Order, Reference

UPLOAD, DEPLOY = "upload.yaml", "deploy.yaml"
_LABEL: Final = "nimify-service"
_MACHINE: Final = re.compile(r"[a-z0-9]{1,10}-[a-z0-9-]{1,40}")
_ACCELERATOR: Final = re.compile(r"|[a-z0-9][a-z0-9-]{0,62}")
_PORT: Final = 8080
_NEW: Final = "0"
"""How `deploy-model` calls the model that it is about to deploy."""


@dataclass(frozen=True, slots=True)
class VertexSettings:
    """How the model is deployed.

    Attributes:
        machine: Empty for `n1-standard-2`, or `g2-standard-4` where the image is of the Triton family.
        gpu: Kind of GPU; empty for none, or `nvidia-l4` where the image is of the Triton family.
        replicas: How many at least.
        most_replicas: How many at most; 0 for as many as `replicas`.
    """

    machine: str = ""
    gpu: str = ""
    replicas: int = 1
    most_replicas: int = 0

    @classmethod
    def parse(cls, given: Mapping[str, str], plan: Mapping[str, Any]) -> VertexSettings:
        """Settings as they were typed; what was left open follows the plan.

        Raises:
            ConfigError: One is unknown or wrong.
        """
        values = typed(cls, given, target=VERTEX)
        on_gpu = plan.get("deployment.family") == "triton"
        values["machine"] = values.get("machine") or ("g2-standard-4" if on_gpu else "n1-standard-2")
        if on_gpu:
            values.setdefault("gpu", "nvidia-l4")
        values["most_replicas"] = values.get("most_replicas") or values.get("replicas", 1)
        settings = cls(**values)
        for name, pattern in (("machine", _MACHINE), ("gpu", _ACCELERATOR)):
            if not pattern.fullmatch(getattr(settings, name)):
                raise ConfigError(f"'{getattr(settings, name)}' is none.", field=f"--set {name}")
        if not 1 <= settings.replicas <= settings.most_replicas:
            raise ConfigError("must be from 1 to most_replicas.", field="--set replicas")
        return settings


class Vertex:
    """An endpoint of Vertex AI; see `Cloud`."""

    tool = "Google Cloud CLI"
    sign_in = "gcloud auth login"
    longest_name = 48

    def __init__(self, reference: Reference) -> None:
        self._name = reference.name
        self._options = (*options_of(reference.namespace, ("project", "region")), "--quiet")
        self.program = Program("gcloud")

    def files(self, order: Order, tag: Tag, live: Tag | None) -> Mapping[str, bytes]:
        """See `Cloud.files`: the options of the two calls that take some."""
        if order.bundle is None:
            raise ValueError("an order without a bundle has no files")
        settings = VertexSettings.parse(order.settings, order.bundle.decided())
        upload = {
            "--display-name": f"{self._name}-{tag}",
            "--container-image-uri": order.image,
            "--container-ports": str(_PORT),
            "--container-health-route": "/health",
            "--container-predict-route": "/predict",
            "--container-env-vars": {PLATFORM_VARIABLE: VERTEX, "NIMIFY_GRPC": "0"},
            "--labels": {_LABEL: self._name},
        }
        deploy: dict[str, Any] = {
            "--display-name": str(tag),
            "--machine-type": settings.machine,
            "--min-replica-count": settings.replicas,
            "--max-replica-count": settings.most_replicas,
            "--traffic-split": {_NEW: 100},
        }
        if settings.gpu:
            deploy["--accelerator"] = {"type": settings.gpu, "count": 1}
        return {UPLOAD: yaml_text(upload).encode(), DEPLOY: yaml_text(deploy).encode()}

    def findings(self, order: Order) -> Iterator[Finding]:
        """See `Cloud.findings`."""
        if ".pkg.dev/" not in order.image:
            message = f"Vertex AI takes images from Artifact Registry, and '{order.image}' is not there."
            yield Finding("vertex.registry", Severity.WARNING, message, "Push the image to Artifact Registry.")

    def by_hand(self, release: Release, state: State) -> Sequence[str]:
        """See `Cloud.by_hand`."""
        make = [] if state.present else [["ai", "endpoints", "create", f"--display-name={self._name}"]]
        commands = [
            *make,
            ["ai", "models", "upload", f"--flags-file={release.file(UPLOAD)}"],
            ["ai", "endpoints", "deploy-model", "ENDPOINT", "--model=MODEL", f"--flags-file={release.file(DEPLOY)}"],
        ]
        return [shlex.join(["gcloud", *command, *self._options]) for command in commands]

    def check_signed_in(self) -> None:
        """See `Cloud.check_signed_in`."""
        check_signed_in(self.program)

    def state(self) -> State:
        """See `Cloud.state`."""
        endpoint = self._endpoint()
        if endpoint is None or not endpoint.get("deployedModels"):
            return State()
        live = self._deployed(endpoint, lambda row: _share(endpoint, row) > 0)
        word = "deployed" if live is not None else "no traffic"
        return State(
            present=True,
            live=None if live is None else Tag.parse(str(live.get("displayName", ""))),
            healthy=live is not None,
            word=word,
            reason="" if live is not None else "no model gets its traffic",
        )

    def releases(self) -> list[Tag]:
        """See `Cloud.releases`: the uploaded models."""
        return sorted(self._models())

    def bring(self, release: Release, state: State, *, timeout_s: float) -> None:
        """See `Cloud.bring`; requests go to it when its machines are up."""
        if self._endpoint() is None:
            self.program.run(
                "ai", "endpoints", "create", f"--display-name={self._name}", *self._options, timeout_s=timeout_s
            )
        flags = f"--flags-file={release.file(UPLOAD)}"
        self.program.run("ai", "models", "upload", flags, *self._options, timeout_s=timeout_s)
        self._deploy(release.tag, [f"--flags-file={release.file(DEPLOY)}"], timeout_s=timeout_s)

    def switch(self, tag: Tag, *, timeout_s: float) -> None:
        """See `Cloud.switch`; a model that is not deployed any more is deployed as the present one is."""
        endpoint = self._endpoint() or {}
        there = self._deployed(endpoint, lambda row: row.get("displayName") == str(tag))
        if there is not None:
            split = f"--traffic-split={there['id']}=100"
            command = ("ai", "endpoints", "update", _id(endpoint), split)
            self.program.run(*command, *self._options, timeout_s=timeout_s)
            return
        self._deploy(tag, [f"--display-name={tag}", f"--traffic-split={_NEW}=100", *_as(endpoint)], timeout_s=timeout_s)

    def ask(self, tag: Tag, body: Path, *, timeout_s: float) -> bytes:
        """See `Cloud.ask`; `rawPredict` passes on any body."""
        command = ("ai", "endpoints", "raw-predict", _id(self._endpoint() or {}), f"--request=@{body}")
        header = "--http-headers=Content-Type=application/json"
        return self.program.run(*command, header, *self._options, timeout_s=timeout_s).encode()

    def retire(self, live: Tag) -> None:
        """See `Cloud.retire`: whatever else is deployed."""
        endpoint = self._endpoint() or {}
        for row in endpoint.get("deployedModels", []):
            if row.get("displayName") != str(live):
                self._undeploy(endpoint, row)

    def discard(self, tag: Tag) -> None:
        """See `Cloud.discard`."""
        endpoint = self._endpoint() or {}
        row = self._deployed(endpoint, lambda row: row.get("displayName") == str(tag))
        if row is not None:
            self._undeploy(endpoint, row)
        if tag in (models := self._models()):
            self.program.run("ai", "models", "delete", models[tag], *self._options, timeout_s=300.0)

    def stop(self) -> None:
        """See `Cloud.stop`; the endpoint and the models stay, and cost nothing."""
        endpoint = self._endpoint() or {}
        for row in endpoint.get("deployedModels", []):
            self._undeploy(endpoint, row)

    def purge(self) -> None:
        """See `Cloud.purge`."""
        if (endpoint := self._endpoint()) is not None:
            self.program.run("ai", "endpoints", "delete", _id(endpoint), *self._options, timeout_s=300.0)
        for model in self._models().values():
            self.program.run("ai", "models", "delete", model, *self._options, timeout_s=300.0)

    def logs(self, *, lines: int, follow: bool) -> Iterator[str]:
        """See `Cloud.logs`."""
        endpoint = _id(self._endpoint() or {})
        if follow:
            raise EnvironmentProblem(
                "Vertex AI's logs are read, not followed.", remedy="Follow them with: gcloud beta logging tail"
            )
        where = f'resource.type="aiplatform.googleapis.com/Endpoint" resource.labels.endpoint_id="{endpoint}"'
        # Options for a region are not for this command.
        project = [option for option in self._options if not option.startswith("--region=")]
        said = "--format=value(textPayload,jsonPayload.message)"
        newest = self.program.lines("logging", "read", where, f"--limit={lines}", "--order=desc", said, *project)
        return reversed(list(newest))

    def _deploy(self, tag: Tag, options: Sequence[str], *, timeout_s: float) -> None:
        model = self._models().get(tag)
        if model is None:
            raise ProgramFailed(f"Vertex AI does not know the model of release {tag}")
        command = ("ai", "endpoints", "deploy-model", _id(self._endpoint() or {}), f"--model={model}")
        self.program.run(*command, *options, *self._options, timeout_s=timeout_s)

    def _undeploy(self, endpoint: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        command = ("ai", "endpoints", "undeploy-model", _id(endpoint), f"--deployed-model-id={row['id']}")
        self.program.run(*command, *self._options, timeout_s=600.0)

    def _endpoint(self) -> dict[str, Any] | None:
        found: list[dict[str, Any]] = self.program.json(
            "ai", "endpoints", "list", f"--filter=display_name={self._name}", "--format=json", *self._options
        )
        # The filter may match more than the whole name.
        return next((row for row in found if row.get("displayName") == self._name), None)

    def _models(self) -> dict[Tag, str]:
        """The ids of the uploaded models, by release."""
        found: list[dict[str, Any]] = self.program.json(
            "ai", "models", "list", f"--filter=labels.{_LABEL}={self._name}", "--format=json", *self._options
        )
        tags = {Tag.parse(str(row.get("displayName", "")), before=f"{self._name}-"): _id(row) for row in found}
        return {tag: model for tag, model in tags.items() if tag is not None}

    def _deployed(self, endpoint: Mapping[str, Any], wanted: Any) -> dict[str, Any] | None:
        return next((row for row in endpoint.get("deployedModels", []) if wanted(row)), None)


def _id(row: Mapping[str, Any]) -> str:
    """The last part of a resource's name, by which gcloud takes it."""
    return str(row.get("name", "")).rpartition("/")[2] or "unknown"


def _share(endpoint: Mapping[str, Any], row: Mapping[str, Any]) -> int:
    return int((endpoint.get("trafficSplit") or {}).get(str(row.get("id")), 0))


def _as(endpoint: Mapping[str, Any]) -> list[str]:
    """The machines of what is deployed, as options."""
    rows = endpoint.get("deployedModels", [])
    resources = rows[0].get("dedicatedResources", {}) if rows else {}
    machine = resources.get("machineSpec", {})
    options = [f"--machine-type={machine.get('machineType') or 'n1-standard-2'}"]
    if machine.get("acceleratorType"):
        kind = str(machine["acceleratorType"]).lower().replace("_", "-")
        options.append(f"--accelerator=type={kind},count={machine.get('acceleratorCount', 1)}")
    least = int(resources.get("minReplicaCount", 1))
    return [*options, f"--min-replica-count={least}", f"--max-replica-count={resources.get('maxReplicaCount', least)}"]


class VertexTarget(CloudTarget):
    """A service as an endpoint of Vertex AI."""

    summary = "an endpoint of Google's Vertex AI"
    name = VERTEX

    def cloud(self, reference: Reference) -> Cloud:
        """See `CloudTarget.cloud`."""
        return Vertex(reference)
