"""One worker: an event loop with the HTTP front, the data plane and the model, from start to drain."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from nimify.errors import BundleDamaged
from nimify.metrics.collectors.board import Board
from nimify.metrics.collectors.collection import Collection
from nimify.metrics.collectors.loader import collector_name
from nimify.metrics.collectors.page import CollectedPage
from nimify.metrics.registry import Registry
from nimify.metrics.service import GrpcMetrics, ServiceMetrics
from nimify.serving.bulk import Bulk
from nimify.serving.cpus import available_cpus
from nimify.serving.dataplane import DataPlane
from nimify.serving.entrance import Entrance
from nimify.serving.http.body_budget import BodyBudget
from nimify.serving.http.cors import Cors
from nimify.serving.http.inference_v1 import add_v1_inference
from nimify.serving.http.inference_v2 import add_v2_routes
from nimify.serving.http.management import add_management_routes
from nimify.serving.http.messages import STATUSES
from nimify.serving.http.model_information import add_model_information
from nimify.serving.http.router import Router
from nimify.serving.http.server import HttpServer
from nimify.serving.lifecycle import Lifecycle
from nimify.serving.listener import url_of
from nimify.serving.logs import Log
from nimify.serving.model import ServedModel
from nimify.serving.model_drift import ModelDrift
from nimify.serving.processors.pipeline import ProcessorPipeline
from nimify.serving.settings import ServiceSettings
from nimify.serving.spec import OPENAPI_FILE, ServiceSpec
from nimify.serving.statistics import ModelStatistics
from nimify.serving.watch import Watch
from nimify.serving.watchdog import EngineWatchdog
from nimify.version import __version__

if TYPE_CHECKING:
    from nimify.serving.grpc.server import GrpcServer
    from nimify.serving.signed import SignedBundle
    from nimify.serving.triton.model import TritonModel

EXIT_UNFINISHED: Final = 8
"""The service stopped, but some requests had not finished when their grace was over."""
_SAMPLE_S: Final = 5.0
_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker is given.

    Attributes:
        entrance: The gate and the certificate of every port.
        grpc_listener: The socket of gRPC; `None` when it is not served, or not by us.
        slot: Which row of the shared metrics is its own.
        replacement: Whether it takes the place of one that died: it then listens only when its model is loaded.
        started_s: Unix time at which the service started.
        listener_passed: Whether the socket was open before this process, perhaps still served by another one: then too
            it listens only when its model is loaded.
        board: Where collectors leave what they measure; shared with the other workers, when there are any.
        signed: What was signed of the bundle; `None` when it need not be signed.
    """

    bundle: Path
    spec: ServiceSpec
    settings: ServiceSettings
    listener: socket.socket
    registry: Registry
    log: Log
    entrance: Entrance
    grpc_listener: socket.socket | None = None
    slot: int = 0
    replacement: bool = False
    started_s: float = 0.0
    listener_passed: bool = False
    board: Board | None = None
    signed: SignedBundle | None = None

    @property
    def url(self) -> str:
        """Where the service answers."""
        return url_of(self.listener, self.entrance.scheme)

    @property
    def grpc_address(self) -> str | None:
        """Where gRPC answers, as its clients want it: host and port."""
        return None if self.grpc_listener is None else url_of(self.grpc_listener).removeprefix("http://")

    @property
    def listens_late(self) -> bool:
        """Whether to accept connections only when there is a model to answer them with."""
        return self.replacement or self.listener_passed


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
        self._grpc: GrpcServer | None = None
        self._limits = context.settings.limits_over(context.spec.limits)
        spec = context.spec
        board = context.board or Board(len(spec.collectors))
        # In the first worker only: all of them show what it finds.
        collectors = spec.collectors if context.slot == 0 else ()
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
        self._lifecycle = Lifecycle(context.registry, self._metrics.process.ready, replacement=context.replacement)

    async def serve(self) -> int:
        """Start, wait for the end, and drain."""
        if self._context.signed is not None:  # again: what replaces a worker starts long after the service did
            self._context.signed.check(self._context.spec)
        model = self._model()
        server = self._server(model)
        stop = _StopSignals()
        files = Watch(self._context.entrance.checks, log=self._log)
        drift = ModelDrift(
            self._context.bundle, self._context.spec, changed=self._lifecycle.drifted, log=self._log
        )  # before loading: what changes meanwhile counts
        files.start()
        if not self._context.listens_late:
            await self._listen(server)
        loading = asyncio.create_task(model.load(verify=self._context.settings.verify))
        stopping = asyncio.create_task(stop.first.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            await loading  # raises what went wrong
            # What start-up made stays: the collector need not look at it again in the middle of a request.
            gc.collect()
            gc.freeze()
            self._lifecycle.worker_ready()
            if self._context.listens_late:
                await self._listen_with_the_others(server, stop)
            self._tell_ready()
            sampling = asyncio.create_task(self._sample())
            if self._context.settings.verify:
                files.add(drift.check)
            self._start_watchdog(model)
            self._start_collection(files)
            await stopping
            sampling.cancel()
        else:
            loading.cancel()  # it may yet fail, and nobody but the event loop would hear of it, in a traceback
        unfinished = await self._drain(server, stop, was_ready=model.ready)
        model.close()
        self._collection.close()
        files.close()
        self._bulk.close()
        return EXIT_UNFINISHED if unfinished else 0

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
            threads=context.spec.threads or max(1, available_cpus() // context.settings.workers),
            limits=self._limits,
            metrics=self._metrics.model,
            log=self._log,
        )

    def _start_watchdog(self, model: ServedModel | TritonModel) -> None:
        """Watch the embedded engine; Triton is a process of its own, and watched as one."""
        if isinstance(model, ServedModel):
            dog = EngineWatchdog(
                lambda: model.running_for_s, request_timeout_s=self._limits.request_timeout_s, log=self._log
            )
            Watch((dog.check,), log=self._log).start()

    def _start_collection(self, watch: Watch) -> None:
        """Collect until the drain is over."""
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

    def _server(self, model: ServedModel | TritonModel) -> HttpServer:
        spec, bundle = self._context.spec, self._context.bundle
        self._bulk = Bulk()
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
        add_v1_inference(
            router, spec, pipeline, data_plane, self._bulk, self._log, max_queue_size=self._limits.max_queue_size
        )
        add_v2_routes(router, spec, self._lifecycle, data_plane, self._bulk, self._log)
        statistics = ModelStatistics(spec, self._metrics.model, self._context.registry)
        spec = replace(spec, limits=self._limits)
        add_model_information(router, spec, self._lifecycle, statistics)
        budget = BodyBudget.of_this_machine(
            longest_body=self._limits.max_body_bytes, workers=self._context.settings.workers
        )
        if self._context.grpc_listener is not None:
            self._grpc = self._grpc_server(spec, data_plane, statistics, budget)
        return HttpServer(
            router,
            data_plane,
            limits=self._limits,
            entrance=self._context.entrance,
            budget=budget,
            bulk=self._bulk,
            cors=Cors(self._context.settings.cors_origins) if self._context.settings.cors_origins else None,
            metrics=self._metrics.http,
            log=self._log,
        )

    def _grpc_server(
        self, spec: ServiceSpec, data_plane: DataPlane, statistics: ModelStatistics, budget: BodyBudget
    ) -> GrpcServer:
        """What answers on the gRPC port; imported only here, because protobuf takes time and memory."""
        from nimify.serving.grpc.server import GrpcServer
        from nimify.serving.grpc.service import GrpcServices
        from nimify.serving.grpc.status import StatusCode

        services = GrpcServices(spec, self._lifecycle, data_plane, statistics)
        codes = {code.value: code.name for code in StatusCode}
        return GrpcServer(
            services.methods,
            data_plane,
            limits=self._limits,
            entrance=self._context.entrance,
            budget=budget,
            metrics=GrpcMetrics(self._context.registry, services.timed_methods, codes),
            log=self._log,
            sweeps=(services.health.sweep,),
        )

    async def _listen(self, server: HttpServer) -> None:
        await server.start(self._context.listener)
        where = {"url": self._context.url}
        if self._grpc is not None and self._context.grpc_listener is not None:
            await self._grpc.start(self._context.grpc_listener)
            where["grpc"] = str(self._context.grpc_address)
        self._log.info("listening", **where, worker=self._context.slot)

    async def _listen_with_the_others(self, server: HttpServer, stop: _StopSignals) -> None:
        """Accept connections once the service as a whole is ready: whoever served the socket before serves it still."""
        while not (self._lifecycle.ready or stop.first.is_set()):
            await asyncio.sleep(_POLL_S)
        await self._listen(server)

    def _tell_ready(self) -> None:
        """Say once that the service is ready: by the worker that was the last to load."""
        if self._context.replacement:
            self._log.info("worker replaced", worker=self._context.slot)
        elif self._lifecycle.ready:
            self._log.info("ready", url=self._context.url, model=self._context.spec.name)

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
        grace_s, hurry = self._limits.shutdown_grace_s, stop.second
        stops = [front.stop(grace_s=grace_s, hurry=hurry) for front in (server, self._grpc) if front is not None]
        unfinished = sum(await asyncio.gather(*stops))
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
