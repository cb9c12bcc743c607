"""The `process` target, as the contract has it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from nimify.errors import EnvironmentProblem
from nimify.filesystem import remove_tree
from nimify.targets.process.folder import ServiceFolder
from nimify.targets.process.forecast import forecast, machine_findings
from nimify.targets.process.log_file import following, last_lines
from nimify.targets.process.orders import stop
from nimify.targets.process.rollout import Rollout
from nimify.targets.process.view import deployment_of
from nimify.targets.target import Applied, Deployment, Forecast, Order, Progress, Reference


class ProcessTarget:
    """Services of this machine, without containers."""

    summary = "a supervised service of this machine, without containers"
    serves_bundles = True

    def preflight(self, order: Order | None) -> Forecast:
        """See the contract."""
        if order is None or order.bundle is None:
            return Forecast(machine_findings())
        return forecast(ServiceFolder.of(order.reference.name), order, order.bundle)

    def apply(self, order: Order, progress: Progress) -> Applied:
        """See the contract."""
        folder = ServiceFolder.of(order.reference.name)
        with folder.ours():
            rollout = Rollout(folder, order, progress, time.monotonic() + order.timeout_s)
            changed = rollout.go_back() if order.bundle is None else rollout.deploy(order.bundle)
        return Applied(changed, deployment_of(folder))

    def status(self, reference: Reference) -> Deployment:
        """See the contract."""
        return deployment_of(ServiceFolder.of(reference.name))

    def remove(self, reference: Reference, progress: Progress, *, purge: bool = False) -> bool:
        """See the contract."""
        folder = ServiceFolder.of(reference.name)
        if not folder.path.is_dir():
            return False
        with folder.ours():
            running = folder.supervised
            if running:
                progress(f"'{reference.name}' finishes its requests.")
                stop(folder)
            if purge:
                remove_tree(folder.path)
        return running or purge

    def logs(self, reference: Reference, *, lines: int, follow: bool) -> Iterator[str]:
        """See `KeepsLogs`."""
        folder = ServiceFolder.of(reference.name)
        if not folder.log.exists():
            raise EnvironmentProblem(f"'{reference.name}' has no log on this machine.", remedy="Was it deployed here?")
        yield from last_lines(folder.log, lines)
        if follow:
            yield from following(folder.log, lambda: True)
