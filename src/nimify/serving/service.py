"""Serve a bundle: the door for the command line and for containers."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nimify.metrics.collectors.board import Board
from nimify.metrics.registry import Registry
from nimify.serving.body_budget import memory_limit_bytes
from nimify.serving.entrance import Entrance
from nimify.serving.listener import READY, bind, passed, url_of
from nimify.serving.logs import Log
from nimify.serving.response_cache.size import response_cache_bytes
from nimify.serving.settings import ServiceSettings
from nimify.serving.spec import ServiceSpec

if TYPE_CHECKING:
    from nimify.serving.signed import SignedBundle

_OPEN_FILES: Final = 65_536
"""More than any sensible number of connections needs."""
_LEAST_DATA_BYTES: Final = 1 << 30
"""What a process may reserve however little memory there is: the stacks of its threads alone may be a third of it."""


def run(bundle: Path, settings: ServiceSettings, *, announce: Callable[[ServiceSpec, str], None] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; blocks.

    Args:
        bundle: The folder that `nimify create` wrote.
        settings: How to serve.
        announce: Told of the service and its URL once the address is its own, before the model is loaded.

    Returns:
        0 when every request was answered, 8 when some were not when their grace was over or the engine hung.

    Raises:
        BundleDamaged: The bundle cannot be read, or a file does not match its digest or the signature.
        ConfigError: The API keys, the files of TLS, the key of the signature or the response cache cannot be used.
        EnvironmentProblem: The address cannot be used, or what traces are sent with is not installed.
        ModelError: The engine cannot load the model.
        TakenOver: Another process serves from now on, and this one is to become its keeper.
    """
    signed = _signed(bundle, settings)
    spec = ServiceSpec.load(bundle)
    if signed is not None:
        signed.check(spec)
    response_cache_bytes(spec, settings)  # raises what cannot be, before anything is opened
    if settings.tracing is not None:
        settings.tracing.check_installed()
    workers = settings.workers_for(spec.instances)
    log = Log(settings.log_level, json_lines=settings.json_logs)
    entrance = Entrance.open(settings, log=log)
    _allow_open_files()
    if settings.triton is None:  # which may need any amount of addresses, for its GPUs
        _bound_memory()
    given = passed("http")
    listener = given or bind(settings.host, settings.port)
    grpc_listener = None
    try:
        if settings.grpc and settings.triton is None:  # otherwise it is Triton's
            grpc_listener = passed("grpc") or bind(
                settings.host, settings.effective_grpc_port, option="--grpc-port (or leave gRPC out with --no-grpc)"
            )
        told_ready = passed(READY)
        if announce is not None and told_ready is None:  # otherwise it was when the service started
            announce(spec, url_of(listener, entrance.scheme))
        from nimify.serving.worker import run_worker
        from nimify.serving.worker_context import WorkerContext

        context = WorkerContext(
            bundle=bundle,
            spec=spec,
            settings=settings,
            listener=listener,
            grpc_listener=grpc_listener,
            entrance=entrance,
            listener_passed=given is not None,
            workers=workers,
            registry=Registry(workers=workers, spare=int(workers > 1)),  # for one that takes over
            board=Board(len(spec.collectors)),
            log=log,
            started_s=time.time(),
            signed=signed,
            told_ready=told_ready,
        )
        if workers == 1:
            return run_worker(context)
        from nimify.serving.supervisor import Supervisor

        log.info("starting", url=url_of(listener, entrance.scheme), workers=workers)
        return Supervisor(context, run_worker).run()
    finally:
        listener.close()
        if grpc_listener is not None:
            grpc_listener.close()


def _signed(bundle: Path, settings: ServiceSettings) -> SignedBundle | None:
    """What was signed of the bundle, when it must be signed; imported only then."""
    if settings.verify_key is None:
        return None
    from nimify.serving.signed import SignedBundle

    return SignedBundle.open(bundle, settings.verify_key)


def _bound_memory() -> None:
    """Have allocations refused that no memory could ever hold, whatever the machine promises.

    A result as long as a client's numbers say may have terabytes. Where the kernel promises any amount, as it does on
    every node of Kubernetes, such an allocation would succeed, and filling it would end the process.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    # Threads' stacks and what allocators hold in reserve count, but are hardly ever touched.
    wanted = max(_LEAST_DATA_BYTES, 2 * memory_limit_bytes())
    if soft == resource.RLIM_INFINITY or wanted < soft:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _allow_open_files() -> None:
    """Raise the soft limit of open files: at the usual 1024 connections would fail before our own limit speaks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
