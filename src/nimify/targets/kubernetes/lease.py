"""One deployment of a service at a time, wherever it is started from: a Lease in the service's namespace.

Its holder renews it; one that was killed stops doing so, and the next one takes it over when it has expired.
"""

from __future__ import annotations

import datetime
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from nimify.errors import NotDeployed
from nimify.programs import ProgramFailed
from nimify.targets.kubernetes.cluster import Cluster, Document

LASTS_S: Final = 30
_RENEWED_EVERY_S: Final = 10.0
_RESOURCE: Final = "leases.coordination.k8s.io"
_PROVEN: Final = "nimify.io/proven-revision"
_SKIPPED: Final = "nimify.io/skipped-revisions"
_REMEMBERED: Final = 20


@dataclass
class DeployerLease:
    """The Lease of a service, while it is ours.

    Attributes:
        proven: The revision of the release that was proven last; `None` when none was.
        skipped: Revisions that no rollback goes to unless it is told their number: those that were undone, which Helm
            calls superseded like all others, and those that came back as another one.
        new_namespace: Whether the namespace is not there yet; the Lease is then made when the release has made it.
    """

    proven: int | None = None
    skipped: set[int] = field(default_factory=set)
    new_namespace: bool = False

    def forget(self) -> None:
        """Begin anew: Helm counts the revisions of a new release from 1 again."""
        self.proven = None
        self.skipped.clear()


@contextmanager
def only_one_deployer(cluster: Cluster, service: str) -> Iterator[DeployerLease]:
    """Hold the Lease of a service. It stays in the namespace afterwards, free, and remembers what was proven.

    Raises:
        NotDeployed: Somebody else holds it.
        ProgramFailed: The API server refuses.
    """
    holder = _Holder(cluster, service, f"{socket.gethostname()}-{os.getpid()}")
    holder.take()
    ended = threading.Event()
    renewing = threading.Thread(target=holder.renew, args=(ended,), name="nimify-lease", daemon=True)
    renewing.start()
    try:
        yield holder.lease
    finally:
        ended.set()
        renewing.join()
        with suppress(ProgramFailed):
            holder.write(free=True)


class _Holder:
    """Takes, renews and frees a Lease."""

    def __init__(self, cluster: Cluster, service: str, identity: str) -> None:
        self.lease = DeployerLease()
        self._cluster = cluster
        self._service = service
        self._name = f"nimify-{service}"
        self._identity = identity

    def take(self) -> None:
        """Make it ours.

        Raises:
            NotDeployed: Somebody else has it, or was quicker.
        """
        try:
            found = self._cluster.get(_RESOURCE, self._name)
            if found is not None:
                self._refuse_held(found["spec"])
                self._read(found["metadata"].get("annotations", {}))
            self._put(found, free=False)
        except ProgramFailed as error:
            if error.says("alreadyexists", "conflict"):
                raise NotDeployed(
                    f"'{self._service}' is being deployed by somebody else, who was quicker.",
                    remedy="Wait until it is done.",
                ) from error
            if not (error.says("namespaces") and error.says("not found")):
                raise
            self.lease.new_namespace = True  # nobody can be there before the release makes it

    def renew(self, ended: threading.Event) -> None:
        """Renew it until the end."""
        while not ended.wait(_RENEWED_EVERY_S):
            with suppress(ProgramFailed):  # the next round tries again, well before it expires
                self.write(free=False)

    def write(self, *, free: bool) -> None:
        """Renew it, or let go of it; leaves alone what is not ours any more."""
        found = self._cluster.get(_RESOURCE, self._name)
        if found is None or found["spec"].get("holderIdentity") == self._identity:
            self._put(found, free=free)

    def _read(self, noted: Document) -> None:
        proven = noted.get(_PROVEN, "")
        self.lease.proven = int(proven) if proven.isdigit() else None
        self.lease.skipped = {int(number) for number in noted.get(_SKIPPED, "").split(",") if number.isdigit()}

    def _refuse_held(self, spec: Document) -> None:
        if spec.get("holderIdentity") and not _expired(spec):
            raise NotDeployed(
                f"'{self._service}' is being deployed by {spec['holderIdentity']} right now.",
                remedy=f"Wait until it is done; one that was killed is forgotten after {LASTS_S} seconds.",
            )

    def _noted(self) -> dict[str, str]:
        noted = {} if self.lease.proven is None else {_PROVEN: str(self.lease.proven)}
        if self.lease.skipped:
            # Helm keeps fewer revisions than these.
            noted[_SKIPPED] = ",".join(map(str, sorted(self.lease.skipped)[-_REMEMBERED:]))
        return noted

    def _put(self, found: Document | None, *, free: bool) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        metadata: dict[str, Any] = {"name": self._name, "annotations": self._noted()}
        if found is not None:
            # With the version that was read, the API server refuses when somebody else was quicker.
            metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
        document = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": "" if free else self._identity,
                "leaseDurationSeconds": LASTS_S,
                "renewTime": now,
            },
        }
        if found is None:
            self._cluster.create(document)
        else:
            self._cluster.replace(document)


def _expired(spec: Document) -> bool:
    try:
        renewed = datetime.datetime.fromisoformat(str(spec["renewTime"]).replace("Z", "+00:00"))
    except (KeyError, ValueError):
        return True
    age = datetime.datetime.now(datetime.UTC) - renewed
    return age.total_seconds() > float(spec.get("leaseDurationSeconds", LASTS_S))
