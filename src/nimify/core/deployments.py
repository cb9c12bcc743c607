"""Deployments: from a bundle to a service that runs somewhere, and what can be done with it then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from nimify import plugins
from nimify.artifacts.bundle import Bundle
from nimify.errors import ConfigError, EnvironmentProblem, NotDeployed
from nimify.images import cosign
from nimify.images.record import last_build
from nimify.images.reference import ImageName
from nimify.monitoring.monitor import Source
from nimify.targets.state_folder import Placement, checked_name, forget, placement_of, remember
from nimify.targets.target import (
    DEFAULT_TIMEOUT_S,
    Applied,
    Deployment,
    Forecast,
    KeepsLogs,
    Order,
    Phase,
    Progress,
    ProxiesMetrics,
    Reference,
    ServesBundles,
    Target,
)

_VERIFY_IMAGE: Final = "--verify-image"


def silent(_: str) -> None:
    """Tell nobody."""


def target_named(name: str) -> Target:
    """The target of that name.

    Raises:
        PluginError: There is none, or it cannot be loaded.
    """
    target: Target = plugins.find(plugins.TARGETS, name).load()()
    return target


def service_name(subject: str) -> str:
    """The name of a service, by its bundle's folder or as it is.

    Raises:
        BundleError: The folder is no bundle.
        ConfigError: It is no name.
    """
    return Bundle.open(Path(subject)).service.name if Path(subject).is_dir() else checked_name(subject)


def order_for(
    bundle: Path,
    *,
    image: str = "",
    namespace: str = "",
    settings: Mapping[str, str] | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    headers: Mapping[str, str] | None = None,
) -> Order:
    """The order to deploy a bundle.

    Args:
        bundle: Its folder.
        image: The container image; the one that was last built of the bundle when left out.
        namespace: Where the target divides its services.
        settings: The target's own settings, as they were typed.
        timeout_s: How long all of it may take.
        headers: Sent with the golden requests, for a service that wants a key.

    Raises:
        BundleError: It is no bundle, or is damaged.
    """
    opened = Bundle.open(bundle.absolute())
    built: dict[str, Any] = last_build(opened.path).get("image", {})
    return Order(
        reference=Reference(opened.service.name, namespace),
        bundle=opened,
        image=image or _built_image(built),
        settings=dict(settings or {}),
        timeout_s=timeout_s,
        headers=dict(headers or {}),
    )


def with_verified_image(order: Order, key: str, *, target: str) -> Order:
    """The order with its image by the digest that is signed with a key.

    Args:
        order: With a bundle.
        key: The public key: a file, `env://NAME`, or one of a key store as cosign names it.
        target: Where it is to run.

    Raises:
        ConfigError: There is no such key, or no image that could be signed.
        EnvironmentProblem: There is no cosign on this machine.
        NotDeployed: The image is not signed with it, or that cannot be found out.
        PluginError: There is no such target.
    """
    place = target_named(target)
    if isinstance(place, ServesBundles) and place.serves_bundles:
        remedy = "Sign the bundle instead: nimify sign, and NIMIFY_VERIFY_KEY where it is served."
        raise ConfigError(f"the target '{target}' runs no image.", field=_VERIFY_IMAGE, remedy=remedy)
    if not order.image:
        remedy = "Name it with --image; nimify build --push --sign-image KEY makes one."
        raise ConfigError("there is no image whose signature could be checked.", field=_VERIFY_IMAGE, remedy=remedy)
    image = ImageName.parse(order.image, field="--image")
    try:
        return replace(order, image=str(cosign.verified(image, key, field=_VERIFY_IMAGE)))
    except cosign.NotSigned as error:
        raise NotDeployed(
            f"{error} Nothing changed.", remedy="Deploy an image that its owner signed; cosign says the same of others."
        ) from error


def _built_image(built: Mapping[str, Any]) -> str:
    """The image that `nimify build` made last, by its digest when it is in a registry."""
    name, digest = str(built.get("name", "")), str(built.get("digest", ""))
    return str(ImageName.parse(name, field="build.json").pinned(digest)) if name and digest else name


def foresee(target_name: str, order: Order) -> Forecast:
    """What an order would change, and what stands in its way; changes nothing.

    Raises:
        ConfigError: A setting is unknown or wrong.
        PluginError: There is no such target.
    """
    return target_named(target_name).preflight(order)


def deploy(target_name: str, order: Order, progress: Progress = silent) -> Applied:
    """Carry out an order, when nothing stands in its way.

    Raises:
        ConfigError: A setting is unknown or wrong.
        NotDeployed: Something stands in the way, or the new revision failed; nothing changed.
        RolledBack: The new revision failed, and the one before it answers again.
        LeftDegraded: The new revision failed, and so did going back.
    """
    target = target_named(target_name)
    errors = target.preflight(order).errors
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise NotDeployed(f"{errors[0].message}{more}", remedy=errors[0].remedy)
    applied = target.apply(order, progress)
    remember(order.reference.name, Placement(target_name, order.reference.namespace))
    return applied


@dataclass(frozen=True, slots=True)
class DeployedService:
    """A service that was deployed, wherever it runs.

    Attributes:
        target_name: Where.
        reference: Under which name.
    """

    target_name: str
    reference: Reference

    @classmethod
    def find(cls, subject: str, *, target: str | None = None, namespace: str | None = None) -> Self:
        """A service by its bundle's folder or its name, on the target that it last went to.

        Args:
            subject: A bundle, or a name.
            target: Where it runs, when it was not deployed from this machine.
            namespace: The same.

        Raises:
            BundleError: The folder is no bundle.
            ConfigError: Where it was deployed is not known.
        """
        name = service_name(subject)
        placement = placement_of(name)
        if target is None and placement is None:
            raise ConfigError(
                f"'{name}' was not deployed from this machine.",
                remedy="Say where it runs with --target, or deploy it: nimify deploy BUNDLE --target TARGET",
            )
        chosen = target or (placement.target if placement is not None else "")
        known = placement.namespace if placement is not None and placement.target == chosen else ""
        return cls(chosen, Reference(name, known if namespace is None else namespace))

    @property
    def target(self) -> Target:
        """The target, loaded."""
        return target_named(self.target_name)

    def status(self) -> Deployment:
        """How it is."""
        return self.target.status(self.reference)

    def rollback(
        self,
        revision: int | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        progress: Progress = silent,
        headers: Mapping[str, str] | None = None,
    ) -> Applied:
        """Go back to an earlier revision; to the one before the present one when none is named.

        Raises:
            ConfigError: There is no such revision.
            NotDeployed, RolledBack, LeftDegraded: As `deploy`.
        """
        order = Order(self.reference, revision=revision, timeout_s=timeout_s, headers=dict(headers or {}))
        return self.target.apply(order, progress)

    def stop(self, *, purge: bool = False, progress: Progress = silent) -> bool:
        """Stop it; `False` when there was nothing to stop."""
        stopped = self.target.remove(self.reference, progress, purge=purge)
        if self.status().phase is Phase.ABSENT:
            forget(self.reference.name)
        return stopped

    def sources(self) -> list[Source]:
        """Where the metrics of its replicas can be read now."""
        target = self.target
        ask = target.metrics if isinstance(target, ProxiesMetrics) else None
        return [
            Source(
                instance.name,
                instance.url,
                instance.reason,
                None if ask is None else partial(ask, self.reference, instance.name),
            )
            for instance in target.status(self.reference).instances
        ]

    def logs(self, *, lines: int = 100, follow: bool = False) -> Iterator[str]:
        """What it wrote last, and what it goes on to write.

        Raises:
            EnvironmentProblem: This target has no logs at hand.
        """
        target = self.target
        if not isinstance(target, KeepsLogs):
            raise EnvironmentProblem(f"The target '{self.target_name}' does not keep logs where nimify can read them.")
        return target.logs(self.reference, lines=lines, follow=follow)
