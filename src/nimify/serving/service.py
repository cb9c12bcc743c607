"""Serve a bundle: the door for the command line and for containers."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from nimify.metrics.registry import Registry
from nimify.serving.listener import bind, url_of
from nimify.serving.logs import Log
from nimify.serving.settings import ServiceSettings
from nimify.serving.spec import ServiceSpec

_OPEN_FILES: Final = 65_536
"""More than any sensible number of connections needs."""


def run(bundle: Path, settings: ServiceSettings, *, announce: Callable[[ServiceSpec, str], None] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; blocks.

    Args:
        bundle: The folder that `nimify create` wrote.
        settings: How to serve.
        announce: Told of the service and its URL once the address is its own, before the model is loaded.

    Returns:
        0 when every request was answered, 8 when some were not when their grace was over.

    Raises:
        BundleDamaged: The bundle cannot be read, or a model file does not match its digest.
        EnvironmentProblem: The address cannot be used.
        ModelError: The engine cannot load the model.
    """
    spec = ServiceSpec.load(bundle)
    log = Log(settings.log_level, json_lines=settings.json_logs)
    _allow_open_files()
    listener = bind(settings.host, settings.port)
    try:
        if announce is not None:
            announce(spec, url_of(listener))
        from nimify.serving.worker import WorkerContext, run_worker

        context = WorkerContext(
            bundle=bundle,
            spec=spec,
            settings=settings,
            listener=listener,
            registry=Registry(workers=settings.workers),
            log=log,
            started_s=time.time(),
        )
        if settings.workers == 1:
            return run_worker(context)
        from nimify.serving.supervisor import Supervisor

        log.info("starting", url=url_of(listener), workers=settings.workers)
        return Supervisor(context, run_worker).run()
    finally:
        listener.close()


def _allow_open_files() -> None:
    """Raise the soft limit of open files: at the usual 1024 connections would fail before our own limit speaks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
