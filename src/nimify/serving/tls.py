"""TLS for every port of the service, with certificates that may be renewed while it runs.

A context is made whole from its files, and then never changed: a connection that has begun ends as it began, and the
next one gets the context of the day, which knows no session of the one before it. A renewal that cannot be used,
because one file came before the other or is broken, is logged, and the old certificate goes on.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nimify.errors import ConfigError
from nimify.serving.logs import Log
from nimify.serving.settings import TlsFiles
from nimify.serving.watch import Stamped

_FIELD: Final = "TLS"
_REFUSED: Final = "the files of TLS were changed and cannot be used; the old certificate stays"
_NO_PASS_PHRASE: Final = ""
"""Given to a key that needs one, so that it fails: OpenSSL would ask on the terminal, and wait."""


class ServerTls:
    """The contexts of today, one for each list of application protocols.

    Args:
        files: Certificate, key and, for mutual TLS, the clients' authorities.

    Raises:
        ConfigError: A file cannot be read or used; names it.
    """

    def __init__(self, files: TlsFiles, *, log: Log) -> None:
        self._files = files
        self._log = log
        self._stamped = Stamped(lambda: _paths(files))
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {(): server_context(files, ())}

    def context(self, protocols: Sequence[str] = ()) -> ssl.SSLContext:
        """The context for a new connection that may speak these protocols (ALPN), the preferred one first."""
        key = tuple(protocols)
        if key not in self._contexts:
            self._contexts = {**self._contexts, key: server_context(self._files, key)}
        return self._contexts[key]

    def refresh(self) -> None:
        """Make new contexts if the files have changed; called off the event loop."""
        if not self._stamped.changed():
            return
        try:
            self._contexts = {key: server_context(self._files, key) for key in self._contexts}
        except ConfigError as error:
            self._log.error(_REFUSED, reason=str(error))
            return
        self._log.info("certificate changed", certificates=str(self._files.certificates))


def server_context(files: TlsFiles, protocols: Sequence[str]) -> ssl.SSLContext:
    """A context that serves with these files, TLS 1.2 or later.

    Args:
        files: Certificate, key and, for mutual TLS, the clients' authorities.
        protocols: What may be spoken inside (ALPN), the preferred one first; empty leaves it open.

    Raises:
        ConfigError: A file cannot be read or used; names it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Renegotiation makes the server work at a client's word; compression leaks what is compressed (CRIME).
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if protocols:
        context.set_alpn_protocols(list(protocols))
    _load_certificate(context, files)
    if files.client_authorities is not None:
        _demand_certificates(context, files)
    return context


def _paths(files: TlsFiles) -> list[Path]:
    return [path for path in (files.certificates, files.key, files.client_authorities) if path is not None]


def _load_certificate(context: ssl.SSLContext, files: TlsFiles) -> None:
    for path in (files.certificates, files.key):
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            raise ConfigError(f"'{path}' cannot be read ({error.strerror}).", field=_FIELD) from error
    try:
        context.load_cert_chain(files.certificates, files.key, password=lambda: _NO_PASS_PHRASE)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"'{files.certificates}' and '{files.key}' are not a certificate and its key without a pass phrase, "
            f"both as PEM ({_reason(error)}).",
            field=_FIELD,
        ) from error


def _demand_certificates(context: ssl.SSLContext, files: TlsFiles) -> None:
    authorities = files.client_authorities
    try:
        context.load_verify_locations(authorities)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"'{authorities}' is no file of certificates as PEM ({_reason(error)}).", field=_FIELD
        ) from error
    context.verify_mode = ssl.CERT_REQUIRED


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(reason, str):
        return reason.lower().replace("_", " ")
    return getattr(error, "strerror", None) or "not understood"
