"""One worker: an event loop with the HTTP front, the data plane and the model, from start to drain."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from nimify.errors import BundleDamaged
from nimify.metrics.registry import Registry
from nimify.metrics.service import ServiceMetrics
from nimify.serving.cpus import available_cpus
from nimify.serving.dataplane import DataPlane
from nimify.serving.http.inference_v1 import add_v1_inference
from nimify.serving.http.inference_v2 import add_v2_routes
from nimify.serving.http.management import add_management_routes
from nimify.serving.http.messages import STATUSES
from nimify.serving.http.router import Router
from nimify.serving.http.server import HttpServer
from nimify.serving.lifecycle import Lifecycle
from nimify.serving.listener import url_of
from nimify.serving.logs import Log
from nimify.serving.model import ServedModel
from nimify.serving.processors.pipeline import ProcessorPipeline
from nimify.serving.settings import ServiceSettings
from nimify.serving.spec import OPENAPI_FILE, ServiceSpec
from nimify.version import __version__

EXIT_UNFINISHED: Final = 8
"""The service stopped, but some requests had not finished when their grace was over."""
_SAMPLE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker is given.

    Attributes:
        slot: Which row of the shared metrics is its own.
        replacement: Whether it takes the place of one that died: it then listens only when its model is loaded.
        started_s: Unix time at which the service started.
    """

    bundle: Path
    spec: ServiceSpec
    settings: ServiceSettings
    listener: socket.socket
    registry: Registry
    log: Log
    slot: int = 0
    replacement: bool = False
    started_s: float = 0.0


def run_worker(context: WorkerContext) -> int:
    """Serve until a signal ends it; the exit code.

    Raises:
        NimifyError: The model or the bundle cannot be served.
    """
    context.registry.use_slot(context.slot)
    return uvloop.run(_Worker(context).serve())


class _Worker:
    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._log = context.log
        self._limits = context.settings.limits_over(context.spec.limits)
        spec = context.spec
        self._metrics = ServiceMetrics(
            context.registry,
            model=spec.name,
            version=spec.model_version,
            statuses=STATUSES,
            build_labels=(__version__, spec.engine, spec.name, spec.model_digest),
            started_s=context.started_s,
        )
        if context.replacement:
            self._metrics.process.restarts.add()
        self._lifecycle = Lifecycle(context.registry, self._metrics.process.ready, replacement=context.replacement)

    async def serve(self) -> int:
        """Start, wait for the end, and drain."""
        model = self._model()
        server = self._server(model)
        stop = _StopSignals()
        if not self._context.replacement:
            await self._listen(server)
        loading = asyncio.create_task(model.load(verify=self._context.settings.verify))
        stopping = asyncio.create_task(stop.first.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            await loading  # raises what went wrong
            if self._context.replacement:
                await self._listen(server)
            # What start-up made stays: the collector need not look at it again in the middle of a request.
            gc.collect()
            gc.freeze()
            self._lifecycle.worker_ready()
            self._tell_ready()
            sampling = asyncio.create_task(self._sample())
            await stopping
            sampling.cancel()
        else:
            loading.cancel()  # it may yet fail, and nobody but the event loop would hear of it, in a traceback
        unfinished = await self._drain(server, stop, was_ready=model.ready)
        model.close()
        return EXIT_UNFINISHED if unfinished else 0

    def _model(self) -> ServedModel:
        context = self._context
        return ServedModel(
            context.spec,
            context.bundle,
            threads=context.spec.threads or max(1, available_cpus() // context.settings.workers),
            limits=self._limits,
            metrics=self._metrics.model,
            log=self._log,
        )

    def _server(self, model: ServedModel) -> HttpServer:
        spec, bundle = self._context.spec, self._context.bundle
        data_plane = DataPlane(
            model, request_timeout_s=self._limits.request_timeout_s, metrics=self._metrics.model, log=self._log
        )
        router = Router()
        add_management_routes(
            router,
            spec,
            self._lifecycle,
            self._metrics,
            openapi=_openapi(bundle),
            started_s=self._context.started_s,
        )
        pipeline = ProcessorPipeline.load(spec.pipeline, spec.signature, bundle)
        add_v1_inference(router, spec, pipeline, data_plane, self._log, max_queue_size=self._limits.max_queue_size)
        add_v2_routes(router, spec, self._lifecycle, data_plane)
        return HttpServer(router, data_plane, limits=self._limits, metrics=self._metrics.http, log=self._log)

    async def _listen(self, server: HttpServer) -> None:
        await server.start(self._context.listener)
        self._log.info("listening", url=url_of(self._context.listener), worker=self._context.slot)

    def _tell_ready(self) -> None:
        """Say once that the service is ready: by the worker that was the last to load."""
        if self._context.replacement:
            self._log.info("worker replaced", worker=self._context.slot)
        elif self._lifecycle.ready:
            self._log.info("ready", url=url_of(self._context.listener), model=self._context.spec.name)

    async def _sample(self) -> None:
        """Keep this worker's process figures fresh for whichever worker is asked for the metrics."""
        while True:
            self._metrics.process.sample()
            await asyncio.sleep(_SAMPLE_S)

    async def _drain(self, server: HttpServer, stop: _StopSignals, *, was_ready: bool) -> int:
        """Stop being ready, go on accepting for a while, then finish what is in flight."""
        self._lifecycle.stopping()
        server.draining = True
        # Nobody is sent to a service that was never ready, so there is nothing to wait for.
        window_s = self._limits.drain_s if stop.graceful and was_ready else 0.0
        self._log.info("stopping", signal=stop.name, accepting_for_s=window_s)
        if window_s:
            try:
                async with asyncio.timeout(window_s):
                    await stop.second.wait()
            except TimeoutError:
                pass
        unfinished = await server.stop(grace_s=self._limits.shutdown_grace_s, hurry=stop.second)
        self._log.info("stopped", unfinished_requests=unfinished)
        return unfinished


class _StopSignals:
    """SIGTERM asks to stop with a drain, SIGINT without one; any second signal hurries."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.graceful = True
        self.name = ""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self._received, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)  # the supervisor forks us with both blocked

    def _received(self, number: signal.Signals) -> None:
        if self.first.is_set():
            self.second.set()
            return
        self.name = number.name
        self.graceful = number is signal.SIGTERM
        self.first.set()


def _openapi(bundle: Path) -> bytes:
    try:
        return (bundle / OPENAPI_FILE).read_bytes()
    except OSError as error:
        raise BundleDamaged(
            f"'{bundle / OPENAPI_FILE}' cannot be read ({error.strerror}).",
            remedy="Write the bundle again with: nimify create MODEL --force",
        ) from error
