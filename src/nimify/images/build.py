"""The order of a build: preflight, base, image, proof, name, push, signature, record."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.container.container import CONTAINER_FOLDER, FAMILIES, dockerfile_path
from nimify.artifacts.image import image_tag
from nimify.errors import BundleDamaged, ConfigError, EnvironmentProblem
from nimify.findings import Finding, Severity
from nimify.images import cosign
from nimify.images.builders import choose
from nimify.images.context import Context
from nimify.images.image import Base, Builder, ImageRef, Progress, Recipe
from nimify.images.package_index import package_secrets
from nimify.images.proof import Measured, prove
from nimify.images.record import BuildRecord, last_build
from nimify.images.reference import ImageName
from nimify.images.runtime import Confinement
from nimify.images.wheel import Wheel, installed_wheel
from nimify.planning.assets import PROCESSORS_FOLDER
from nimify.planning.repository import REPOSITORY
from nimify.quantities import human_bytes
from nimify.serving.spec import OPENAPI_FILE, PLAN_FILE

DEFAULT_TIMEOUT_S: Final = 1800.0
_BASE: Final = re.compile(r"^ARG BASE=(\S+)$", re.MULTILINE)
_PLATFORM: Final = re.compile(r"[a-z0-9]+/[a-z0-9]+(/v[0-9]+)?")
_NETWORKS: Final = ("default", "host", "none")
_LEAST_MEMORY: Final = 256 << 20
_SIGN_IMAGE: Final = "--sign-image"


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What is asked of a build.

    Attributes:
        tag: The name of the image; empty for the service's name and version.
        builder: `docker`, `buildah`, `podman`, or `auto` for the first that works.
        family: `cpu` or `triton`; empty for the one that the plan names.
        base: What to build on; empty for what the Dockerfile names.
        platform: e.g. `linux/amd64`; empty for the builder's own.
        network: Of the steps that fetch packages: `default`, `host` or `none`.
        push: Whether to send it to its registry.
        sign_image: The key that signs it in its registry, as cosign takes it; empty for no signature.
        proof: Whether it must prove itself.
        timeout_s: How long the build may take.
    """

    tag: str = ""
    builder: str = "auto"
    family: str = ""
    base: str = ""
    platform: str = ""
    network: str = ""
    push: bool = False
    sign_image: str = ""
    proof: bool = True
    timeout_s: float = DEFAULT_TIMEOUT_S

    def __post_init__(self) -> None:
        if self.family and self.family not in FAMILIES:
            raise ConfigError(f"must be one of {', '.join(FAMILIES)}, not '{self.family}'.", field="--family")
        if self.platform and not _PLATFORM.fullmatch(self.platform):
            raise ConfigError(f"'{self.platform}' is none; write e.g. linux/amd64.", field="--platform")
        if self.network and self.network not in _NETWORKS:
            raise ConfigError(f"must be one of {', '.join(_NETWORKS)}, not '{self.network}'.", field="--network")
        if self.sign_image and not self.push:
            remedy = "Add --push: a signature lies beside the image in its registry."
            raise ConfigError("only an image in a registry can be signed.", field=_SIGN_IMAGE, remedy=remedy)


def build_image(bundle: Bundle, options: BuildOptions, tell: Progress) -> BuildRecord:
    """Build the image of a bundle, let it prove itself, and name it. Without proof it gets no name.

    Args:
        bundle: What it is to serve.
        options: What is asked for.
        tell: Told of each step, in one line.

    Raises:
        ConfigError: A name or an option is wrong.
        BundleDamaged: The bundle is not what nimify wrote.
        EnvironmentProblem: No builder works here, the base cannot be had, or the registry refuses.
        BuildFailed: A step failed.
        ProofFailed: The image does not do what its bundle promises.
    """
    name = _name(bundle, options)
    decided = bundle.decided()
    family = options.family or str(decided["deployment.family"])
    findings = _intact(bundle)
    base_name = _base_name(bundle, family, options)
    if options.sign_image:
        cosign.check_key(options.sign_image, field=_SIGN_IMAGE)
    builder, version = choose(options.builder)
    tell(f"{builder.name} {version} builds the {family} image of '{bundle.service.name}'.")
    base = builder.find_base(base_name, platform=options.platform)
    wheel = installed_wheel()
    context = Context.of(bundle, family, wheel)
    image, inputs = _built(builder, context, base, wheel, family, options, tell)
    tell(f"The image is built: {image.id[:19]}, {human_bytes(image.size_bytes)}.")
    measured = _proven(builder, image, bundle, decided, options, tell) if options.proof else None
    image = replace(image, name=str(name))
    builder.tag(image, name)
    if options.push:
        tell(f"It is sent to {name}.")
        image = replace(image, digest=builder.push(image, name))
    if options.sign_image:
        _sign(image, name, options, tell)
    record = BuildRecord(
        image=image,
        family=family,
        builder=f"{builder.name} {version}",
        base=base,
        inputs=inputs,
        model_digest=bundle.service.model_digest,
        wheel_digest=wheel.digest,
        measured=measured,
        pushed=options.push,
        signed=bool(options.sign_image),
        findings=(*findings, *base.findings, *_unproven(options), *_other_id(bundle, image, inputs)),
    )
    record.save(bundle.path)
    return record


def _name(bundle: Bundle, options: BuildOptions) -> ImageName:
    service = bundle.service
    name = ImageName.parse(options.tag or f"{service.name}:{image_tag(service)}", field="--tag")
    if name.digest:
        raise ConfigError(
            f"'{name}' names an image by its digest, which only a build decides.",
            field="--tag",
            remedy="Leave the digest out.",
        )
    return name if name.tag else ImageName(name.repository, image_tag(service))


def _intact(bundle: Bundle) -> tuple[Finding, ...]:
    """See that what goes into the image is what nimify wrote.

    Raises:
        BundleDamaged: It is not, beyond the Dockerfiles, which an owner may have reason to change.
    """
    remedy = "Write the bundle again with: nimify create MODEL"
    if missing := [path for path in bundle.missing_files() if _matters(path)]:
        raise BundleDamaged(f"'{bundle.path}' has lost {missing[0]}.", remedy=remedy)
    edited = [path for path in bundle.edited_files() if _matters(path)]
    if wrong := [path for path in edited if not path.startswith(f"{CONTAINER_FOLDER}/")]:
        raise BundleDamaged(f"'{wrong[0]}' of '{bundle.path}' is not what nimify wrote.", remedy=remedy)
    message = "{} was changed since nimify wrote it; the image is built from it as it is."
    return tuple(Finding("bundle.edited", Severity.WARNING, message.format(path), remedy) for path in edited)


def _matters(path: str) -> bool:
    return path.partition("/")[0] in {CONTAINER_FOLDER, REPOSITORY, PROCESSORS_FOLDER, PLAN_FILE, OPENAPI_FILE}


def _base_name(bundle: Bundle, family: str, options: BuildOptions) -> ImageName:
    if options.base:
        return ImageName.parse(options.base, field="--base")
    path = bundle.path / dockerfile_path(family)
    try:
        match = _BASE.search(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BundleDamaged(f"'{path}' cannot be read.") from error
    if match is None:
        raise ConfigError(f"'{path}' names no base.", field="--base", remedy="Name one with --base.")
    return ImageName.parse(match[1], field="ARG BASE")


def _built(
    builder: Builder, context: Context, base: Base, wheel: Wheel, family: str, options: BuildOptions, tell: Progress
) -> tuple[ImageRef, str]:
    labels = {
        "org.opencontainers.image.base.name": base.name.partition("@")[0],
        **({"org.opencontainers.image.base.digest": base.digest} if base.digest else {}),
        "io.nimify.wheel-digest": wheel.digest,
    }
    with package_secrets(os.environ) as secrets:
        recipe = Recipe(
            dockerfile=dockerfile_path(family),
            context=context,
            base=base.name,
            labels=labels,
            secrets=secrets,
            platform=options.platform,
            network=options.network,
            timeout_s=options.timeout_s,
        )
        image = builder.build(recipe, tell)
    return image, context.digest([base.name, base.id, family, builder.name, options.platform])


def _proven(
    builder: Builder,
    image: ImageRef,
    bundle: Bundle,
    decided: Mapping[str, Any],
    options: BuildOptions,
    tell: Progress,
) -> Measured:
    confinement = Confinement(
        memory_bytes=max(int(decided["deployment.memory_limit"]), _LEAST_MEMORY),
        tmp_bytes=int(decided["deployment.tmp"]),
        cache_bytes=int(decided["deployment.cache"]),
        platform=options.platform,
    )
    runtime = builder.runtime(image)
    try:
        return prove(runtime, bundle, confinement, ready_s=float(decided["deployment.startup_s"]), tell=tell)
    finally:
        runtime.close()


def _sign(image: ImageRef, name: ImageName, options: BuildOptions, tell: Progress) -> None:
    if not image.digest:
        message = f"The registry has {name}, and the builder does not say under which digest, so it is not signed."
        raise EnvironmentProblem(message, remedy="Sign it with cosign by the digest that the registry names.")
    tell("It is signed, and the signature is put beside it.")
    cosign.sign(name.pinned(image.digest), options.sign_image, field=_SIGN_IMAGE)


def _unproven(options: BuildOptions) -> tuple[Finding, ...]:
    if options.proof:
        return ()
    message = "The image did not prove itself, because it was not to."
    return (Finding("image.not-proven", Severity.WARNING, message, "Build again without --no-prove."),)


def _other_id(bundle: Bundle, image: ImageRef, inputs: str) -> tuple[Finding, ...]:
    """Say so when the same inputs gave another image than the last time."""
    before = last_build(bundle.path)
    known = before.get("image")
    if before.get("inputs") != inputs or not isinstance(known, dict) or known.get("id") == image.id:
        return ()
    message = (
        f"The same inputs gave another image id than the last build ({str(known.get('id'))[:19]}): the builder's cache "
        "was not there any more, and it writes the time of its steps into folders and history."
    )
    return (Finding("image.id-changed", Severity.INFO, message),)
