"""Which ONNX Runtime loads a model: the one installed here, and the one in each release of Triton."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from nimify.analysis.tables.releases import RuntimeRelease, RuntimeTable, TritonRelease, TritonTable
from nimify.findings import Finding, Severity
from nimify.formats.format import ModelInfo

_ML: Final = "ai.onnx.ml"
_STANDARD: Final = "ai.onnx"
_CONVERT: Final = (
    'python -c "import onnx, onnx.version_converter as c; '
    "onnx.save(c.convert_version(onnx.load('model.onnx'), {opset}), 'converted.onnx')\""
)
_LOWER_IR: Final = (
    "python -c \"import onnx; m = onnx.load('model.onnx'); m.ir_version = {ir}; onnx.save(m, 'converted.onnx')\""
)


@dataclass(frozen=True, slots=True)
class ReleaseFit:
    """Whether one release of Triton loads a model.

    Attributes:
        tag: The release, e.g. `26.08`.
        fits: Whether it does; `None` when that cannot be told.
        reason: Why, in one sentence.
        trust: `known` when its ONNX Runtime is known, `inferred` when the answer follows from an older release.
    """

    tag: str
    fits: bool | None
    reason: str
    trust: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"tag": self.tag, "fits": self.fits, "reason": self.reason, "trust": self.trust}


@dataclass(frozen=True, slots=True)
class VersionReport:
    """What loads a model.

    Attributes:
        runs_here: Whether the ONNX Runtime of this environment should load it; `None` when that cannot be told.
        here: The version installed here; empty when there is none.
        reason: Why, in one sentence.
        newest_release: The newest release of Triton that fits, its ONNX Runtime known or not; `None` when none does.
        newest_known: The newest one that fits and whose ONNX Runtime is known.
        releases: Every release of the table, newest first.
        remedy: What to do when something does not fit; empty when all is well.
    """

    runs_here: bool | None
    here: str
    reason: str
    newest_release: str | None
    newest_known: str | None
    releases: tuple[ReleaseFit, ...]
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "runs_here": self.runs_here,
            "here": self.here,
            "reason": self.reason,
            "newest_release": self.newest_release,
            "newest_known": self.newest_known,
            "releases": [release.to_dict() for release in self.releases],
            "remedy": self.remedy,
        }

    def findings(self) -> tuple[Finding, ...]:
        """What a person should know of it."""
        if self.runs_here is False:
            return (Finding("versions.not-here", Severity.WARNING, self.reason, self.remedy),)
        if self.newest_release is None:
            message = "No release of Triton in the table is known to load this model."
            return (Finding("versions.no-triton", Severity.WARNING, message, self.remedy),)
        return ()


def check_versions(
    model: ModelInfo, *, runtimes: RuntimeTable, triton: TritonTable, installed: str | None = None
) -> VersionReport:
    """Compare what a model asks for with what each runtime takes.

    Args:
        model: What the file says of itself.
        runtimes: What each ONNX Runtime takes.
        triton: Which ONNX Runtime each Triton has.
        installed: Version installed here; asked of the environment when left out.
    """
    here = installed_runtime() if installed is None else installed
    needs = _Needs.of(model, runtimes)
    runtime = runtimes.of(here) if here else None
    misfit = None if runtime is None else needs.misfit(runtime, here)
    releases = tuple(_release_fits(needs, runtimes, triton))
    return VersionReport(
        runs_here=None if runtime is None else misfit is None,
        here=here,
        reason=misfit or (needs.fit(runtime, here) if runtime else "Nothing is known of the ONNX Runtime here."),
        newest_release=next((release.tag for release in releases if release.fits), None),
        newest_known=next((release.tag for release in releases if release.fits and release.trust == "known"), None),
        releases=releases,
        remedy=needs.remedy(releases, runtimes, triton) if misfit or not releases or not releases[-1].fits else "",
    )


def installed_runtime() -> str:
    """Version of the ONNX Runtime in this environment; empty when there is none. Nothing of it is imported."""
    for package in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""


@dataclass(frozen=True, slots=True)
class _Needs:
    """What a model asks of a runtime."""

    opset: int
    ml_opset: int
    ir: int
    unknown_operators: tuple[str, ...]
    has_custom_domain: bool

    @classmethod
    def of(cls, model: ModelInfo, runtimes: RuntimeTable) -> _Needs:
        return cls(
            opset=model.opsets.get(_STANDARD, 0),
            ml_opset=model.opsets.get(_ML, 0) if _uses_ml(model) else 0,
            ir=int(model.format_version) if model.format_version.isdigit() else 0,
            unknown_operators=tuple(_unknown_operators(model, runtimes)),
            has_custom_domain=any(finding.code == "onnx.custom-operators" for finding in model.findings),
        )

    def misfit(self, runtime: RuntimeRelease, name: str) -> str | None:
        """Why a runtime does not load the model; `None` when it does."""
        what = f"ONNX Runtime {name}"
        if self.has_custom_domain:
            return f"The model uses operators of a domain that {what} does not bring."
        if self.unknown_operators:
            return f"No operator set up to {self.opset} has the operator {self.unknown_operators[0]}, nor has {what}."
        if self.opset > runtime.opset_max:
            return f"{what} takes operator sets up to {runtime.opset_max}, and the model uses {self.opset}."
        if self.opset and self.opset < runtime.opset_min:
            return f"{what} takes operator sets from {runtime.opset_min} on, and the model uses {self.opset}."
        if self.ml_opset > runtime.ml_opset_max:
            return f"{what} takes {_ML} up to {runtime.ml_opset_max}, and the model uses {self.ml_opset}."
        if self.ir > runtime.ir_max:
            return f"{what} takes IR versions up to {runtime.ir_max}, and the model has {self.ir}."
        return None

    def fit(self, runtime: RuntimeRelease, name: str) -> str:
        """Why a runtime loads the model."""
        return (
            f"ONNX Runtime {name} takes operator sets up to {runtime.opset_max} and IR versions up to "
            f"{runtime.ir_max}; the model asks for {self.opset} and {self.ir}."
        )

    def remedy(self, releases: tuple[ReleaseFit, ...], runtimes: RuntimeTable, triton: TritonTable) -> str:
        """What makes the model load, here or in more releases."""
        if self.has_custom_domain or self.unknown_operators:
            return "Export the model with standard operators, or use an engine that has these."
        newest = next((row for row in (_runtime(release, runtimes) for release in triton.releases) if row), None)
        ceiling = newest or runtimes.releases[-1]
        fitting = [release.tag for release in releases if release.fits and release.trust == "known"]
        if fitting:
            return f"Take Triton {fitting[-1]} or newer, or downgrade: {self._command(runtimes.releases[0])}"
        return f"Convert the model: {self._command(ceiling)}"

    def _command(self, target: RuntimeRelease) -> str:
        if self.opset > target.opset_max:
            return _CONVERT.format(opset=target.opset_max)
        if self.opset < target.opset_min:
            return _CONVERT.format(opset=max(target.opset_min, 13))
        if self.ir > target.ir_max:
            return _LOWER_IR.format(ir=target.ir_max)
        return f"export it again with {_ML} {target.ml_opset_max} or older."


def _release_fits(needs: _Needs, runtimes: RuntimeTable, triton: TritonTable) -> Iterator[ReleaseFit]:
    """Newest first. Where a release's runtime is not known, the next older known one is the lower bound."""
    for position, release in enumerate(triton.releases):
        runtime = _runtime(release, runtimes)
        if runtime is not None and release.onnxruntime is not None:
            misfit = needs.misfit(runtime, release.onnxruntime)
            reason = misfit or needs.fit(runtime, release.onnxruntime)
            yield ReleaseFit(release.tag, misfit is None, reason, "known")
            continue
        older = next((row for row in triton.releases[position + 1 :] if _runtime(row, runtimes)), None)
        bound = None if older is None else _runtime(older, runtimes)
        if older is None or older.onnxruntime is None or bound is None or needs.misfit(bound, older.onnxruntime):
            yield ReleaseFit(release.tag, None, "Its ONNX Runtime is not known to this version of nimify.", "inferred")
        else:
            reason = (
                f"Its ONNX Runtime is not known, but {older.tag} fits, and newer releases take what older ones took."
            )
            yield ReleaseFit(release.tag, True, reason, "inferred")


def _runtime(release: TritonRelease, runtimes: RuntimeTable) -> RuntimeRelease | None:
    return None if release.onnxruntime is None else runtimes.of(release.onnxruntime)


def _uses_ml(model: ModelInfo) -> bool:
    return any(name.startswith(f"{_ML}::") for name in model.operators)


def _unknown_operators(model: ModelInfo, runtimes: RuntimeTable) -> Iterator[str]:
    """Operators of the standard domain that no operator set up to the model's own defines."""
    import onnx.defs  # only here: it is heavy

    opset = model.opsets.get(_STANDARD, 0)
    if not 0 < opset <= onnx.defs.onnx_opset_version():
        return  # The installed onnx does not know that set, so it cannot tell what is in it.
    for name in model.operators:
        if "::" not in name and name not in runtimes.extra_operators and not onnx.defs.has(name, opset, ""):
            yield name
