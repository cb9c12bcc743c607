"""A model behind Triton: checked, started, watched, started again when Triton dies, and stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nimify.errors import NimifyError
from nimify.metrics.service import ModelMetrics
from nimify.serving.cpus import available_cpus
from nimify.serving.logs import Log
from nimify.serving.model import refuse_changed_files, verify_files
from nimify.serving.response_cache.size import response_cache_bytes
from nimify.serving.runners import on_a_thread
from nimify.serving.settings import ServiceSettings
from nimify.serving.spec import Limits, ServiceSpec
from nimify.serving.triton.arguments import triton_arguments
from nimify.serving.triton.dispatcher import Dispatcher
from nimify.serving.triton.output import TritonOutput
from nimify.serving.triton.process import TritonProcess
from nimify.serving.triton.program import TritonProgram, find_program
from nimify.serving.triton.questions import document, lives, says_yes
from nimify.serving.triton.repository import check_metadata, instances, repository_of
from nimify.serving.triton.settings import LOOPBACK, Ports, TritonSettings, choose_ports
from nimify.serving.triton.statistics import StatisticsReader
from nimify.serving.triton.tensors import TensorCodec

if TYPE_CHECKING:
    from nimify.serving.signed import SignedBundle

_POLL_S: Final = 0.05
_LIVENESS_S: Final = 5.0
"""How often a running Triton is asked whether it lives, and how long it may take to say so."""
_MISSES: Final = 3
"""Answers that may be missing, one after the other, before it counts as hung."""
_STABLE_S: Final = 10.0
"""A Triton that was ready this long died of something new: the next one starts at once."""
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0


class TritonModel:
    """One model, served by a Triton of its own.

    Args:
        spec: What it is.
        bundle: Where its model repository is.
        service: How the service is served.
        settings: How Triton is run.
        limits: What the service accepts.
        changed: Told on the event loop when the model stops or begins to be able to answer, after it was loaded.
        signed: What was signed of the bundle; `None` when it need not be signed.

    Attributes:
        batcher: The queue before Triton; `None` while there is none that can answer.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        bundle: Path,
        *,
        service: ServiceSettings,
        settings: TritonSettings,
        limits: Limits,
        metrics: ModelMetrics,
        log: Log,
        changed: Callable[[bool], None],
        signed: SignedBundle | None = None,
    ) -> None:
        self.spec = spec
        self.batcher: Dispatcher | None = None
        self._bundle = bundle
        self._service = service
        self._settings = settings
        self._limits = limits
        self._metrics = metrics
        self._log = log
        self._changed = changed
        self._signed = signed
        self._codec = TensorCodec(spec)
        self._verify = True
        self._http_port = 0
        self._process: TritonProcess | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether it can answer."""
        return self.batcher is not None

    async def load(self, *, verify: bool) -> None:
        """Verify the files, start Triton, and wait until it has loaded the model.

        Raises:
            BundleDamaged: A model file is missing, does not match its digest, or has another signature than the plan's.
            EnvironmentProblem: There is no Triton here, or it lacks a port or the backend.
            ModelError: Triton cannot load the model.
        """
        self._verify = verify
        program = await on_a_thread(partial(find_program, self._settings.program))
        try:
            ports = await self._start(program)
        except BaseException:
            self.close()
            raise
        self._watching = asyncio.create_task(self._watch(program, ports))

    def close(self) -> None:
        """Stop Triton, and wait until it has ended; blocks."""
        if self._watching is not None:
            self._watching.cancel()
        if self._process is not None:
            self._process.terminate()
        self._stop_dispatching()

    async def _start(self, program: TritonProgram, ports: Ports | None = None) -> Ports:
        """Check the files, start a Triton, and wait until it can answer; its ports, the same ones as before."""
        started_s = time.monotonic()
        if self._signed is not None:  # its configuration is part of the repository that Triton reads
            await on_a_thread(partial(self._signed.check, self.spec))
        verified = await on_a_thread(partial(verify_files, self._bundle, self.spec)) if self._verify else {}
        repository = repository_of(self._bundle, self.spec)
        ports = self._ports(ports)
        self._http_port = ports.http
        output = TritonOutput(self.spec.name, self._log)
        arguments = triton_arguments(
            repository,
            ports,
            host=self._open_host,
            tls=self._service.tls,
            threads=0 if self.spec.threads else available_cpus(),
            max_body_bytes=self._limits.max_body_bytes,
            response_cache_bytes=response_cache_bytes(self.spec, self._service),
            log_verbose=self._settings.log_verbose,
            options=program.options,
        )
        process = self._process = TritonProcess.start(program.path, arguments, output)
        await self._await_ready(process, ports.http)
        refuse_changed_files(self._bundle, verified)
        self.batcher = await self._dispatcher(ports.http)
        load_s = time.monotonic() - started_s
        self._metrics.load_s.set(load_s)
        self._log.info(
            "model loaded",
            model=self.spec.name,
            version=self.spec.model_version,
            seconds=round(load_s, 3),
            runs_on="Triton",
            triton_pid=process.pid,
            grpc_port=ports.grpc or "off",
            metrics_port=ports.metrics,
        )
        return ports

    def _ports(self, before: Ports | None) -> Ports:
        grpc_port = self._service.effective_grpc_port if self._service.grpc and not self._asks_for_keys else None
        settings, service_port = self._settings, self._service.port
        if before is not None:
            settings = TritonSettings(settings.program, before.http, before.metrics, settings.log_verbose)
            grpc_port = before.grpc
        return choose_ports(settings, host=self._open_host, service_port=service_port, grpc_port=grpc_port)

    @property
    def _asks_for_keys(self) -> bool:
        """Whether the service asks for keys, which Triton would not: then nobody else may reach Triton."""
        return self._service.api_keys_file is not None

    @property
    def _open_host(self) -> str:
        """The address of what Triton opens to others."""
        return LOOPBACK if self._asks_for_keys else self._service.host

    async def _await_ready(self, process: TritonProcess, port: int) -> None:
        path = f"/v2/models/{self.spec.name}/versions/{self.spec.model_version}/ready"
        while not process.ended.is_set():
            if await says_yes(port, path) and await says_yes(port, "/v2/health/ready"):
                return
            try:
                async with asyncio.timeout(_POLL_S):
                    await process.ended.wait()
            except TimeoutError:
                pass
        raise process.output.failure(process.ending)

    async def _dispatcher(self, port: int) -> Dispatcher:
        model = f"/v2/models/{self.spec.name}/versions/{self.spec.model_version}"
        check_metadata(await document(port, model), self.spec)
        config = await document(port, f"{model}/config")
        statistics = StatisticsReader(port, model, self._metrics)
        await statistics.start()
        return Dispatcher(
            port,
            self._codec,
            capacity=max(self.spec.max_batch_size, 1) * instances(config),
            merges=self.spec.max_batch_size > 1,
            max_queue_size=self._limits.max_queue_size,
            statistics=statistics,
            metrics=self._metrics,
            log=self._log,
        )

    async def _watch(self, program: TritonProgram, ports: Ports) -> None:
        """Start Triton again whenever it ends, sooner or later depending on how often that happens."""
        pause_s = 0.0
        while True:
            ready_s = time.monotonic()
            await self._end()
            pause_s = 0.0 if time.monotonic() - ready_s >= _STABLE_S else pause_s
            while not self.ready:
                await asyncio.sleep(pause_s)
                pause_s = min(max(pause_s * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
                try:
                    await self._start(program, ports)
                except NimifyError as error:
                    self._log.error("Triton could not be started again", reason=str(error), again_after_s=pause_s)
                    if self._process is not None:  # it may run, and not be what was planned
                        await on_a_thread(self._process.kill)
            self._changed(True)

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        await self._await_end(process)
        self._log.error("Triton ended; starting it again", cause=process.ending)
        self._changed(False)
        self._stop_dispatching()

    async def _await_end(self, process: TritonProcess) -> None:
        """Wait until it has ended; end it when it does not answer any more."""
        port, misses = self._http_port, 0
        while not process.ended.is_set():
            try:
                async with asyncio.timeout(_LIVENESS_S):
                    await process.ended.wait()
            except TimeoutError:
                misses = 0 if await lives(port, timeout_s=_LIVENESS_S) else misses + 1
            if misses == _MISSES:
                self._log.error("Triton does not answer any more; ending it", triton_pid=process.pid)
                await on_a_thread(process.kill)

    def _stop_dispatching(self) -> None:
        if self.batcher is not None:
            self.batcher.close()
            self.batcher = None
