"""The contract of a target: a place where services run, and what it tells of them.

A target is a class without arguments, found as an entry point of `nimify.targets`. It carries out what is ordered and
owns the verdict: whoever calls `apply` learns whether the service changed, stayed as it was, went back, or was left
degraded. Nothing here knows a terminal.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from nimify.artifacts.bundle import Bundle
from nimify.findings import Finding, Severity

DEFAULT_TIMEOUT_S: Final = 600.0
Progress: TypeAlias = Callable[[str], None]
"""Told in one sentence each time something happens that a waiting person wants to know."""


def utc_now() -> str:
    """This moment, as `Revision.deployed_at` has it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class Phase(StrEnum):
    """How a deployment is, in one word.

    `ABSENT`: nothing is deployed under that name. `STARTING`: nothing answers yet. `RUNNING`: all of it answers.
    `DEGRADED`: a part answers. `FAILED`: it should answer, and does not. `STOPPED`: it was stopped and can be resumed.
    """

    ABSENT = "absent"
    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Reference:
    """Which deployment is meant.

    Attributes:
        name: Of the service.
        namespace: Where the target divides its services; empty for the target's own default.
    """

    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to run.

    Attributes:
        reference: Under which name.
        bundle: What to deploy; `None` to go back to a revision that is deployed already.
        revision: The revision to go back to; `None` for the one before the present one. Only without a bundle.
        image: The container image, for targets that run one.
        settings: The target's own settings by name, as they were typed.
        timeout_s: How long all of it may take.
        headers: Sent with the golden requests, for a service that wants a key; never shown.
    """

    reference: Reference
    bundle: Bundle | None = None
    revision: int | None = None
    image: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = DEFAULT_TIMEOUT_S
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What stands in the way of an order, and what it would change.

    Attributes:
        findings: One for each thing that a person should know; an error keeps the order from being carried out.
        changes: What would change, a line each, as far as it can be known before; empty when nothing would.
    """

    findings: tuple[Finding, ...] = ()
    changes: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that keep the order from being carried out."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)


@dataclass(frozen=True, slots=True)
class Instance:
    """One copy of a service that runs, or should.

    Attributes:
        name: What the target calls it: a process, a container, a pod.
        ready: Whether it answers requests.
        state: In the target's words, e.g. `running`, `CrashLoopBackOff`.
        reason: Why it is not ready; empty when it is.
        restarts: How often it was started again.
        url: Where this one copy answers from here; empty when it cannot be reached.
    """

    name: str
    ready: bool
    state: str
    reason: str = ""
    restarts: int = 0
    url: str = ""


@dataclass(frozen=True, slots=True)
class Revision:
    """One state of a service that was deployed.

    Attributes:
        number: Counts up from 1.
        live: Whether it is the one that answers.
        version: Release of the service.
        model_digest: Of the model.
        source: What was deployed: an image, or the digest of a bundle.
        deployed_at: In UTC, ISO 8601.
    """

    number: int
    live: bool
    version: str = ""
    model_digest: str = ""
    source: str = ""
    deployed_at: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is deployed under a name, and how it is.

    Attributes:
        target: Name of the target.
        reference: Which deployment.
        phase: How it is.
        url: Where clients reach it; empty when that is not known.
        reason: Why the phase is not `running`; empty when there is nothing to say.
        instances: Its copies.
        revisions: Those that can be returned to and the live one, the newest first.
    """

    target: str
    reference: Reference
    phase: Phase
    url: str = ""
    reason: str = ""
    instances: tuple[Instance, ...] = ()
    revisions: tuple[Revision, ...] = ()

    @property
    def live(self) -> Revision | None:
        """The revision that answers."""
        return next((revision for revision in self.revisions if revision.live), None)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        data = asdict(self)
        return {
            "service": self.reference.name,
            "namespace": self.reference.namespace,
            **{key: value for key, value in data.items() if key != "reference"},
            "phase": str(self.phase),
        }


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of an order.

    Attributes:
        changed: Whether anything had to be done.
        deployment: How it is now.
    """

    changed: bool
    deployment: Deployment


class Target(Protocol):
    """A place where services run.

    Attributes:
        summary: One line for `nimify targets`.
    """

    summary: str

    def preflight(self, order: Order | None) -> Forecast:
        """What stands in the way, and what would change; changes nothing.

        Args:
            order: What is to run; `None` asks only whether this machine has what the target needs.

        Raises:
            ConfigError: A setting is unknown or wrong.
        """
        ...

    def apply(self, order: Order, progress: Progress) -> Applied:
        """Let what is ordered run, and prove it with the bundle's golden requests.

        Doing it twice changes nothing the second time. Of two at once, one wins and the other raises.

        Raises:
            ConfigError: A setting is unknown or wrong, or there is no such revision.
            NotDeployed: Nothing changed.
            RolledBack: The new revision failed, and the one before it answers again.
            LeftDegraded: The new revision failed, and so did going back.
        """
        ...

    def status(self, reference: Reference) -> Deployment:
        """How a deployment is; of phase `ABSENT` when there is none."""
        ...

    def remove(self, reference: Reference, progress: Progress, *, purge: bool = False) -> bool:
        """Stop a service, letting it finish what it is doing.

        Args:
            reference: Which deployment.
            progress: Told what happens.
            purge: Whether its revisions and logs go as well.

        Returns:
            Whether there was anything to stop.
        """
        ...


@runtime_checkable
class KeepsLogs(Protocol):
    """What a target can do besides, when it has the logs of its services at hand."""

    def logs(self, reference: Reference, *, lines: int, follow: bool) -> Iterator[str]:
        """The last lines that a service wrote, and with `follow` those that it goes on to write.

        Raises:
            EnvironmentProblem: There are none.
        """
        ...


@runtime_checkable
class ServesBundles(Protocol):
    """What a target says of itself that serves bundles as they are: it runs no image that could be signed.

    Attributes:
        serves_bundles: Whether it does.
    """

    serves_bundles: bool


@runtime_checkable
class ProxiesMetrics(Protocol):
    """What a target can do besides, when its instances cannot be reached from here but it can ask them."""

    def metrics(self, reference: Reference, instance: str) -> str:
        """The Prometheus text of one instance.

        Raises:
            EnvironmentProblem: It cannot be asked.
        """
        ...
