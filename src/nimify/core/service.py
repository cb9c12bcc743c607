"""`NIMService`: a service through its life, from its bundle on."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nimify.core.server import ServerProcess
from nimify.serving.spec import PLAN_FILE, ServiceSpec

if TYPE_CHECKING:
    from nimify.conformance.report import Report
    from nimify.core.deployments import DeployedService
    from nimify.core.tuning import TuningWish
    from nimify.images.build import BuildOptions
    from nimify.images.record import BuildRecord
    from nimify.loadtest.measurement import Glance
    from nimify.targets.target import Applied, Deployment
    from nimify.tuning.report import TuningReport
    from nimify.tuning.trial import Trial


class NIMService:
    """A service that has a bundle.

    Example:
        >>> service = NIMService.open("digits")  # doctest: +SKIP
        >>> with service.serve() as server:  # doctest: +SKIP
        ...     print(server.url)

    Attributes:
        folder: The bundle, absolute.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @classmethod
    def open(cls, folder: str | PathLike[str]) -> NIMService:
        """Open a bundle.

        Raises:
            BundleDamaged: The folder is no bundle, or its plan cannot be read.
        """
        service = cls(Path(folder))
        _ = service.spec  # a folder that is no bundle is refused here, not later
        return service

    @property
    def name(self) -> str:
        """What the service and its model are called in every API."""
        return self.spec.name

    @cached_property
    def spec(self) -> ServiceSpec:
        """Everything that the service must know at run time."""
        return ServiceSpec.load(self.folder)

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """Every decision of the plan with its value and reason, as plan.json has them."""
        plan: Any = json.loads((self.folder / PLAN_FILE).read_bytes())
        return list(plan["decisions"])

    def build(self, options: BuildOptions | None = None, tell: Callable[[str], None] = lambda _: None) -> BuildRecord:
        """Build the service's image, and let it prove itself.

        Args:
            options: What is asked for; the service's own name, on whatever builder works, when left out.
            tell: Told of each step, in one line.

        Raises:
            NimifyError: What kept the image from being built, or from doing what the bundle promises.
        """
        from nimify.artifacts.bundle import Bundle
        from nimify.images.build import BuildOptions, build_image

        return build_image(Bundle.open(self.folder), options or BuildOptions(), tell)

    def validate(self, url: str | None = None, *, only: Collection[str] = ()) -> Report:
        """Check the bundle by the real reader of each file, or a live service against its contract.

        Args:
            url: Where the live service is; the bundle itself is checked when left out.
            only: Names of the checks of a bundle that are made; all of them when left out.

        Raises:
            BundleError: The bundle cannot be read.
            ConfigError: The URL is none, or there is no check of a name.
        """
        if url is None:
            from nimify.conformance.offline import chosen_checks, validate_bundle

            return validate_bundle(self.folder, checks=chosen_checks(only))
        from nimify.artifacts.bundle import Bundle
        from nimify.conformance.live import validate_service

        return validate_service(url, Bundle.open(self.folder))

    def tune(
        self,
        wish: TuningWish | None = None,
        *,
        watch: Callable[[Glance], None] | None = None,
        tell: Callable[[Trial], None] = lambda _: None,
    ) -> TuningReport:
        """Measure which settings serve the bundle best on this machine, and write them into its nimify.yaml.

        Args:
            wish: How; against the latency that the plan promises when left out.
            watch: Told several times a second how a measurement goes.
            tell: Told of each trial that has ended.

        Returns:
            What was tried; the bundle was changed when it has changes, and the wish is no dry run.

        Raises:
            BundleError: The bundle was edited, or is not what its nimify.yaml asks for.
            ConfigError: The wish cannot be fulfilled.
            EnvironmentProblem: The bundle cannot be served as it is.
        """
        from nimify.core.tuning import TuningWish, tune
        from nimify.loadtest.measurement import unwatched

        report = tune(self.folder, wish or TuningWish(), watch=watch or unwatched, tell=tell)
        vars(self).pop("spec", None)  # it may be another one now
        return report

    def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        workers: int | None = None,
        ready_timeout_s: float = 120.0,
        options: tuple[str, ...] = (),
    ) -> ServerProcess:
        """Serve in a process of its own, and wait until it is ready.

        Args:
            host: Address to listen on.
            port: TCP port; 0 takes any free one, and `url` says which.
            workers: Processes that answer; as many as the plan has instances when left out.
            ready_timeout_s: How long loading the model may take.
            options: Further options of `nimify serve`, e.g. `("--max-queue-size", "16")`.

        Returns:
            The running server; leave its context, or call `stop`, to end it.

        Raises:
            NimifyError: What kept the service from starting, as `nimify serve` says it.
        """
        processes = () if workers is None else ("--workers", str(workers))
        return ServerProcess.start(
            self.folder,
            ("--host", host, "--port", str(port), *processes, *options),
            ready_timeout_s=ready_timeout_s,
        )

    def deploy(
        self,
        target: str,
        *,
        image: str = "",
        verify_image: str = "",
        namespace: str = "",
        settings: Mapping[str, str] | None = None,
        timeout_s: float = 600.0,
        headers: Mapping[str, str] | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Applied:
        """Let the service run on a target, and prove it with the golden requests.

        Args:
            target: Where: an entry point of `nimify.targets`, e.g. `process`.
            image: The container image, for targets that run one; the last one that was built when left out.
            verify_image: The public key that the image must be signed with, by cosign; empty to take any.
            namespace: Where the target divides its services.
            settings: The target's own settings, e.g. `{"port": "8080"}`.
            timeout_s: How long all of it may take.
            headers: Sent with the golden requests, for a service that wants a key: `{"X-API-Key": ...}`.
            progress: Told in one sentence each time something happens.

        Raises:
            ConfigError: A setting is unknown or wrong.
            NotDeployed: Nothing changed.
            RolledBack: The new revision failed, and the one before it answers again.
            LeftDegraded: The new revision failed, and so did going back.
        """
        from nimify.core.deployments import deploy, order_for, silent, with_verified_image

        where = {"image": image, "namespace": namespace}
        order = order_for(self.folder, **where, settings=settings, timeout_s=timeout_s, headers=headers)
        if verify_image:
            order = with_verified_image(order, verify_image, target=target)
        return deploy(target, order, progress or silent)

    def status(self, target: str | None = None) -> Deployment:
        """How the deployed service is.

        Args:
            target: Where it runs; where it was last deployed to when left out.

        Raises:
            ConfigError: It was not deployed from this machine, and no target is named.
        """
        return self._deployed(target).status()

    def rollback(self, revision: int | None = None, *, target: str | None = None) -> Applied:
        """Let an earlier revision answer again; raises as `deploy` does."""
        return self._deployed(target).rollback(revision)

    def stop(self, *, target: str | None = None, purge: bool = False) -> bool:
        """End the deployed service; `False` when it does not run."""
        return self._deployed(target).stop(purge=purge)

    def _deployed(self, target: str | None) -> DeployedService:
        from nimify.core.deployments import DeployedService

        return DeployedService.find(str(self.folder), target=target)

    def __repr__(self) -> str:
        return f"NIMService({str(self.folder)!r})"
