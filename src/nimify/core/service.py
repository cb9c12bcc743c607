"""`NIMService`: a service through its life, from its bundle on."""

from __future__ import annotations

import json
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nimify.core.server import ServerProcess
from nimify.serving.spec import PLAN_FILE, ServiceSpec

if TYPE_CHECKING:
    from nimify.conformance.report import Report


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

    def validate(self, url: str | None = None) -> Report:
        """Check the bundle by the real reader of each file, or a live service against its contract.

        Args:
            url: Where the live service is; the bundle itself is checked when left out.

        Raises:
            BundleError: The bundle cannot be read.
            ConfigError: The URL is none.
        """
        if url is None:
            from nimify.conformance.offline import validate_bundle

            return validate_bundle(self.folder)
        from nimify.artifacts.bundle import Bundle
        from nimify.conformance.live import validate_service

        return validate_service(url, Bundle.open(self.folder))

    def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        workers: int = 1,
        ready_timeout_s: float = 120.0,
        options: tuple[str, ...] = (),
    ) -> ServerProcess:
        """Serve in a process of its own, and wait until it is ready.

        Args:
            host: Address to listen on.
            port: TCP port; 0 takes any free one, and `url` says which.
            workers: Processes that answer.
            ready_timeout_s: How long loading the model may take.
            options: Further options of `nimify serve`, e.g. `("--max-queue-size", "16")`.

        Returns:
            The running server; leave its context, or call `stop`, to end it.

        Raises:
            NimifyError: What kept the service from starting, as `nimify serve` says it.
        """
        return ServerProcess.start(
            self.folder,
            ("--host", host, "--port", str(port), "--workers", str(workers), *options),
            ready_timeout_s=ready_timeout_s,
        )

    def __repr__(self) -> str:
        return f"NIMService({str(self.folder)!r})"
