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
from nimify.serving.dataplane import DataPlane
from nimify.serving.http.cors import Cors
from nimify.serving.http.inference_v1 import add_v1_inference
from nimify.serving.http.inference_v2 import add_v2_routes
from nimify.serving.http.management import add_management_routes
from nimify.serving.http.model_information import add_model_information
from nimify.serving.http.router import Router
from nimify.serving.http.server import HttpServer
from nimify.serving.lifecycle import Lifecycle
from nimify.serving.model import ServedModel
from nimify.serving.processors.pipeline import ProcessorPipeline
from nimify.serving.spec import OPENAPI_FILE, Limits
from nimify.serving.statistics import ModelStatistics
from nimify.serving.worker_context import WorkerContext

if TYPE_CHECKING:
    from nimify.serving.grpc.server import GrpcServer
    from nimify.serving.triton.model import TritonModel


class Fronts:
    """What answers on the ports of a worker.

    Args:
        limits: The bundle's, with those of the settings in their place.

    Attributes:
        router: The routes of the HTTP port.

    Raises:
        BundleDamaged: A file of the bundle cannot be read.
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
    ) -> None:
        self._context = context
        self._limits = limits
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._bulk = Bulk()
        self._data_plane = DataPlane(
            model, request_timeout_s=limits.request_timeout_s, metrics=metrics.model, log=context.log
        )
        self._statistics = ModelStatistics(context.spec, metrics.model, context.registry)
        self._budget = BodyBudget.of_this_machine(longest_body=limits.max_body_bytes, workers=context.settings.workers)
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
        context.log.info("listening", **where, worker=context.slot)

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
        add_model_information(router, replace(spec, limits=limits), self._lifecycle, self._statistics)
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
            metrics=self._metrics.http,
            log=context.log,
        )

    def _grpc_server(self) -> GrpcServer:
        """What answers on the gRPC port; imported only here, because protobuf takes time and memory."""
        from nimify.serving.grpc.server import GrpcServer
        from nimify.serving.grpc.service import GrpcServices
        from nimify.serving.grpc.status import StatusCode

        context = self._context
        spec = replace(context.spec, limits=self._limits)
        services = GrpcServices(spec, self._lifecycle, self._data_plane, self._statistics)
        codes = {code.value: code.name for code in StatusCode}
        return GrpcServer(
            services.methods,
            self._data_plane,
            limits=self._limits,
            entrance=context.entrance,
            budget=self._budget,
            metrics=GrpcMetrics(context.registry, services.timed_methods, codes),
            log=context.log,
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
