"""The `cloud-run` target: a service of Google Cloud Run, by a file that `gcloud run services replace` takes.

A new revision gets no traffic at first, and answers under a tag of its own; so it is proven before it is switched to.
The first one of a service has no other to leave the traffic to, and gets it at once.
The namespace is `PROJECT/REGION`, or the region.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final

from nimify.artifacts.pod import startup_pace
from nimify.artifacts.yaml_file import yaml_text
from nimify.conformance.client import Client, NoAnswer
from nimify.errors import ConfigError, EnvironmentProblem
from nimify.findings import Finding, Severity
from nimify.programs import Program, ProgramFailed
from nimify.quantities import size_text
from nimify.serving.paths import LIVE_PATH, READY_PATH
from nimify.serving.platform import CLOUD_RUN, PLATFORM_VARIABLE
from nimify.serving.ports import HTTP_PORT
from nimify.targets.cloud.cloud import Cloud, Release, State
from nimify.targets.cloud.google import GONE, check_signed_in
from nimify.targets.cloud.place import options_of
from nimify.targets.cloud.tag import Tag
from nimify.targets.cloud.target import CloudTarget
from nimify.targets.settings import typed
from nimify.targets.target import Order, Reference

SERVICE: Final = "service.yaml"
_NEXT: Final = "next"
"""The tag under which the newest revision answers."""
_ACCELERATOR: Final = re.compile(r"|[a-z0-9][a-z0-9-]{0,62}")
_GPU_CPUS, _GPU_MEMORY = 4, 16 << 30
"""The least that Cloud Run gives a container with a GPU."""
_MOST_STARTUP: Final = 240
"""The most seconds between two probes, and of all of them together, that Cloud Run takes."""


@dataclass(frozen=True, slots=True)
class CloudRunSettings:
    """How the service is run.

    Attributes:
        most_instances: How many at most.
        least_instances: How many are kept warm.
        concurrency: Requests at once that one instance gets.
        gpu: Kind of GPU; empty for none, or `nvidia-l4` where the image is of the Triton family.
    """

    most_instances: int = 3
    least_instances: int = 0
    concurrency: int = 32
    gpu: str = ""

    @classmethod
    def parse(cls, given: Mapping[str, str], plan: Mapping[str, Any]) -> CloudRunSettings:
        """Settings as they were typed; what was left open follows the plan.

        Raises:
            ConfigError: One is unknown or wrong.
        """
        values = typed(cls, given, target=CLOUD_RUN)
        if plan.get("deployment.family") == "triton":
            values.setdefault("gpu", "nvidia-l4")
        settings = cls(**values)
        if not _ACCELERATOR.fullmatch(settings.gpu):
            raise ConfigError(f"'{settings.gpu}' is none.", field="--set gpu")
        if not 1 <= settings.concurrency <= 1000:
            raise ConfigError("must be from 1 to 1000.", field="--set concurrency")
        if not max(settings.least_instances, 1) <= settings.most_instances <= 1000:
            raise ConfigError("must be from 1, and least_instances, to 1000.", field="--set most_instances")
        return settings


class CloudRun:
    """A service of Cloud Run; see `Cloud`."""

    tool = "Google Cloud CLI"
    sign_in = "gcloud auth login"
    longest_name = 45

    def __init__(self, reference: Reference) -> None:
        self._name = reference.name
        self._options = (*options_of(reference.namespace, ("project", "region")), "--quiet")
        self.program = Program("gcloud")

    def files(self, order: Order, tag: Tag, live: Tag | None) -> Mapping[str, bytes]:
        """See `Cloud.files`: the service with its new revision, and the traffic where it is."""
        if order.bundle is None:
            raise ValueError("an order without a bundle has no files")
        plan = order.bundle.decided()
        settings = CloudRunSettings.parse(order.settings, plan)
        document = self._service(order, tag, plan, settings)
        revision = {"revisionName": f"{self._name}-{tag}", "tag": _NEXT, "percent": 0 if live else 100}
        stays = [{"revisionName": f"{self._name}-{live}", "percent": 100}] if live else []
        document["spec"]["traffic"] = [*stays, revision]
        return {SERVICE: yaml_text(document).encode()}

    def _service(self, order: Order, tag: Tag, plan: Mapping[str, Any], settings: CloudRunSettings) -> dict[str, Any]:
        limits = _limits(plan, settings)
        annotations = {
            "autoscaling.knative.dev/minScale": str(settings.least_instances),
            "autoscaling.knative.dev/maxScale": str(settings.most_instances),
            "run.googleapis.com/execution-environment": "gen2",
            "run.googleapis.com/startup-cpu-boost": "true",
        }
        spec: dict[str, Any] = {
            "containerConcurrency": settings.concurrency,
            "timeoutSeconds": ceil(plan.get("limits.request_timeout_s") or 60),
            "containers": [
                {
                    "image": order.image,
                    "ports": [{"name": "http1", "containerPort": HTTP_PORT}],
                    # gRPC has no port here, and would only take memory.
                    "env": [{"name": PLATFORM_VARIABLE, "value": CLOUD_RUN}, {"name": "NIMIFY_GRPC", "value": "0"}],
                    "resources": {"limits": limits},
                    "startupProbe": {"httpGet": {"path": READY_PATH, "port": HTTP_PORT}, **_startup(plan)},
                    "livenessProbe": {
                        "httpGet": {"path": LIVE_PATH, "port": HTTP_PORT},
                        **{"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
                    },
                }
            ],
        }
        if settings.gpu:
            annotations["run.googleapis.com/cpu-throttling"] = "false"
            annotations["run.googleapis.com/gpu-zonal-redundancy-disabled"] = "true"
            spec["nodeSelector"] = {"run.googleapis.com/accelerator": settings.gpu}
        return {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": self._name, "labels": {"nimify": "true"}},
            "spec": {
                "template": {"metadata": {"name": f"{self._name}-{tag}", "annotations": annotations}, "spec": spec}
            },
        }

    def findings(self, order: Order) -> Iterator[Finding]:
        """See `Cloud.findings`."""
        if ".pkg.dev/" not in order.image and not order.image.startswith("gcr.io/"):
            message = f"Cloud Run takes images from Artifact Registry, and '{order.image}' may not be reached there."
            yield Finding("cloud-run.registry", Severity.WARNING, message, "Push the image to Artifact Registry.")

    def by_hand(self, release: Release, state: State) -> Sequence[str]:
        """See `Cloud.by_hand`."""
        commands = [["run", "services", "replace", release.file(SERVICE), *self._options]]
        if state.live is not None:
            commands.append(self._traffic(release.tag))
        return [shlex.join(["gcloud", *command]) for command in commands]

    def check_signed_in(self) -> None:
        """See `Cloud.check_signed_in`."""
        check_signed_in(self.program)

    def state(self) -> State:
        """See `Cloud.state`."""
        found = self._described()
        if found is None:
            return State()
        status = found.get("status", {})
        conditions: dict[str, dict[str, Any]] = {str(row.get("type")): row for row in status.get("conditions", [])}
        ready = conditions.get("Ready", {})
        # A new revision that failed makes the service not ready, and its routes go on to lead to the old one.
        routes = conditions.get("RoutesReady", ready)
        traffic: list[dict[str, Any]] = status.get("traffic", [])
        live = max(traffic, key=lambda row: row.get("percent") or 0, default={})
        word = {"True": "Ready", "False": "NotReady"}.get(str(ready.get("status")), "Deploying")
        return State(
            present=True,
            live=Tag.parse(str(live.get("revisionName", "")), before=f"{self._name}-"),
            settled=word != "Deploying",
            healthy=routes.get("status") == "True",
            word=word,
            reason=str(ready.get("message") or ready.get("reason") or ("" if word == "Ready" else word)),
            url=str(status.get("url", "")),
        )

    def releases(self) -> list[Tag]:
        """See `Cloud.releases`: the revisions."""
        try:
            found: list[dict[str, Any]] = self.program.json(
                "run", "revisions", "list", f"--service={self._name}", "--format=json", *self._options
            )
        except ProgramFailed as error:
            if error.says(*GONE):
                return []
            raise
        names = [str(row["metadata"]["name"]) for row in found]
        return sorted(tag for name in names if (tag := Tag.parse(name, before=f"{self._name}-")) is not None)

    def bring(self, release: Release, state: State, *, timeout_s: float) -> None:
        """See `Cloud.bring`; it waits until the revision is ready."""
        file = release.file(SERVICE)
        self.program.run("run", "services", "replace", file, *self._options, timeout_s=timeout_s)

    def switch(self, tag: Tag, *, timeout_s: float) -> None:
        """See `Cloud.switch`."""
        self.program.run(*self._traffic(tag), timeout_s=timeout_s)

    def ask(self, tag: Tag, body: Path, *, timeout_s: float) -> bytes:
        """See `Cloud.ask`: at the revision's own address, as the person who is signed in."""
        revision = f"{self._name}-{tag}"
        traffic = (self._described() or {}).get("status", {}).get("traffic", [])
        tagged = [str(row["url"]) for row in traffic if row.get("revisionName") == revision and row.get("url")]
        url = tagged[0] if tagged else self.state().url
        token = self.program.run("auth", "print-identity-token", "--quiet").strip()
        client = Client(url, timeout_s=timeout_s, headers={"Authorization": f"Bearer {token}"})
        try:
            answer = client.post(f"/v2/models/{self._name}/infer", body.read_bytes())
        except NoAnswer as error:
            raise ProgramFailed(str(error)) from error
        if answer.status != 200:
            raise ProgramFailed(f"it answered {answer.status}: {answer.body[:200].decode('utf-8', 'replace')}")
        return answer.body

    def retire(self, live: Tag) -> None:
        """See `Cloud.retire`: a revision without traffic costs nothing."""

    def discard(self, tag: Tag) -> None:
        """See `Cloud.discard`."""
        self.program.run("run", "revisions", "delete", f"{self._name}-{tag}", *self._options, timeout_s=120.0)

    def stop(self) -> None:
        """See `Cloud.stop`; the revisions go with the service."""
        self.program.run("run", "services", "delete", self._name, *self._options, timeout_s=300.0)

    def purge(self) -> None:
        """See `Cloud.purge`: they are gone already."""

    def logs(self, *, lines: int, follow: bool) -> Iterator[str]:
        """See `Cloud.logs`."""
        if follow:
            raise EnvironmentProblem(
                "Cloud Run's logs are read, not followed.",
                remedy=f"Follow them with: gcloud beta run services logs tail {self._name}",
            )
        return self.program.lines("run", "services", "logs", "read", self._name, f"--limit={lines}", *self._options)

    def _traffic(self, tag: Tag) -> list[str]:
        revision = f"--to-revisions={self._name}-{tag}=100"
        return ["run", "services", "update-traffic", self._name, revision, *self._options]

    def _described(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.program.json(
                "run", "services", "describe", self._name, "--format=json", *self._options
            )
        except ProgramFailed as error:
            if error.says(*GONE):
                return None
            raise
        return found


def _limits(plan: Mapping[str, Any], settings: CloudRunSettings) -> dict[str, str]:
    """What a container may use, in the steps that Cloud Run has: its CPUs are 1, 2, 4, 6 or 8."""
    wanted = max(float(plan.get("resources.cpu_limit") or plan.get("resources.cpu") or 1), 1.0)
    memory = max(int(plan.get("deployment.memory_limit") or 0), 512 << 20)
    if settings.gpu:
        wanted, memory = max(wanted, _GPU_CPUS), max(memory, _GPU_MEMORY)
    cpus = next((step for step in (1, 2, 4, 6, 8) if step >= wanted), 8)
    limits = {"cpu": str(cpus), "memory": str(size_text(memory))}
    if settings.gpu:
        limits["nvidia.com/gpu"] = "1"
    return limits


def _startup(plan: Mapping[str, Any]) -> dict[str, int]:
    """The pace of the startup probe, within what Cloud Run waits for in all."""
    return startup_pace(min(ceil(plan.get("deployment.startup_s") or 60), _MOST_STARTUP))


class CloudRunTarget(CloudTarget):
    """A service of Cloud Run."""

    summary = "a service of Google Cloud Run"
    name = CLOUD_RUN

    def cloud(self, reference: Reference) -> Cloud:
        """See `CloudTarget.cloud`."""
        return CloudRun(reference)
