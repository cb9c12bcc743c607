"""The fronts of one worker, HTTP and gRPC: put together over one data plane, started and stopped together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nimify.errors import BundleDamaged
from nimify.metrics.service import GrpcMetrics, ServiceMetrics
from nimify.serving.body_budget import BodyBudget
from nimify.serving.bulk import Bulk
from nimify.serving.dataplane import DataPlane, Model
from nimify.serving.http.cors import Cors
from nimify.serving.http.inference_v1 import add_v1_inference
from nimify.serving.http.inference_v2 import add_v2_routes
from nimify.serving.http.management import add_management_routes
from nimify.serving.http.model_information import add_model_information
from nimify.serving.http.platform_routes import add_platform_routes
from nimify.serving.http.router import Router
from nimify.serving.http.server import HttpServer
from nimify.serving.lifecycle import Lifecycle
from nimify.serving.model import ServedModel
from nimify.serving.processors.pipeline import ProcessorPipeline
from nimify.serving.response_cache.size import response_cache_bytes
from nimify.serving.spec import OPENAPI_FILE, Limits
from nimify.serving.statistics import ModelStatistics
from nimify.serving.worker_context import WorkerContext

if TYPE_CHECKING:
    from nimify.serving.grpc.methods import Methods
    from nimify.serving.grpc.server import GrpcServer
    from nimify.serving.tracing.grpc import GrpcTraces
    from nimify.serving.tracing.http import HttpTraces
    from nimify.serving.tracing.tracer import Tracer
    from nimify.serving.triton.model import TritonModel


class Fronts:
    """What answers on the ports of a worker.

    Args:
        limits: The bundle's, with those of the settings in their place.

    Attributes:
        router: The routes of the HTTP port.

    Raises:
        BundleDamaged: A file of the bundle cannot be read.
        ConfigError: A route of the platform is that of something else.
        NimifyError: A processor cannot be loaded.
    """

    def __init__(
        self,
        context: WorkerContext,
        model: ServedModel | TritonModel,
        *,
        limits: Limits,
        lifecycle: Lifecycle,
        metrics: ServiceMetrics,
        tracer: Tracer | None = None,
    ) -> None:
        self._context = context
        self._tracer = tracer
        self._limits = limits
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._as_served = replace(
            context.spec,
            limits=limits,
            instances=context.workers,
            response_cache_bytes=response_cache_bytes(context.spec, context.settings),
        )
        self._bulk = Bulk()
        self._data_plane = DataPlane(
            self._remembering(model), request_timeout_s=limits.request_timeout_s, metrics=metrics.model, log=context.log
        )
        self._statistics = ModelStatistics(context.spec, metrics.model, context.registry)
        self._budget = BodyBudget.of_this_machine(longest_body=limits.max_body_bytes, workers=context.workers)
        self.router = self._routes()
        self._http = self._http_server()
        self._grpc = None if context.grpc_listener is None else self._grpc_server()

    async def listen(self) -> None:
        """Accept connections on every port."""
        context = self._context
        await self._http.start(context.listener)
        where = {"url": context.url}
        if self._grpc is not None and context.grpc_listener is not None:
            await self._grpc.start(context.grpc_listener)
            where["grpc"] = str(context.grpc_address)
        context.log.info("listening", **where, worker=context.number)

    def drain(self) -> None:
        """Go on accepting, and let answers end their connections."""
        self._http.draining = True

    async def stop(self, *, hurry: asyncio.Event) -> int:
        """Accept no more, let what is in flight finish, and close; how many requests and calls did not finish.

        Args:
            hurry: Ends their grace at once when it is set.
        """
        grace_s = self._limits.shutdown_grace_s
        stops = [front.stop(grace_s=grace_s, hurry=hurry) for front in (self._http, self._grpc) if front is not None]
        return sum(await asyncio.gather(*stops))

    def close(self) -> None:
        """End the threads beside the event loop."""
        self._bulk.close()

    def _remembering(self, model: ServedModel | TritonModel) -> Model:
        """The model behind a response cache, when there is to be one; Triton has its own."""
        context = self._context
        size_bytes = self._as_served.response_cache_bytes // context.workers
        self._metrics.model.cache_limit.set(float(size_bytes))
        if not size_bytes or context.settings.triton is not None:
            return model
        from nimify.serving.response_cache.cache import ResponseCache
        from nimify.serving.response_cache.model import CachedModel

        cache = ResponseCache(size_bytes)
        return CachedModel(model, cache, bulk=self._bulk, metrics=self._metrics.model, log=context.log)

    def _routes(self) -> Router:
        context, data_plane, limits = self._context, self._data_plane, self._limits
        spec, log = context.spec, context.log
        router = Router()
        add_management_routes(
            router,
            spec,
            self._lifecycle,
            self._metrics,
            openapi=_openapi(context.bundle),
            started_s=context.started_s,
        )
        pipeline = ProcessorPipeline.load(spec.pipeline, spec.signature, context.bundle)
        data_plane.class_labels = pipeline.class_labels
        add_v1_inference(router, spec, pipeline, data_plane, self._bulk, log, max_queue_size=limits.max_queue_size)
        add_v2_routes(router, spec, self._lifecycle, data_plane, self._bulk, log)
        add_model_information(router, self._as_served, self._lifecycle, self._statistics)
        if (platform := context.settings.platform) is not None:
            add_platform_routes(router, platform, spec, self._lifecycle, data_plane, self._bulk, log)
        return router

    def _http_server(self) -> HttpServer:
        context = self._context
        origins = context.settings.cors_origins
        return HttpServer(
            self.router,
            self._data_plane,
            limits=self._limits,
            entrance=context.entrance,
            budget=self._budget,
            bulk=self._bulk,
            cors=Cors(origins) if origins else None,
            traces=self._http_traces(),
            metrics=self._metrics.http,
            log=context.log,
        )

    def _http_traces(self) -> HttpTraces | None:
        if self._tracer is None:
            return None
        from nimify.serving.tracing.http import HttpTraces

        platform = self._context.settings.platform
        return HttpTraces(
            self._tracer,
            self.router.routes,
            self._context.entrance.scheme,
            health_route="" if platform is None else platform.health_route,
        )

    def _grpc_traces(self, methods: Methods) -> GrpcTraces | None:
        if self._tracer is None:
            return None
        from nimify.serving.tracing.grpc import GrpcTraces

        return GrpcTraces(self._tracer, methods)

    def _grpc_server(self) -> GrpcServer:
        """What answers on the gRPC port; imported only here, because protobuf takes time and memory."""
        from nimify.serving.grpc.server import GrpcServer
        from nimify.serving.grpc.service import GrpcServices
        from nimify.serving.grpc.status import StatusCode

        context = self._context
        services = GrpcServices(self._as_served, self._lifecycle, self._data_plane, self._statistics, self._bulk)
        codes = {code.value: code.name for code in StatusCode}
        return GrpcServer(
            services.methods,
            self._data_plane,
            limits=self._limits,
            entrance=context.entrance,
            budget=self._budget,
            metrics=GrpcMetrics(context.registry, services.timed_methods, codes),
            log=context.log,
            traces=self._grpc_traces(services.methods),
            sweeps=(services.health.sweep,),
        )


def _openapi(bundle: Path) -> bytes:
    try:
        return (bundle / OPENAPI_FILE).read_bytes()
    except OSError as error:
        raise BundleDamaged(
            f"'{bundle / OPENAPI_FILE}' cannot be read ({error.strerror}).",
            remedy="Write the bundle again with: nimify create MODEL --force",
        ) from error
