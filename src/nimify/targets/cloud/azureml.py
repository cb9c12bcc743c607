"""The `azureml` target: a managed online endpoint of Azure Machine Learning, and a deployment for each release.

A new deployment gets no traffic at first, and can be asked by its name; so it is proven before it is switched to. One
former deployment is kept, for going back at once; it costs as much as the live one. The namespace is
`RESOURCE-GROUP/WORKSPACE`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final

from nimify.artifacts.yaml_file import yaml_text
from nimify.errors import ConfigError, EnvironmentProblem
from nimify.findings import Finding, Severity
from nimify.programs import Program, ProgramFailed
from nimify.serving.paths import LIVE_PATH, READY_PATH
from nimify.serving.platform import AZUREML, PLATFORM_VARIABLE
from nimify.serving.ports import HTTP_PORT
from nimify.targets.cloud.cloud import Cloud, Release, State
from nimify.targets.cloud.place import options_of
from nimify.targets.cloud.tag import Tag
from nimify.targets.cloud.target import CloudTarget
from nimify.targets.settings import typed
from nimify.targets.target import Order, Reference

ENDPOINT, DEPLOYMENT = "endpoint.yml", "deployment.yml"
_SCHEMAS: Final = "https://azuremlschemas.azureedge.net/latest"
_INSTANCE: Final = re.compile(r"Standard_[A-Za-z0-9_]{1,50}")
_AUTHENTICATION: Final = ("key", "aml_token", "aad_token")
_GONE: Final = ("notfound", "not found", "could not be found", "does not exist")
_MOST_TIMEOUT_MS: Final = 180_000
_PROBE: Final = {"period": 10, "timeout": 5, "success_threshold": 1}


@dataclass(frozen=True, slots=True)
class AzureMlSettings:
    """How the endpoint and its deployments are made.

    Attributes:
        instance_type: Empty for `Standard_DS3_v2`, or `Standard_NC4as_T4_v3` where the image is of the Triton family.
        instances: How many.
        auth: How callers prove themselves: `key`, `aml_token` or `aad_token`.
    """

    instance_type: str = ""
    instances: int = 1
    auth: str = "key"

    @classmethod
    def parse(cls, given: Mapping[str, str], plan: Mapping[str, Any]) -> AzureMlSettings:
        """Settings as they were typed; what was left open follows the plan.

        Raises:
            ConfigError: One is unknown or wrong.
        """
        values = typed(cls, given, target=AZUREML)
        gpu = plan.get("deployment.family") == "triton"
        usual = "Standard_NC4as_T4_v3" if gpu else "Standard_DS3_v2"
        values["instance_type"] = values.get("instance_type") or usual
        settings = cls(**values)
        if not _INSTANCE.fullmatch(settings.instance_type):
            raise ConfigError(f"'{settings.instance_type}' is none.", field="--set instance_type")
        if settings.auth not in _AUTHENTICATION:
            raise ConfigError(f"must be one of {', '.join(_AUTHENTICATION)}.", field="--set auth")
        if settings.instances < 1:
            raise ConfigError("must be at least 1.", field="--set instances")
        return settings


class AzureMl:
    """A managed online endpoint; see `Cloud`."""

    tool = "Azure CLI with its extension ml"
    sign_in = "az login"
    longest_name = 32

    def __init__(self, reference: Reference) -> None:
        self._name = reference.name
        self._options = options_of(reference.namespace, ("resource-group", "workspace-name"))
        self.program = Program("az")

    def files(self, order: Order, tag: Tag, live: Tag | None) -> Mapping[str, bytes]:
        """See `Cloud.files`: the endpoint, and the deployment of this release."""
        if order.bundle is None:
            raise ValueError("an order without a bundle has no files")
        service, plan = order.bundle.service, order.bundle.decided()
        settings = AzureMlSettings.parse(order.settings, plan)
        startup_s = ceil(plan.get("deployment.startup_s") or 60)
        tags = {"nimify-service": service.name, "nimify-model-digest": service.model_digest}
        endpoint = {
            "$schema": f"{_SCHEMAS}/managedOnlineEndpoint.schema.json",
            "name": self._name,
            "auth_mode": settings.auth,
            "tags": {"nimify-service": service.name},
        }
        deployment = {
            "$schema": f"{_SCHEMAS}/managedOnlineDeployment.schema.json",
            "name": str(tag),
            "endpoint_name": self._name,
            "environment": {
                "image": order.image,
                "inference_config": {
                    "liveness_route": {"port": HTTP_PORT, "path": LIVE_PATH},
                    "readiness_route": {"port": HTTP_PORT, "path": READY_PATH},
                    "scoring_route": {"port": HTTP_PORT, "path": "/score"},
                },
            },
            "environment_variables": {PLATFORM_VARIABLE: AZUREML, "NIMIFY_GRPC": "0"},
            "instance_type": settings.instance_type,
            "instance_count": settings.instances,
            "request_settings": {
                "request_timeout_ms": min(round((plan.get("limits.request_timeout_s") or 60) * 1000), _MOST_TIMEOUT_MS),
                "max_concurrent_requests_per_instance": 64,
            },
            # Liveness is first asked when the model may be loaded; until then the replica would be ended for it.
            "liveness_probe": {**_PROBE, "initial_delay": startup_s, "failure_threshold": 30},
            "readiness_probe": {**_PROBE, "initial_delay": 10, "failure_threshold": max(ceil(startup_s / 10), 3)},
            "tags": tags,
        }
        return {ENDPOINT: yaml_text(endpoint).encode(), DEPLOYMENT: yaml_text(deployment).encode()}

    def findings(self, order: Order) -> Iterator[Finding]:
        """See `Cloud.findings`."""
        if ".azurecr.io/" not in order.image:
            message = (
                f"'{order.image}' is not in Azure Container Registry; the endpoint's identity must be able to read it."
            )
            yield Finding("azureml.registry", Severity.WARNING, message, "Push the image to the workspace's registry.")

    def by_hand(self, release: Release, state: State) -> Sequence[str]:
        """See `Cloud.by_hand`."""
        make = [] if state.present else [self._make_endpoint(release)]
        commands = [*make, self._make_deployment(release), self._traffic(release.tag)]
        return [shlex.join(["az", *command]) for command in commands]

    def check_signed_in(self) -> None:
        """See `Cloud.check_signed_in`."""
        self.program.run("account", "show", "--output=json", timeout_s=20.0)
        self.program.run("extension", "show", "--name=ml", "--output=json", timeout_s=20.0)

    def state(self) -> State:
        """See `Cloud.state`."""
        found = self._shown("online-endpoint", f"--name={self._name}")
        if found is None:
            return State()
        traffic = found.get("traffic") or {}
        name = max(traffic, key=lambda key: int(traffic[key]), default="")
        live = Tag.parse(name) if traffic.get(name) else None
        deployment = self._shown("online-deployment", f"--name={live}", f"--endpoint-name={self._name}") if live else {}
        word = str(found.get("provisioning_state", ""))
        answers = str((deployment or {}).get("provisioning_state", "")) == "Succeeded"
        return State(
            present=True,
            live=live,
            settled=word in {"Succeeded", "Failed", "Canceled"},
            healthy=answers and word == "Succeeded",
            word=word,
            reason="" if answers else "no deployment answers",
            url=str(found.get("scoring_uri") or ""),
        )

    def releases(self) -> list[Tag]:
        """See `Cloud.releases`: the deployments."""
        try:
            found: list[dict[str, Any]] = self.program.json(
                "ml", "online-deployment", "list", f"--endpoint-name={self._name}", "--output=json", *self._options
            )
        except ProgramFailed as error:
            if error.says(*_GONE):
                return []
            raise
        return sorted(tag for row in found if (tag := Tag.parse(str(row["name"]))) is not None)

    def bring(self, release: Release, state: State, *, timeout_s: float) -> None:
        """See `Cloud.bring`; it waits until the deployment is there, without traffic."""
        if not state.present:
            self.program.run(*self._make_endpoint(release), timeout_s=timeout_s)
        self.program.run(*self._make_deployment(release), timeout_s=timeout_s)

    def switch(self, tag: Tag, *, timeout_s: float) -> None:
        """See `Cloud.switch`."""
        self.program.run(*self._traffic(tag), timeout_s=timeout_s)

    def ask(self, tag: Tag, body: Path, *, timeout_s: float) -> bytes:
        """See `Cloud.ask`; the answer is printed as it is, or as one string of JSON."""
        command = ("ml", "online-endpoint", "invoke", f"--name={self._name}", f"--deployment-name={tag}")
        text = self.program.run(*command, f"--request-file={body}", *self._options, timeout_s=timeout_s)
        try:
            said = json.loads(text)
        except ValueError:
            return text.encode()
        return said.encode() if isinstance(said, str) else text.encode()

    def retire(self, live: Tag) -> None:
        """See `Cloud.retire`: all but the live deployment and the one before it."""
        others = [tag for tag in self.releases() if tag != live]
        for tag in others[:-1]:
            self.discard(tag)

    def discard(self, tag: Tag) -> None:
        """See `Cloud.discard`."""
        command = ("ml", "online-deployment", "delete", f"--name={tag}", f"--endpoint-name={self._name}", "--yes")
        self.program.run(*command, *self._options, timeout_s=600.0)

    def stop(self) -> None:
        """See `Cloud.stop`; the deployments go with the endpoint."""
        command = ("ml", "online-endpoint", "delete", f"--name={self._name}", "--yes")
        self.program.run(*command, *self._options, timeout_s=600.0)

    def purge(self) -> None:
        """See `Cloud.purge`: they are gone already."""

    def logs(self, *, lines: int, follow: bool) -> Iterator[str]:
        """See `Cloud.logs`."""
        live = self.state().live
        if live is None:
            raise EnvironmentProblem(f"Azure ML has no deployment of '{self._name}'.")
        if follow:
            raise EnvironmentProblem("Azure ML's logs are read, not followed.")
        command = ("ml", "online-deployment", "get-logs", f"--name={live}", f"--endpoint-name={self._name}")
        return self.program.lines(*command, f"--lines={lines}", *self._options)

    def _make_endpoint(self, release: Release) -> list[str]:
        return ["ml", "online-endpoint", "create", f"--file={release.file(ENDPOINT)}", *self._options]

    def _make_deployment(self, release: Release) -> list[str]:
        return ["ml", "online-deployment", "create", f"--file={release.file(DEPLOYMENT)}", *self._options]

    def _traffic(self, tag: Tag) -> list[str]:
        return ["ml", "online-endpoint", "update", f"--name={self._name}", f"--traffic={tag}=100", *self._options]

    def _shown(self, what: str, *arguments: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.program.json("ml", what, "show", *arguments, "--output=json", *self._options)
        except ProgramFailed as error:
            if error.says(*_GONE):
                return None
            raise
        return found


class AzureMlTarget(CloudTarget):
    """A service as a managed online endpoint."""

    summary = "a managed online endpoint of Azure ML"
    name = AZUREML

    def cloud(self, reference: Reference) -> Cloud:
        """See `CloudTarget.cloud`."""
        return AzureMl(reference)
