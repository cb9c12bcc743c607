"""One worker: an event loop with the model and the fronts before it, from start to drain."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import uvloop

from nimify.metrics.collectors.board import Board
from nimify.metrics.collectors.collection import Collection
from nimify.metrics.collectors.loader import collector_name
from nimify.metrics.collectors.page import CollectedPage
from nimify.metrics.service import ServiceMetrics
from nimify.serving.cpus import available_cpus
from nimify.serving.fronts import Fronts
from nimify.serving.http.messages import STATUSES
from nimify.serving.lifecycle import Lifecycle
from nimify.serving.model import ServedModel
from nimify.serving.model_drift import ModelDrift
from nimify.serving.runners import on_a_thread
from nimify.serving.stop_signals import StopSignals, hangup_restarts
from nimify.serving.succession import Succession
from nimify.serving.watch import Watch
from nimify.serving.watchdog import EngineWatchdog
from nimify.serving.worker_context import WorkerContext
from nimify.version import __version__

if TYPE_CHECKING:
    from nimify.serving.tracing.tracer import Tracer
    from nimify.serving.triton.model import TritonModel

EXIT_UNFINISHED: Final = 8
"""The service stopped, but some requests had not finished when their grace was over."""
_SAMPLE_S: Final = 5.0
_POLL_S: Final = 0.02
_LAST_SPANS_S: Final = 3.0
"""After drain and grace, an orchestrator has little patience left."""


def run_worker(context: WorkerContext) -> int:
    """Serve until a signal ends it; the exit code.

    Raises:
        NimifyError: The model or the bundle cannot be served.
        TakenOver: Another process serves from now on.
    """
    context.registry.use_slot(context.slot)
    worker = _Worker(context)
    code = uvloop.run(worker.serve())
    keeper = worker.succession.keeper()
    if keeper is not None:
        raise keeper
    return code


class _Worker:
    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._log = context.log
        self._limits = context.settings.limits_over(context.spec.limits)
        spec = context.spec
        board = context.board or Board(len(spec.collectors))
        # In the first worker only: all of them show what it finds.
        collectors = spec.collectors if context.number == 0 else ()
        self._collection = Collection(collectors, context.bundle, board, context.log)
        engine = spec.engine if context.settings.triton is None else "triton"
        self._metrics = ServiceMetrics(
            context.registry,
            model=spec.name,
            version=spec.model_version,
            max_batch_size=spec.max_batch_size,
            statuses=STATUSES,
            build_labels=(__version__, engine, spec.name, spec.model_digest),
            started_s=context.started_s,
            collected=CollectedPage([collector_name(step.use) for step in spec.collectors], board).text,
        )
        self._metrics.model.queue_limit.set(float(self._limits.max_queue_size))
        if context.replacement:
            self._metrics.process.restarts.add()
        late = context.replacement or context.predecessor is not None
        self._lifecycle = Lifecycle(context.registry, self._metrics.process.ready, replacement=late)
        self.succession = Succession(context)
        self._tracer = self._start_tracer()

    def _start_tracer(self) -> Tracer | None:
        """What makes and sends spans, when they are asked for; imported only then. It starts a thread."""
        context = self._context
        if context.settings.tracing is None:
            return None
        from nimify.serving.tracing.tracer import Tracer

        return Tracer(context.settings.tracing, context.spec, context.log)

    async def serve(self) -> int:
        """Start, wait for the end, and drain."""
        if self._context.signed is not None:  # again: what replaces a worker starts long after the service did
            self._context.signed.check(self._context.spec)
        model = self._model()
        fronts = self._fronts(model)
        stop = StopSignals(restarts=self._context.kept or hangup_restarts())
        files = Watch(self._context.entrance.checks, log=self._log)
        drift = ModelDrift(
            self._context.bundle, self._context.spec, changed=self._lifecycle.drifted, log=self._log
        )  # before loading: what changes meanwhile counts
        files.start()
        if not self._context.listens_late:
            await fronts.listen()
        loading = asyncio.create_task(model.load(verify=self._context.settings.verify))
        leaves = False
        stopping = asyncio.create_task(stop.first.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            await loading  # raises what went wrong
            # What start-up made stays: the collector need not look at it again in the middle of a request.
            gc.collect()
            gc.freeze()
            self._lifecycle.worker_ready()
            if self._context.listens_late:
                await self._listen_with_the_others(fronts, stop)
            self._tell_ready()
            sampling = asyncio.create_task(self._sample())
            if self._context.settings.verify:
                files.add(drift.check)
            self._start_watchdog(model)
            collecting = asyncio.create_task(self._start_collection(files))
            leaves = await self._until_told_to_go(stop)
            collecting.cancel()
            sampling.cancel()
        else:
            loading.cancel()  # it may yet fail, and nobody but the event loop would hear of it, in a traceback
        if leaves:
            self._collection.close()
            self._lifecycle.leaving()
        unfinished = await self._drain(fronts, stop, was_ready=model.ready, leaves=leaves)
        model.close()
        await self._send_last_spans()
        self._collection.close()
        files.close()
        fronts.close()
        await self.succession.hold_signals(stop)
        return EXIT_UNFINISHED if unfinished else 0

    async def _until_told_to_go(self, stop: StopSignals) -> bool:
        """Serve; whether another process has taken over, and the service goes on without this one."""
        while True:
            stopping = asyncio.create_task(stop.first.wait())
            restarting = asyncio.create_task(stop.restart.wait())
            await asyncio.wait({stopping, restarting}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            restarting.cancel()
            if stop.first.is_set():
                return False
            leaves = self._context.kept or await self.succession.begun(stop)
            stop.restart.clear()
            if leaves:
                return True

    def _model(self) -> ServedModel | TritonModel:
        context = self._context
        if context.settings.triton is not None:
            from nimify.serving.triton.model import TritonModel

            return TritonModel(
                context.spec,
                context.bundle,
                service=context.settings,
                settings=context.settings.triton,
                limits=self._limits,
                metrics=self._metrics.model,
                log=self._log,
                changed=self._model_changed,
                signed=context.signed,
            )
        return ServedModel(
            context.spec,
            context.bundle,
            threads=context.spec.threads or max(1, available_cpus() // context.workers),
            limits=self._limits,
            metrics=self._metrics.model,
            log=self._log,
        )

    def _fronts(self, model: ServedModel | TritonModel) -> Fronts:
        return Fronts(
            self._context,
            model,
            limits=self._limits,
            lifecycle=self._lifecycle,
            metrics=self._metrics,
            tracer=self._tracer,
        )

    async def _send_last_spans(self) -> None:
        """Send what has not been sent, as far as that is quick."""
        if self._tracer is None:
            return
        try:
            async with asyncio.timeout(_LAST_SPANS_S):
                await on_a_thread(self._tracer.close)
        except TimeoutError:
            self._log.warning("tracing", reason="the last spans could not be sent in time.")

    def _start_watchdog(self, model: ServedModel | TritonModel) -> None:
        """Watch the embedded engine; Triton is a process of its own, and watched as one."""
        if isinstance(model, ServedModel):
            dog = EngineWatchdog(
                lambda: model.running_for_s, request_timeout_s=self._limits.request_timeout_s, log=self._log
            )
            Watch((dog.check,), log=self._log).start()

    async def _start_collection(self, watch: Watch) -> None:
        """Collect until the drain is over, when the worker before this one has ceased to: there is room for one."""
        while self._collection and self._lifecycle.in_charge(self._context.predecessor):
            await asyncio.sleep(_POLL_S)
        if self._collection:
            self._collection.start()
            watch.add(self._collection.check)

    def _model_changed(self, ready: bool) -> None:
        """The model was lost, or is there again."""
        if ready:
            self._lifecycle.worker_ready()
            self._tell_ready()
        else:
            self._lifecycle.worker_loading()

    async def _listen_with_the_others(self, fronts: Fronts, stop: StopSignals) -> None:
        """Accept connections once the service as a whole is ready: whoever served the socket before serves it still."""
        # One that takes over from a worker that still serves need not wait for anybody.
        while self._context.predecessor is None and not (self._lifecycle.ready or stop.first.is_set()):
            await asyncio.sleep(_POLL_S)
        await fronts.listen()

    def _tell_ready(self) -> None:
        """Say once that the service is ready: by the worker that was the last to load."""
        if self._context.replacement:
            self._log.info("worker replaced", worker=self._context.number)
        elif self._context.predecessor is not None:
            self._log.info("a new worker takes over", worker=self._context.number)
        elif self._lifecycle.ready:
            self._log.info("ready", url=self._context.url, model=self._context.spec.name)
            if self._context.told_ready is not None:
                with suppress(OSError):  # nobody may listen any more
                    self._context.told_ready.send(b"ready")

    async def _sample(self) -> None:
        """Keep this worker's process figures fresh for whichever worker is asked for the metrics."""
        while True:
            self._metrics.process.sample()
            await asyncio.sleep(_SAMPLE_S)

    async def _drain(self, fronts: Fronts, stop: StopSignals, *, was_ready: bool, leaves: bool) -> int:
        """Stop being ready, go on accepting for a while, then finish what is in flight.

        Where another process has taken over, the service stays ready, and clients of kept connections have the while
        to come back on new ones.
        """
        if not leaves:
            self._lifecycle.stopping()
        # The first signal that comes to one that leaves is a second one to its service.
        hurry = stop.first if leaves and self._context.kept else stop.second
        fronts.drain()
        # Nobody is sent to a service that was never ready, so there is nothing to wait for.
        window_s = self._limits.drain_s if stop.graceful and was_ready else 0.0
        self._log.info("stopping", signal=stop.name, accepting_for_s=window_s)
        if window_s:
            try:
                async with asyncio.timeout(window_s):
                    await hurry.wait()
            except TimeoutError:
                pass
        unfinished = await fronts.stop(hurry=hurry)
        self._log.info("stopped", unfinished_requests=unfinished)
        return unfinished
