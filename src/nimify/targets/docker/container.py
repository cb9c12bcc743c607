"""One container: how it is made, and what the engine says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nimify.images.runtime import hardened
from nimify.serving.ports import GRPC_PORT, HTTP_PORT
from nimify.targets.docker.settings import DockerSettings

LABEL: Final = "io.nimify."
SERVICE: Final = f"{LABEL}service"
REVISION: Final = f"{LABEL}revision"
TRIAL: Final = f"{LABEL}trial"
_KEYS: Final = "/run/secrets/nimify-api-keys"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A container that is to be made.

    Attributes:
        service: Name of the service.
        revision: Its revision.
        image: Id of the image, so that a tag that moves meanwhile changes nothing.
        reference: The image as it was named.
        version: Release of the service.
        model_digest: Of the model.
        made_at: In UTC, ISO 8601.
        settings: How it is run.
        trial: Whether it only is to prove itself, on a port that nobody knows.
    """

    service: str
    revision: int
    image: str
    reference: str
    version: str
    model_digest: str
    made_at: str
    settings: DockerSettings
    trial: bool = False

    @property
    def name(self) -> str:
        """What the container is called."""
        return f"nimify-{self.service}-{'trial-' if self.trial else ''}{self.revision}"

    def arguments(self) -> list[str]:
        """The arguments of `docker create`."""
        settings = self.settings
        return [
            "create",
            f"--name={self.name}",
            *(f"--label={key}={value}" for key, value in self._labels().items()),
            *hardened(
                memory_bytes=settings.memory, tmp_bytes=settings.tmp, cache_bytes=settings.cache, pids=settings.pids
            ),
            *([f"--cpus={settings.cpus:g}"] if settings.cpus else []),
            *([f"--user={settings.user}"] if settings.user else []),
            *([f"--gpus={settings.gpus}"] if settings.gpus else []),
            *([f"--network={settings.network}"] if settings.network else []),
            *self._keys(),
            *self._ports(),
            f"--restart={'no' if self.trial else 'unless-stopped'}",
            "--log-driver=local",
            "--log-opt=max-size=16m",
            "--log-opt=max-file=5",
            self.image,
        ]

    def _keys(self) -> list[str]:
        if not self.settings.api_keys:
            return []
        mount = f"--mount=type=bind,source={self.settings.api_keys},target={_KEYS},readonly"
        return [mount, f"--env=NIMIFY_API_KEYS_FILE={_KEYS}"]

    def _ports(self) -> list[str]:
        if self.trial:
            return [f"--publish=127.0.0.1::{HTTP_PORT}"]
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        pairs = ((self.settings.port, HTTP_PORT), (self.settings.grpc_port, GRPC_PORT))
        return [f"--publish={host}:{outer or ''}:{inner}" for outer, inner in pairs]

    def _labels(self) -> dict[str, str]:
        return {
            SERVICE: self.service,
            REVISION: str(self.revision),
            TRIAL: str(self.trial).lower(),
            f"{LABEL}reference": self.reference,
            f"{LABEL}version": self.version,
            f"{LABEL}model-digest": self.model_digest,
            f"{LABEL}made-at": self.made_at,
            f"{LABEL}settings": json.dumps(self.settings.to_dict(), sort_keys=True),
        }


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the engine describes it.

    Attributes:
        id: Of the container.
        name: What it is called.
        image: Id of its image.
        labels: As they were given.
        status: In the engine's words, e.g. `running`, `exited`.
        restarts: How often the engine started it again.
        reason: Why it does not run; empty when it does.
        url: Where it answers from this machine; empty when it does not run.
    """

    id: str
    name: str
    image: str
    labels: Mapping[str, str]
    status: str
    restarts: int
    reason: str
    url: str

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Container:
        """Out of `docker inspect`."""
        state = data["State"]
        return cls(
            id=str(data["Id"]),
            name=str(data["Name"]).lstrip("/"),
            image=str(data["Image"]),
            labels=dict(data["Config"].get("Labels") or {}),
            status=str(state["Status"]),
            restarts=int(data.get("RestartCount", 0)),
            reason=_reason(state),
            url=_url(data.get("NetworkSettings") or {}),
        )

    @property
    def revision(self) -> int:
        """The revision of the service that it is."""
        text = self.labels.get(REVISION, "")
        return int(text) if text.isdigit() else 0

    @property
    def trial(self) -> bool:
        """Whether it only was to prove itself."""
        return self.labels.get(TRIAL) == "true"

    @property
    def running(self) -> bool:
        """Whether it runs, or is being started again."""
        return self.status in {"running", "restarting"}

    def label(self, name: str) -> str:
        """One of our labels."""
        return self.labels.get(f"{LABEL}{name}", "")


def live_one(containers: Sequence[Container]) -> Container | None:
    """The newest container that answers for a service, or should."""
    return next((found for found in reversed(containers) if found.running and not found.trial), None)


def _reason(state: Mapping[str, Any]) -> str:
    if state.get("Status") == "running":
        return ""
    if state.get("OOMKilled"):
        return "it used more memory than its limit and was killed"
    if state.get("Error"):
        return str(state["Error"])
    return f"it ended with status {state.get('ExitCode')}"


def _url(network: Mapping[str, Any]) -> str:
    published = (network.get("Ports") or {}).get(f"{HTTP_PORT}/tcp") or []
    if not published:
        return ""
    host, port = str(published[0]["HostIp"]), published[0]["HostPort"]
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
