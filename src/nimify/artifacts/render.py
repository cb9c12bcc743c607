"""Every file of a bundle, from a plan; nothing is written here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from nimify.analysis.analysis import Analysis
from nimify.artifacts.artifact import Artifact, CopiedFile, json_artifact
from nimify.artifacts.chart.chart import chart_artifacts
from nimify.artifacts.container.container import container_artifacts
from nimify.artifacts.extras import extra_artifacts
from nimify.artifacts.golden import Golden, golden_artifacts, kept
from nimify.artifacts.manifest import Manifest, ManifestFile, checked_paths
from nimify.artifacts.monitoring.monitoring import monitoring_artifacts
from nimify.artifacts.openapi.document import openapi_artifact
from nimify.artifacts.settings import schema_artifact, settings_artifact
from nimify.artifacts.triton import triton_artifact
from nimify.config import ModelConfig
from nimify.errors import ConfigError, EnvironmentProblem
from nimify.formats.format import sha256_of
from nimify.planning.assets import Asset
from nimify.planning.plan import ServicePlan
from nimify.serving.spec import PLAN_FILE

Item = Artifact | CopiedFile
"""A file of a bundle: generated, or copied from elsewhere."""


def render(
    plan: ServicePlan,
    config: ModelConfig,
    analysis: Analysis,
    *,
    settings: str | None = None,
    assets: Iterable[Asset] = (),
    previous: Golden | None = None,
) -> list[Item]:
    """The files of a bundle, sorted by path; the same inputs give the same bytes.

    Args:
        plan: What was decided.
        config: What was asked for, its files placed in the bundle; see `collect_assets`.
        analysis: What the golden requests come from.
        settings: The owner's own text of nimify.yaml, when it asks for exactly `config`; kept byte for byte.
        assets: Files that the settings name.
        previous: The golden requests of the bundle that is written again; kept where they still hold.

    Raises:
        ConfigError: Two files would have one place.
        EnvironmentProblem: An asset cannot be read.
    """
    cases = kept(plan, analysis.golden, previous)
    openapi, assets = openapi_artifact(plan, cases), tuple(assets)
    items: list[Item] = [
        settings_artifact(config, source=plan.model.name, text=settings),
        schema_artifact(),
        json_artifact(PLAN_FILE, plan.to_dict()),
        triton_artifact(plan, cases),
        openapi,
        *golden_artifacts(plan, cases),
        *chart_artifacts(plan, config.deployment),
        *container_artifacts(plan, openapi=openapi.content, assets=[asset.path for asset in assets]),
        *monitoring_artifacts(plan),
        *extra_artifacts(plan, config.extras),
        *_model_files(plan),
        *(_copied(asset) for asset in assets),
    ]
    items.append(_manifest(plan, items).artifact())
    try:
        checked_paths(item.path for item in items)
    except ValueError as error:
        raise ConfigError(f"the files of the bundle cannot be laid out: {error}.") from error
    return sorted(items, key=lambda item: item.path)


def digest_of(item: Item) -> ManifestFile:
    """Digest and length of what an item will be on disk."""
    if isinstance(item, CopiedFile):
        return ManifestFile(item.sha256, item.size_bytes)
    return ManifestFile(hashlib.sha256(item.content).hexdigest(), len(item.content))


def is_owned(item: Item) -> bool:
    """Whether the bundle's owner may edit it."""
    return isinstance(item, Artifact) and item.owned_by_user


def _manifest(plan: ServicePlan, items: list[Item]) -> Manifest:
    return Manifest(
        model_digest=plan.service.model_digest,
        files={item.path: digest_of(item) for item in items if not is_owned(item)},
        owned=tuple(item.path for item in items if is_owned(item)),
    )


def _model_files(plan: ServicePlan) -> list[CopiedFile]:
    """The model file and its external data, each from beside the model to its place in the repository."""
    model = plan.model
    sources = [model.path, *(model.path.parent / file.location for file in model.files[1:])]
    return [
        CopiedFile(file.path, source, file.sha256, file.size_bytes)
        for file, source in zip(plan.service.model_files, sources, strict=True)
    ]


def _copied(asset: Asset) -> CopiedFile:
    try:
        return CopiedFile(asset.path, asset.source, sha256_of(asset.source), asset.source.stat().st_size)
    except OSError as error:
        raise EnvironmentProblem(f"'{asset.source}' cannot be read ({error.strerror}).") from error
