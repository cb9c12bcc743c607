"""How a service of the process target is, put together from its supervisor's report and its revisions."""

from __future__ import annotations

from typing import Final

from nimify.targets.process.folder import Report, ServiceFolder
from nimify.targets.process.revisions import Revisions, Snapshot
from nimify.targets.target import Deployment, Instance, Phase, Reference, Revision
from nimify.targets.verification import unready

TARGET: Final = "process"
_PHASES: Final = {
    "starting": Phase.STARTING,
    "switching": Phase.RUNNING,
    "running": Phase.RUNNING,
    "restarting": Phase.FAILED,
    "stopping": Phase.STOPPED,
    "stopped": Phase.STOPPED,
}


def deployment_of(folder: ServiceFolder) -> Deployment:
    """What is deployed under the name of this folder, and how it is."""
    report = folder.report()
    snapshots = Revisions(folder.revisions).all()
    reference = Reference(folder.name)
    if report is None or not snapshots:
        return Deployment(TARGET, reference, Phase.ABSENT)
    if not folder.supervised:
        return _unsupervised(folder, reference, snapshots, report)
    phase, reason = _health(report)
    return Deployment(
        TARGET, reference, phase, report.url, reason, _instances(report, reason), _revisions(snapshots, report.live)
    )


def live_revision(folder: ServiceFolder) -> int | None:
    """The revision that a living supervisor keeps running."""
    report = folder.report()
    return report.live if report is not None and folder.supervised else None


def _unsupervised(folder: ServiceFolder, reference: Reference, snapshots: list[Snapshot], report: Report) -> Deployment:
    wanted = folder.wanted()
    if report.state == "stopped" or wanted is None or wanted.revision is None:
        reason = "It was stopped." if report.state == "stopped" else "It is not running."
        return Deployment(TARGET, reference, Phase.STOPPED, reason=reason, revisions=_revisions(snapshots, None))
    reason = "Its supervisor is gone: it was killed, or this machine was started anew. Deploy it again."
    return Deployment(TARGET, reference, Phase.FAILED, reason=reason, revisions=_revisions(snapshots, None))


def _health(report: Report) -> tuple[Phase, str]:
    phase = _PHASES.get(report.state, Phase.FAILED)
    if phase is not Phase.RUNNING:
        return phase, report.trouble or report.failure
    if report.state == "switching":
        return phase, ""  # whoever leaves says that it is not ready, which is as it should be
    problem = unready(report.url)
    return (phase, "") if problem is None else (Phase.FAILED, problem)


def _instances(report: Report, reason: str) -> tuple[Instance, ...]:
    if not report.instance:
        return ()
    name = f"process {report.instance}"
    ready = report.state in {"running", "switching"} and not reason
    return (Instance(name, ready, report.state, reason, report.restarts, report.url),)


def _revisions(snapshots: list[Snapshot], live: int | None) -> tuple[Revision, ...]:
    return tuple(
        Revision(
            number=snapshot.number,
            live=snapshot.number == live,
            version=snapshot.version,
            model_digest=snapshot.model_digest,
            source=snapshot.digest,
            deployed_at=snapshot.made_at,
        )
        for snapshot in reversed(snapshots)
    )
