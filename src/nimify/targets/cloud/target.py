"""A target at a cloud, as the contract has it; the cloud is all that differs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from nimify.errors import ConfigError, EnvironmentProblem, NotDeployed
from nimify.filesystem import remove_tree
from nimify.findings import Finding, Severity
from nimify.images.reference import ImageName
from nimify.programs import ProgramFailed
from nimify.targets.cloud.cloud import Cloud, State
from nimify.targets.cloud.rollout import UNNUMBERED, Rollout, is_live, next_release, written
from nimify.targets.cloud.tag import Tag
from nimify.targets.proof import Proofs
from nimify.targets.service_lock import only_one
from nimify.targets.target import (
    Applied,
    Deployment,
    Forecast,
    Instance,
    Order,
    Phase,
    Progress,
    Reference,
    Revision,
)

_ANY: Final = Reference("any")


class CloudTarget:
    """A service at a cloud.

    Attributes:
        name: Of the target.
    """

    summary: str = ""
    name: ClassVar[str]

    def cloud(self, reference: Reference) -> Cloud:
        """The cloud, for one service.

        Raises:
            ConfigError: The namespace is none there.
        """
        raise NotImplementedError

    def preflight(self, order: Order | None) -> Forecast:
        """See the contract."""
        cloud = self.cloud(_ANY if order is None else order.reference)
        if order is None or order.bundle is None:
            return Forecast(tuple(self._machine_findings(cloud)))
        self._check(cloud, order)
        machine = self._machine_findings(cloud)
        if not order.image:
            remedy = "Name it with --image; nimify build --push makes one."
            message = f"The {self.name} target needs a container image in a registry."
            return Forecast((*machine, Finding(f"{self.name}.no-image", Severity.ERROR, message, remedy)))
        findings = [*machine, *cloud.findings(order)]
        if machine:
            release = written(self.name, cloud, order, 1, State())
            return Forecast(tuple(findings), tuple(_by_hand(cloud.by_hand(release, State()))))
        try:
            state = cloud.state()
            if is_live(cloud, order, state):
                return Forecast(tuple(findings))
            release = next_release(self.name, cloud, order, state)
        except ProgramFailed as error:
            raise NotDeployed(f"The {cloud.tool} refuses, and nothing changed: {_clause(error)}.") from error
        change = f"bring release {release.tag}" + (f" in the place of {state.live}" if state.live else "")
        return Forecast(tuple(findings), (change, *_by_hand(cloud.by_hand(release, state))))

    def apply(self, order: Order, progress: Progress) -> Applied:
        """See the contract."""
        cloud, proofs = self.cloud(order.reference), Proofs(self.name, order.reference.name)
        if order.bundle is not None:
            self._check(cloud, order)
        with only_one(proofs.folder):
            rollout = Rollout(self.name, cloud, proofs, order, progress, time.monotonic() + order.timeout_s)
            try:
                changed = rollout.go_back() if order.bundle is None else rollout.deploy(order.bundle)
            except ProgramFailed as error:
                raise NotDeployed(f"The {cloud.tool} refuses: {_clause(error)}.") from error
        return Applied(changed, self.status(order.reference))

    def status(self, reference: Reference) -> Deployment:
        """See the contract."""
        cloud = self.cloud(reference)
        try:
            state, releases = cloud.state(), cloud.releases()
        except ProgramFailed as error:
            raise EnvironmentProblem(f"The {cloud.tool} cannot ask: {_clause(error)}.") from error
        phase = _phase(state, releases)
        answers = phase is Phase.RUNNING
        instances = (Instance(str(state.live), answers, state.word, "" if answers else state.reason),)
        return Deployment(
            self.name,
            reference,
            phase,
            state.url,
            "" if answers else state.reason,
            instances if state.live is not None else (),
            tuple(Revision(tag.number, tag == state.live, source=str(tag)) for tag in reversed(releases)),
        )

    def remove(self, reference: Reference, progress: Progress, *, purge: bool = False) -> bool:
        """See the contract."""
        cloud, proofs = self.cloud(reference), Proofs(self.name, reference.name)
        with only_one(proofs.folder):
            try:
                state, kept = cloud.state(), bool(cloud.releases())
                running = state.present
                if running and state.live is None and not kept:
                    raise EnvironmentProblem(f"'{reference.name}' at {self.name} was not made by nimify.")
                if running:
                    progress(f"'{reference.name}' is stopped at {self.name}.")
                    cloud.stop()
                if purge:
                    cloud.purge()
            except ProgramFailed as error:
                raise EnvironmentProblem(f"The {cloud.tool} refuses: {_clause(error)}.") from error
        if purge:
            remove_tree(proofs.folder)
        return running or (purge and kept)

    def logs(self, reference: Reference, *, lines: int, follow: bool) -> Iterator[str]:
        """See `KeepsLogs`."""
        cloud = self.cloud(reference)
        try:
            yield from cloud.logs(lines=lines, follow=follow)
        except ProgramFailed as error:
            raise EnvironmentProblem(f"The {cloud.tool} cannot ask: {_clause(error)}.") from error

    def _check(self, cloud: Cloud, order: Order) -> None:
        """Refuse what the cloud would misread.

        Raises:
            ConfigError: The name, the image or a setting is none there.
        """
        name = order.reference.name
        if len(name) > cloud.longest_name or not name[0].isalpha():
            raise ConfigError(
                f"'{name}' is no name there: it must begin with a letter and have at most {cloud.longest_name} "
                "characters.",
                field="name",
                remedy="Make the bundle with another --name.",
            )
        if order.image:
            ImageName.parse(order.image, field="--image")
        cloud.files(order, UNNUMBERED, None)

    def _machine_findings(self, cloud: Cloud) -> list[Finding]:
        if cloud.program.path is None:
            message = f"There is no {cloud.program.name} command on this machine."
            remedy = f"Install the {cloud.tool}, or run by hand the commands that a deploy with --dry-run shows."
            return [Finding(f"{self.name}.missing", Severity.ERROR, message, remedy)]
        try:
            cloud.check_signed_in()
        except ProgramFailed as error:
            message = f"The {cloud.tool} may not talk to the cloud: {_clause(error)}."
            return [Finding(f"{self.name}.signed-in", Severity.ERROR, message, f"Sign in with: {cloud.sign_in}")]
        return []


def _phase(state: State, releases: list[Tag]) -> Phase:
    if not state.present:
        return Phase.STOPPED if releases else Phase.ABSENT
    if state.healthy:
        return Phase.RUNNING
    return Phase.FAILED if state.settled else Phase.STARTING


def _clause(error: ProgramFailed) -> str:
    return str(error).rstrip(".")


def _by_hand(commands: Sequence[str]) -> Iterator[str]:
    yield "by hand:"
    yield from (f"  {command}" for command in commands)
