"""The `sagemaker` target: a model, an endpoint configuration and an endpoint of Amazon SageMaker.

SageMaker moves an endpoint to a configuration by itself, with no request lost, and goes back by itself when the new
instances do not answer `/ping`. The namespace is the region.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nimify.artifacts.artifact import json_artifact
from nimify.artifacts.bundle import Bundle
from nimify.errors import ConfigError
from nimify.findings import Finding, Severity
from nimify.programs import Program, ProgramFailed
from nimify.serving.platform import PLATFORM_VARIABLE, SAGEMAKER
from nimify.targets.cloud.cloud import Cloud, Release, State
from nimify.targets.cloud.place import options_of
from nimify.targets.cloud.tag import Tag
from nimify.targets.cloud.target import CloudTarget
from nimify.targets.settings import typed
from nimify.targets.target import Order, Reference

_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}")
_INSTANCE: Final = re.compile(r"ml\.[a-z0-9-]{1,30}\.[a-z0-9]{1,20}")
_REGISTRY: Final = re.compile(r"[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/.*")
_SETTLED: Final = frozenset({"InService", "OutOfService", "Failed", "UpdateRollbackFailed"})
_GONE: Final = ("could not find", "does not exist")
_STARTUP_S: Final = (60, 3600)
"""The bounds of `ContainerStartupHealthCheckTimeoutInSeconds`."""
_LOGGED_S: Final = 3600
"""How far back logs are read."""
MODEL, CONFIG, ENDPOINT = "model.json", "endpoint-config.json", "endpoint.json"


@dataclass(frozen=True, slots=True)
class SageMakerSettings:
    """How the endpoint is made.

    Attributes:
        role: ARN of the role that SageMaker takes on, e.g. to read the image; needed.
        instance_type: Empty for `ml.m5.large`, or `ml.g5.xlarge` where the image is of the Triton family.
        instances: How many.
    """

    role: str = ""
    instance_type: str = ""
    instances: int = 1

    @classmethod
    def parse(cls, given: Mapping[str, str], plan: Mapping[str, Any]) -> SageMakerSettings:
        """Settings as they were typed; what was left open follows the plan.

        Raises:
            ConfigError: One is unknown, missing or wrong.
        """
        values = typed(cls, given, target=SAGEMAKER)
        gpu = plan.get("deployment.family") == "triton"
        values["instance_type"] = values.get("instance_type") or ("ml.g5.xlarge" if gpu else "ml.m5.large")
        settings = cls(**values)
        if not _ROLE.fullmatch(settings.role):
            raise ConfigError(
                f"must be the ARN of a role, not '{settings.role}'.",
                field="--set role",
                remedy="Write it as arn:aws:iam::ACCOUNT:role/NAME; SageMaker reads the image with it.",
            )
        if not _INSTANCE.fullmatch(settings.instance_type):
            raise ConfigError(f"'{settings.instance_type}' is none.", field="--set instance_type")
        if settings.instances < 1:
            raise ConfigError("must be at least 1.", field="--set instances")
        return settings


class SageMaker:
    """An endpoint; see `Cloud`."""

    tool = "AWS CLI"
    sign_in = "aws configure"
    longest_name = 48

    def __init__(self, reference: Reference) -> None:
        self._name = reference.name
        self._options = options_of(reference.namespace, ("region",))
        self.program = Program("aws", environment={"AWS_PAGER": ""})

    def files(self, order: Order, tag: Tag, live: Tag | None) -> Mapping[str, bytes]:
        """See `Cloud.files`: the input of the three calls that make an endpoint."""
        bundle = _bundle(order)
        plan = bundle.decided()
        settings = SageMakerSettings.parse(order.settings, plan)
        name, tags = f"{self._name}-{tag}", _tags(bundle)
        least, most = _STARTUP_S
        documents: dict[str, dict[str, Any]] = {
            MODEL: {
                "ModelName": name,
                "ExecutionRoleArn": settings.role,
                "PrimaryContainer": {"Image": order.image, "Environment": {PLATFORM_VARIABLE: SAGEMAKER}},
                "Tags": tags,
            },
            CONFIG: {
                "EndpointConfigName": name,
                "ProductionVariants": [
                    {
                        "VariantName": "all",
                        "ModelName": name,
                        "InstanceType": settings.instance_type,
                        "InitialInstanceCount": settings.instances,
                        "ContainerStartupHealthCheckTimeoutInSeconds": min(
                            max(round(plan.get("deployment.startup_s") or 0), least), most
                        ),
                    }
                ],
                "Tags": tags,
            },
            ENDPOINT: {"EndpointName": self._name, "EndpointConfigName": name},
        }
        return {file: json_artifact(file, document).content for file, document in documents.items()}

    def findings(self, order: Order) -> Iterator[Finding]:
        """See `Cloud.findings`."""
        if not _REGISTRY.fullmatch(order.image):
            message = f"SageMaker takes images from Amazon ECR, and '{order.image}' is not there."
            yield Finding("sagemaker.registry", Severity.WARNING, message, "Push the image to ECR in the same region.")

    def by_hand(self, release: Release, state: State) -> Sequence[str]:
        """See `Cloud.by_hand`."""
        return [shlex.join(["aws", *command]) for command in self._commands(release, state)]

    def check_signed_in(self) -> None:
        """See `Cloud.check_signed_in`."""
        self.program.run("sts", "get-caller-identity", "--output=json", *self._options, timeout_s=20.0)

    def state(self) -> State:
        """See `Cloud.state`."""
        try:
            found = self._json("describe-endpoint", f"--endpoint-name={self._name}")
        except ProgramFailed as error:
            if error.says(*_GONE):
                return State()
            raise
        word = str(found["EndpointStatus"])
        return State(
            present=True,
            live=Tag.parse(str(found["EndpointConfigName"]), before=f"{self._name}-"),
            settled=word in _SETTLED,
            healthy=word == "InService",
            word=word,
            reason=str(found.get("FailureReason") or ("" if word == "InService" else f"it is {word}")),
        )

    def releases(self) -> list[Tag]:
        """See `Cloud.releases`: the endpoint configurations."""
        found = self._json("list-endpoint-configs", f"--name-contains={self._name}-r")
        names = [str(row["EndpointConfigName"]) for row in found.get("EndpointConfigs", [])]
        return sorted(tag for name in names if (tag := Tag.parse(name, before=f"{self._name}-")) is not None)

    def bring(self, release: Release, state: State, *, timeout_s: float) -> None:
        """See `Cloud.bring`; requests go to it as soon as it answers `/ping`."""
        for command in self._commands(release, state):
            self.program.run(*command)

    def switch(self, tag: Tag, *, timeout_s: float) -> None:
        """See `Cloud.switch`."""
        verb = "update-endpoint" if self.state().present else "create-endpoint"
        config = f"--endpoint-config-name={self._name}-{tag}"
        self.program.run("sagemaker", verb, f"--endpoint-name={self._name}", config, *self._options)

    def ask(self, tag: Tag, body: Path, *, timeout_s: float) -> bytes:
        """See `Cloud.ask`."""
        answer = body.with_name("answer.json")
        self.program.run(
            "sagemaker-runtime",
            "invoke-endpoint",
            f"--endpoint-name={self._name}",
            "--content-type=application/json",
            f"--body=fileb://{body}",
            *self._options,
            str(answer),
            timeout_s=timeout_s,
        )
        return answer.read_bytes()

    def retire(self, live: Tag) -> None:
        """See `Cloud.retire`: configurations cost nothing."""

    def discard(self, tag: Tag) -> None:
        """See `Cloud.discard`."""
        name = f"{self._name}-{tag}"
        for verb, option in (("delete-endpoint-config", "endpoint-config-name"), ("delete-model", "model-name")):
            with suppress_gone():
                self.program.run("sagemaker", verb, f"--{option}={name}", *self._options)

    def stop(self) -> None:
        """See `Cloud.stop`."""
        with suppress_gone():
            self.program.run("sagemaker", "delete-endpoint", f"--endpoint-name={self._name}", *self._options)

    def purge(self) -> None:
        """See `Cloud.purge`."""
        for tag in self.releases():
            self.discard(tag)

    def logs(self, *, lines: int, follow: bool) -> Iterator[str]:
        """See `Cloud.logs`."""
        group = f"/aws/sagemaker/Endpoints/{self._name}"
        if follow:  # which takes version 2
            yield from self.program.lines("logs", "tail", group, "--format=short", "--follow", *self._options)
            return
        since_ms = round((time.time() - _LOGGED_S) * 1000)
        options = (f"--log-group-name={group}", f"--start-time={since_ms}", "--output=json")
        found: dict[str, Any] = self.program.json("logs", "filter-log-events", *options, *self._options)
        messages = [str(event.get("message", "")).rstrip() for event in found.get("events", [])]
        yield from messages[-lines:] if lines else ()

    def _commands(self, release: Release, state: State) -> list[list[str]]:
        verb = "update-endpoint" if state.present else "create-endpoint"
        calls = (("create-model", MODEL), ("create-endpoint-config", CONFIG), (verb, ENDPOINT))
        return [
            # As two arguments: joined by a sign of equality, version 1 does not see that it stands for all the others.
            ["sagemaker", call, "--cli-input-json", f"file://{release.file(file)}", *self._options]
            for call, file in calls
        ]

    def _json(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = self.program.json("sagemaker", *arguments, "--output=json", *self._options)
        return found


class suppress_gone(suppress):  # noqa: N801 - it reads as `contextlib.suppress` does
    """Take it for done when what is to be deleted is not there."""

    def __init__(self) -> None:
        super().__init__(ProgramFailed)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        """Suppress that fault only."""
        return isinstance(error, ProgramFailed) and error.says(*_GONE)


def _bundle(order: Order) -> Bundle:
    if order.bundle is None:
        raise ValueError("an order without a bundle has no files")
    return order.bundle


def _tags(bundle: Bundle) -> list[dict[str, str]]:
    service = bundle.service
    return [
        {"Key": "nimify:service", "Value": service.name},
        {"Key": "nimify:model-digest", "Value": service.model_digest},
    ]


class SageMakerTarget(CloudTarget):
    """A service as an endpoint of SageMaker."""

    summary = "an endpoint of Amazon SageMaker"
    name = SAGEMAKER

    def cloud(self, reference: Reference) -> Cloud:
        """See `CloudTarget.cloud`."""
        return SageMaker(reference)
