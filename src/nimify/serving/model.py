"""A model on its way into service: verified, loaded, warmed up, and then ready behind its queue."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from nimify import plugins
from nimify.errors import BundleDamaged
from nimify.metrics.service import ModelMetrics
from nimify.serving.batching import Batcher, Runner
from nimify.serving.engines.engine import Array, Engine, EngineRefused
from nimify.serving.logs import Log
from nimify.serving.private_copy import needs_copy, private_copy
from nimify.serving.runners import InlineRunner, ThreadRunner, on_a_thread
from nimify.serving.spec import Limits, ServiceSpec
from nimify.tensors import TensorSpec

INLINE_LIMIT_S: Final = 0.0005
"""A full batch that takes no longer than this runs on the event loop."""
_WARMUP_LENGTHS: Final = (8, 1, 16, 64, 224)
"""What free axes are set to, in this order, until the model accepts it."""
_WARMUP_RUNS: Final = 3
_SURELY_LONG_S: Final = 0.1
"""What else the machine does holds up no run for so long."""


class ServedModel:
    """One model of the service.

    Attributes:
        spec: What it is.
        batcher: The queue before its engine; `None` until it is loaded.
    """

    def __init__(
        self, spec: ServiceSpec, bundle: Path, *, threads: int, limits: Limits, metrics: ModelMetrics, log: Log
    ) -> None:
        self.spec = spec
        self.batcher: Batcher | None = None
        self._bundle = bundle
        self._threads = threads
        self._limits = limits
        self._metrics = metrics
        self._log = log
        self._engine: Engine | None = None
        self._runner: Runner | None = None

    @property
    def ready(self) -> bool:
        """Whether it can answer."""
        return self.batcher is not None

    @property
    def running_for_s(self) -> float:
        """How long the engine has been at the run that is under way; 0 while there is none."""
        return 0.0 if self.batcher is None else max(0.0, time.monotonic() - self.batcher.running_since_s)

    async def load(self, *, verify: bool) -> None:
        """Verify, load and warm up, off the event loop.

        Raises:
            BundleDamaged: A model file is missing, does not match its digest, or has another signature than the plan's.
            ModelError: The engine cannot load it.
        """
        started_s = time.monotonic()
        # A thread of our own: the event loop's pool would make a stop wait until a large model has loaded.
        engine, full_batch_s = await on_a_thread(partial(self._open, verify))
        inline = full_batch_s is not None and full_batch_s <= INLINE_LIMIT_S
        self._engine = engine
        self._runner = InlineRunner() if inline else ThreadRunner()
        self.batcher = Batcher(
            engine,
            output_names=tuple(output.name for output in self.spec.signature.outputs),
            max_batch_size=self.spec.max_batch_size,
            max_queue_size=self._limits.max_queue_size,
            max_queue_delay_us=self.spec.max_queue_delay_us,
            runner=self._runner,
            metrics=self._metrics,
            log=self._log,
        )
        load_s = time.monotonic() - started_s
        self._metrics.load_s.set(load_s)
        self._log.info(
            "model loaded",
            model=self.spec.name,
            version=self.spec.model_version,
            seconds=round(load_s, 3),
            threads=self._threads,
            max_batch_size=self.spec.max_batch_size,
            runs_on="event loop" if inline else "own thread",
        )

    def _open(self, verify: bool) -> tuple[Engine, float | None]:
        if needs_copy(self._bundle, self.spec):
            with private_copy(self._bundle, self.spec, verify=verify, log=self._log) as folder:
                engine = self._opened(folder) if folder is not None else self._open_in_place(verify)
        else:
            engine = self._open_in_place(verify)
        if not _same_names(engine, self.spec):
            raise BundleDamaged(
                f"The model file of '{self.spec.name}' has other inputs or outputs than the plan says.",
                remedy="Write the bundle again with: nimify create MODEL --force",
            )
        return engine, self._warm_up(engine)

    def _open_in_place(self, verify: bool) -> Engine:
        seen = verify_files(self._bundle, self.spec) if verify else {}
        engine = self._opened(self._bundle)
        refuse_changed_files(self._bundle, seen)
        return engine

    def _opened(self, folder: Path) -> Engine:
        engine: Engine = (
            plugins.find(plugins.ENGINES, self.spec.engine)
            .load()
            .load(folder / self.spec.model_file, threads=self._threads)
        )
        return engine

    def _warm_up(self, engine: Engine) -> float | None:
        """Run a few times; the seconds of a full batch, or `None` when it is long or depends on the request."""
        for length in _WARMUP_LENGTHS:
            try:
                _timed(engine, self.spec, 1, length)
                return self._full_batch_s(engine, length)
            except (EngineRefused, MemoryError):
                continue
        self._log.warning("warm-up skipped: the model refuses made-up inputs", model=self.spec.name)
        return None

    def _full_batch_s(self, engine: Engine, length: int) -> float | None:
        # The first run paid for set-up, the next tell. Full batches of a slow model would only delay the start.
        if not self._is_bounded() or not self._is_short(engine, length):
            return None
        rows = max(self.spec.max_batch_size, 1)
        return min(_timed(engine, self.spec, rows, length) for _ in range(_WARMUP_RUNS))

    def _is_short(self, engine: Engine, length: int) -> bool:
        """Whether one row is; what else the machine does may hold up a run, but hardly each of them."""
        for _ in range(_WARMUP_RUNS):
            run_s = _timed(engine, self.spec, 1, length)
            if run_s <= INLINE_LIMIT_S:
                return True
            if run_s > _SURELY_LONG_S:
                break
        return False

    def _is_bounded(self) -> bool:
        """Whether a request cannot make the model work longer than the warm-up did."""
        if self.spec.data_dependent:
            return False
        free_axis = 1 if self.spec.max_batch_size else 0
        return all(all(isinstance(dim, int) for dim in spec.shape[free_axis:]) for spec in self.spec.signature.inputs)

    def close(self) -> None:
        """Free the engine, and the thread that it ran on."""
        if self._runner is not None:
            self._runner.stop()
        if self._engine is not None:
            self._engine.close()


def verify_files(bundle: Path, spec: ServiceSpec) -> dict[str, tuple[int, ...]]:
    """Compare every model file with its digest; which files they were, by path; blocks.

    Raises:
        BundleDamaged: One is missing, or does not match.
    """
    seen = {}
    for file in spec.model_files:
        path = bundle / file.path
        digest = hashlib.sha256()
        try:
            seen[file.path] = file_identity(path)
            with path.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
        except OSError as error:
            raise BundleDamaged(
                f"The model file '{file.path}' cannot be read ({error.strerror}).",
                remedy="Write the bundle again with: nimify create MODEL --force",
            ) from error
        if digest.hexdigest() != file.sha256:
            raise BundleDamaged(
                f"The model file '{file.path}' does not match its digest in plan.json.",
                remedy="Restore the file, or write the bundle again with: nimify create MODEL --force",
            )
    return seen


def refuse_changed_files(bundle: Path, seen: Mapping[str, tuple[int, ...]]) -> None:
    """See to it that the files are still those that `verify_files` has seen.

    The engine opens files by name: one that was exchanged behind the digest's back is not what was verified.

    Raises:
        BundleDamaged: One of them has changed.
    """
    for path, identity in seen.items():
        if file_identity(bundle / path) != identity:
            raise BundleDamaged(
                f"The model file '{path}' changed while it was loaded.", remedy="Start again when it is complete."
            )


def file_identity(path: Path) -> tuple[int, ...]:
    """What changes when a file is exchanged or written to."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _same_names(engine: Engine, spec: ServiceSpec) -> bool:
    def described(specs: tuple[TensorSpec, ...]) -> list[tuple[str, str]]:
        return [(tensor.name, tensor.datatype.name) for tensor in specs]

    return described(engine.signature.inputs) == described(spec.signature.inputs) and described(
        engine.signature.outputs
    ) == described(spec.signature.outputs)


def _timed(engine: Engine, spec: ServiceSpec, rows: int, length: int) -> float:
    inputs = {
        tensor.name: _blank(tensor, rows, length, batched=spec.max_batch_size > 0) for tensor in spec.signature.inputs
    }
    outputs = [tensor.name for tensor in spec.signature.outputs]
    started_s = time.perf_counter()
    engine.run(inputs, outputs)
    return time.perf_counter() - started_s


def _blank(spec: TensorSpec, rows: int, length: int, *, batched: bool) -> Array:
    """Zeros (valid as indices, too) or empty strings, free axes set to `length`."""
    shape = [dim if isinstance(dim, int) else length for dim in spec.shape]
    if batched:
        shape[0] = rows
    if spec.datatype.itemsize:
        return np.zeros(shape, dtype=spec.datatype.storage)
    return np.full(shape, b"", dtype=object)
