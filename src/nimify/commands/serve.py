"""`nimify serve`: serve a bundle, or a model file, on this machine."""

from __future__ import annotations

import os
import shlex
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from nimify.commands.console import Console
from nimify.commands.options import FILE, MODEL, byte_size, quiet_option, seconds

if TYPE_CHECKING:
    from nimify.serving.settings import ServiceSettings, TlsFiles
    from nimify.serving.spec import ServiceSpec
    from nimify.serving.triton.settings import TritonSettings

_LIMITS: Final = {
    "max_body_size": "max_body_bytes",
    "max_connections": "max_connections",
    "max_queue_size": "max_queue_size",
    "header_timeout": "header_timeout_s",
    "body_timeout": "body_timeout_s",
    "keep_alive": "keep_alive_s",
    "request_timeout": "request_timeout_s",
    "drain": "drain_s",
    "shutdown_grace": "shutdown_grace_s",
}
"""Options of the command, and the limits that they set."""


@click.command()
@click.argument("source", type=MODEL, metavar="BUNDLE|MODEL")
@click.option("--host", help="Address to listen on; 0.0.0.0 for all.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port of HTTP; 0 for any free one.  [default: 8000]")
@click.option("--grpc-port", type=click.IntRange(0, 65535), help="TCP port of gRPC.  [default: 8001]")
@click.option("--no-grpc", is_flag=True, help="Serve HTTP only.")
@click.option(
    "--engine",
    type=click.Choice(["onnxruntime", "triton"]),
    help="What executes the model: ONNX Runtime in this process, or a Triton beside it.  [default: the bundle's]",
)
@click.option("--triton-server", metavar="PROGRAM", help="The tritonserver to start.  [default: from PATH]")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that answer.  [default: the plan's instances]")
@click.option(
    "--log-level",
    type=click.Choice(["trace", "debug", "info", "warning", "error", "critical"]),
    help="The least important events that are logged.  [default: info]",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), help="How log lines look.  [default: text]")
@click.option("--api-keys", type=FILE, help="Accept only callers with a key of this file, or folder of files.")
@click.option("--protect-health", is_flag=True, help="Ask for a key on the health routes, too.")
@click.option("--tls-certificate", type=FILE, metavar="FILE", help="Speak TLS with this certificate and its chain.")
@click.option("--tls-key", type=FILE, metavar="FILE", help="The private key of the certificate.")
@click.option("--tls-client-ca", type=FILE, metavar="FILE", help="Accept only clients with a certificate of these.")
@click.option("--cors-origin", multiple=True, metavar="ORIGIN", help="Let pages of this origin call from a browser.")
@click.option("--no-verify", is_flag=True, help="Do not check the model files against their digests first.")
@click.option("--verify-key", type=FILE, metavar="FILE", help="Serve only what the owner of this public key signed.")
@click.option("--max-body-size", type=byte_size, metavar="SIZE", help="Longest request body, e.g. 64MiB.")
@click.option("--max-connections", type=click.IntRange(1), help="Most open connections.")
@click.option("--max-queue-size", type=click.IntRange(1), help="Most requests that wait for the engine.")
@click.option("--response-cache", type=byte_size, metavar="SIZE", help="Remember answers in so much memory; 0: none.")
@click.option("--header-timeout", type=seconds, metavar="TIME", help="Time to receive the headers of a request.")
@click.option("--body-timeout", type=seconds, metavar="TIME", help="Time to receive the body of a request.")
@click.option("--keep-alive", type=seconds, metavar="TIME", help="How long an idle connection is kept.")
@click.option("--request-timeout", type=seconds, metavar="TIME", help="Time from a request to its answer.")
@click.option("--drain", type=seconds, metavar="TIME", help="How long SIGTERM goes on accepting requests.")
@click.option("--shutdown-grace", type=seconds, metavar="TIME", help="Time for the requests in flight after that.")
@quiet_option
@click.pass_obj
def serve(console: Console, /, source: Path, **options: Any) -> int:
    """Serve a bundle, or a model file, on this machine.

    A model file gets a bundle of its own that lasts as long as the service. Limits that are left out are those of the
    bundle. NIM's environment variables are honoured (NIM_HTTP_API_PORT, NIM_GRPC_API_PORT, NIM_LOG_LEVEL,
    NIM_JSONL_LOGGING, NIM_HTTP_MAX_WORKERS, NIM_SSL_MODE and its paths); options win.
    """
    settings = _settings(options)
    # Lines of talk among JSON lines would break whoever reads them.
    console.quiet = console.quiet or settings.json_logs
    if settings.verify_key is not None and source.is_file():
        raise click.UsageError("--verify-key needs a bundle: a model file has no signature that nimify reads.")
    from nimify.serving.service import run
    from nimify.serving.succession import TakenOver

    try:
        with _bundle(console, source) as bundle:
            code = run(bundle, settings, announce=partial(_announce, console))
    except TakenOver as taken_over:
        taken_over.keep()
    _leave_threads_behind(code, console)
    return code


def _leave_threads_behind(code: int, console: Console) -> None:
    """End the process at once when a thread is still inside the engine: it cannot be stopped.

    The interpreter would abort on its way out when such a thread comes back to it.
    """
    if threading.active_count() > 1:
        console.flush()
        os._exit(code)


def _settings(options: dict[str, Any]) -> ServiceSettings:
    from nimify.serving.settings import ServiceSettings

    limits = {limit: options[name] for name, limit in _LIMITS.items() if options[name] is not None}
    _refuse_zero(limits)
    log_format = options["log_format"]
    return ServiceSettings.from_environment(
        os.environ,
        host=options["host"],
        port=options["port"],
        grpc=False if options["no_grpc"] else None,
        grpc_port=options["grpc_port"],
        workers=options["workers"],
        log_level=options["log_level"],
        json_logs=None if log_format is None else log_format == "json",
        tls=_tls_files(options),
        api_keys_file=options["api_keys"],
        open_health=False if options["protect_health"] else None,
        cors_origins=options["cors_origin"] or None,
        verify=False if options["no_verify"] else None,
        verify_key=options["verify_key"],
        limits=limits or None,
        response_cache=options["response_cache"],
        triton=_triton(options),
    )


def _triton(options: dict[str, Any]) -> TritonSettings | None:
    from nimify.serving.triton.settings import TritonSettings

    program = options["triton_server"]
    settings = TritonSettings.if_chosen(os.environ, engine=options["engine"], program=program)
    if settings is None and program is not None:
        raise click.UsageError("--triton-server belongs to --engine triton.")
    return settings


def _tls_files(options: dict[str, Any]) -> TlsFiles | None:
    from nimify.serving.settings import TlsFiles

    certificates, key, client_authorities = (options[f"tls_{name}"] for name in ("certificate", "key", "client_ca"))
    if certificates is None and key is None and client_authorities is None:
        return None
    if certificates is None or key is None:
        raise click.UsageError("TLS needs both --tls-certificate and --tls-key.")
    return TlsFiles(certificates, key, client_authorities)


def _refuse_zero(limits: dict[str, Any]) -> None:
    """Only the two times of the shutdown may be nothing."""
    for option, limit in _LIMITS.items():
        if limits.get(limit) == 0 and limit not in {"drain_s", "shutdown_grace_s"}:
            raise click.BadParameter("it must be more than 0.", param_hint=f"--{option.replace('_', '-')}")


@contextmanager
def _bundle(console: Console, source: Path) -> Iterator[Path]:
    """The bundle to serve: the folder itself, or one made of a model file for as long as this lasts."""
    if source.is_dir():
        yield source
        return
    from nimify.core.nimifier import Nimifier

    with tempfile.TemporaryDirectory(prefix="nimify-serve-") as folder:
        nimifier = Nimifier()
        draft = nimifier.draft(source, Path(folder) / "bundle", link=True, progress=console.progress)
        draft.write(progress=console.progress)
        console.talk(f"Serving '{source.name}' from a temporary bundle, which goes when the service stops.")
        console.talk(f"To keep it: nimify create {shlex.quote(str(source))}")
        yield draft.folder


def _announce(console: Console, spec: ServiceSpec, url: str) -> None:
    """Say where people will look first."""
    console.talk(f"'{spec.name}' {spec.version} will answer on {url}, its documentation is on {url}/docs.")
    console.talk("Ctrl-C stops it.")
