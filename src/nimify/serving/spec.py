"""What the service must know about its model: decided in planning, stored in plan.json, carried out here.

The service reads nothing of the build side but this: `ServiceSpec.load(bundle)` is its only door to a bundle.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, Final

from nimify.errors import BundleDamaged
from nimify.metrics.collectors.step import CollectorStep
from nimify.tensors import Signature

PLAN_FILE = "plan.json"
OPENAPI_FILE = "openapi.json"
_PLAIN_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "Mapping[str, Any]": (dict,),
}
"""What a field may hold, by its annotation; every other kind of field is made of these."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of the model.

    Attributes:
        path: Relative to the bundle, with forward slashes.
        sha256: Hex digest of the content.
        size_bytes: Length of the content.
    """

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ProcessorStep:
    """One step of a pipeline.

    Attributes:
        use: Name of a processor (an entry point of `nimify.processors`), or `file.py:name` for the owner's own,
            where `file.py` is relative to the bundle.
        options: Keyword arguments for it; paths among them are relative to the bundle.
    """

    use: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The processors around the engine, in the order in which they run."""

    before: tuple[ProcessorStep, ...] = ()
    after: tuple[ProcessorStep, ...] = ()


@dataclass(frozen=True, slots=True)
class License:
    """The licence of the model, as `/v1/license` reports it."""

    name: str = ""
    url: str = ""
    content: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one replica accepts; seconds and bytes.

    Attributes:
        max_body_bytes: Longest request body, enforced while it is read.
        max_connections: Open client connections; a further one is answered 503.
        max_queue_size: Requests that wait for the engine; a further one is answered 503 with `Retry-After`.
        header_timeout_s: From the first byte of a request (or from connecting) to the end of its headers.
        body_timeout_s: From the end of the headers to the end of the body.
        keep_alive_s: How long an idle connection is kept.
        request_timeout_s: From receipt to answer; a client may ask for less.
        drain_s: How long SIGTERM keeps accepting before the listener closes.
        shutdown_grace_s: How long requests in flight may take after that.
    """

    max_body_bytes: int = 64 * 1024 * 1024
    max_connections: int = 1024
    max_queue_size: int = 1024
    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    keep_alive_s: float = 75.0
    request_timeout_s: float = 60.0
    drain_s: float = 5.0
    shutdown_grace_s: float = 15.0


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A model, ready to be served.

    Attributes:
        name: Of the service and of the model in every API; `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 53 characters.
        version: Release of the service, e.g. `1.0.0`.
        model_version: Version folder of the model in the repository, e.g. `1`.
        model_file: The file that the engine opens, relative to the bundle.
        model_files: That file and everything that belongs to it (external data).
        model_digest: `sha256:<hex>` over all of `model_files`; see `nimify.formats.format.combined_digest`.
        engine: Name of the engine (an entry point of `nimify.engines`).
        signature: What the engine takes and gives; `/v2` speaks it.
        api: What `/v1/infer` takes and gives: the signature as the pipeline maps it.
        max_batch_size: Most rows in one run of the engine; 0 when requests must not be merged.
        max_queue_delay_us: How long a request may wait for company, in microseconds; 0: never.
        threads: Threads inside the engine; 0: as many as the service has CPUs, shared among its workers.
        collectors: What adds metrics of the owner's own to `/v1/metrics`.
        instances: Copies of the model in one replica; the embedded engine runs each in a process of its own.
        data_dependent: Whether the values of an input, and not only its shape, may decide how long a run takes.
        repeatable: Whether equal requests get equal answers, so that these may be remembered; false in doubt.
        response_cache_bytes: What answers that are remembered may take; 0 when none are.
    """

    name: str
    version: str
    model_version: str
    model_file: str
    model_files: tuple[ModelFile, ...]
    model_digest: str
    engine: str
    signature: Signature
    api: Signature
    max_batch_size: int = 0
    max_queue_delay_us: int = 0
    threads: int = 0
    instances: int = 1
    data_dependent: bool = False
    repeatable: bool = False
    response_cache_bytes: int = 0
    pipeline: Pipeline = Pipeline()
    collectors: tuple[CollectorStep, ...] = ()
    limits: Limits = Limits()
    description: str = ""
    license: License = License()

    def to_dict(self) -> dict[str, Any]:
        """The specification as plain data, for plan.json."""
        return {**asdict(self), "signature": self.signature.to_dict(), "api": self.api.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ServiceSpec:
        """The inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: A key is missing or unknown, or holds something that cannot be.
        """
        spec = cls(
            **{
                **data,
                "model_files": tuple(ModelFile(**row) for row in data["model_files"]),
                "signature": Signature.from_dict(data["signature"]),
                "api": Signature.from_dict(data["api"]),
                "pipeline": Pipeline(
                    before=tuple(ProcessorStep(**step) for step in data["pipeline"]["before"]),
                    after=tuple(ProcessorStep(**step) for step in data["pipeline"]["after"]),
                ),
                "collectors": tuple(CollectorStep(**step) for step in data.get("collectors", ())),
                "limits": Limits(**data["limits"]),
                "license": License(**data["license"]),
            }
        )
        steps = (*spec.pipeline.before, *spec.pipeline.after, *spec.collectors)
        for part in (spec, *spec.model_files, *steps, spec.limits, spec.license):
            _check_types(part)
        if spec.instances < 1:
            raise ValueError("a service without an instance")
        return spec

    @classmethod
    def load(cls, bundle: Path) -> ServiceSpec:
        """Read the specification out of a bundle's plan.json.

        Raises:
            BundleDamaged: There is no plan.json, it does not hold a specification, or the model lies elsewhere.
        """
        path = bundle / PLAN_FILE
        try:
            spec = cls.from_dict(json.loads(path.read_bytes())["service"])
            _check_confined(file.path for file in spec.model_files)
            if spec.model_file not in {file.path for file in spec.model_files}:
                raise ValueError("the model's own file has no digest")
            return spec
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BundleDamaged(
                f"'{bundle}' is not a bundle: it has no {PLAN_FILE}.", remedy="Make one with: nimify create MODEL"
            ) from error
        except OSError as error:
            raise BundleDamaged(
                f"'{path}' cannot be read ({error.strerror}).", remedy="Check its permissions with ls -l."
            ) from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BundleDamaged(
                f"'{path}' does not describe a service.",
                remedy="Write it again with: nimify create MODEL --force",
            ) from error


def _check_types(part: Any) -> None:
    """Hold a part of a specification to its annotations: what is wrong must show here, not at the first request."""
    for item in fields(part):
        allowed = _PLAIN_TYPES.get(str(item.type))
        if allowed is not None and type(getattr(part, item.name)) not in allowed:
            raise TypeError(f"{item.name} is not of type {item.type}")


def _check_confined(paths: Iterable[str]) -> None:
    for path in paths:
        if path.startswith("/") or ".." in PurePosixPath(path).parts:
            raise ValueError(f"{path!r} leaves the bundle")
