"""TLS and mutual TLS with real handshakes: who is let in, certificates that change, and strangers that only knock."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import RunServe

StartService = Callable[..., "RunningService"]
Eventually = Callable[..., None]


@dataclass
class Identity:
    """A certificate of `localhost` on disk, and the authority that signed it."""

    authority: trustme.CA
    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path, authority: trustme.CA) -> Identity:
        folder.mkdir(exist_ok=True)
        issued = authority.issue_cert("localhost", "127.0.0.1")
        identity = cls(authority, folder / "tls.crt", folder / "tls.key")
        issued.cert_chain_pems[0].write_to_path(identity.certificate)
        issued.private_key_pem.write_to_path(identity.key)
        return identity

    @property
    def options(self) -> tuple[str, ...]:
        return "--tls-certificate", str(self.certificate), "--tls-key", str(self.key)

    @property
    def environment(self) -> dict[str, str]:
        return {"NIM_SSL_CERTS_PATH": str(self.certificate), "NIM_SSL_KEY_PATH": str(self.key)}


def trusting(*authorities: trustme.CA, show: Identity | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for authority in authorities:
        authority.configure_trust(context)
    if show is not None:
        context.load_cert_chain(show.certificate, show.key)
    return context


def status(service: RunningService, context: ssl.SSLContext, path: str = "/v1/version") -> int:
    connection = http.client.HTTPSConnection("localhost", service.port, timeout=60, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def shut_out(service: RunningService, context: ssl.SSLContext) -> bool:
    """Whether a client is not let in: by a failed handshake, or a connection that is cut at its end."""
    try:
        status(service, context)
    except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
        return True
    return False


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity.make(tmp_path_factory.mktemp("server"), trustme.CA())


@pytest.fixture(scope="module")
def secure(start_service: StartService, make_bundle: Callable[..., Path], identity: Identity) -> RunningService:
    service = start_service(
        make_bundle("tiny"), *identity.options, "--header-timeout", "3s", "--max-connections", "50", wait_ready=False
    )
    wait_until_up(service, trusting(identity.authority))
    return service


def wait_until_up(service: RunningService, context: ssl.SSLContext) -> None:
    deadline_s = time.monotonic() + 60
    while not is_ready(service, context):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def is_ready(service: RunningService, context: ssl.SSLContext) -> bool:
    """Whether it is; a handshake that a busy machine did not bring to its end in time is asked for again."""
    try:
        return status(service, context, "/v1/health/ready") == 200
    except (ssl.SSLError, ConnectionError):
        return False


def test_a_service_speaks_tls(secure: RunningService, identity: Identity) -> None:
    """Its URL says so, and a client that trusts its authority is answered."""
    assert secure.url.startswith("https://")
    assert status(secure, trusting(identity.authority)) == 200
    assert shut_out(secure, trusting(trustme.CA()))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_today_are_spoken(version: ssl.TLSVersion, secure: RunningService, identity: Identity) -> None:
    """With HTTP/1.1 agreed on, where a client asks."""
    context = trusting(identity.authority)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", secure.port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wire,
    ):
        assert wire.selected_alpn_protocol() == "http/1.1"
        wire.sendall(b"GET /v1/version HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_a_large_body_passes(secure: RunningService, identity: Identity) -> None:
    """Through many records, both ways."""
    connection = http.client.HTTPSConnection("localhost", secure.port, timeout=30, context=trusting(identity.authority))
    connection.request("POST", "/v1/infer", b'{"inputs":{"x":[[1,2,3,4]]}' + b" " * (4 << 20) + b"}")
    assert connection.getresponse().status == 200
    connection.close()


def test_plain_http_on_the_port_is_closed(secure: RunningService, identity: Identity) -> None:
    """Without a byte of an answer that would look like one, and without a line in the log."""
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", secure.port), timeout=60) as wire:
            wire.sendall(b"GET /v1/version HTTP/1.1\r\nHost: a\r\n\r\n")
            received = b""
            try:
                while data := wire.recv(1 << 16):
                    received += data
            except ConnectionResetError:
                pass
            assert b"HTTP" not in received
    assert status(secure, trusting(identity.authority)) == 200
    assert "Traceback" not in secure.log.read_text()


@pytest.mark.parametrize("hello", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"], ids=["silent", "one byte", "half"])
def test_a_handshake_has_a_deadline(hello: bytes, secure: RunningService) -> None:
    """A client that never ends its part is cut, as one is that never ends its headers."""
    with socket.create_connection(("127.0.0.1", secure.port), timeout=60) as wire:
        wire.sendall(hello)
        with suppress(ConnectionResetError):
            assert wire.recv(1 << 16) == b""


@pytest.fixture
def knocking(secure: RunningService) -> Iterator[list[socket.socket]]:
    """Two thousand connections that say nothing; they take no place of those who do."""
    silent = [socket.create_connection(("127.0.0.1", secure.port), timeout=60) for _ in range(2000)]
    yield silent
    for wire in silent:
        wire.close()


def test_silent_strangers_take_nobody_s_place(
    secure: RunningService, identity: Identity, knocking: list[socket.socket]
) -> None:
    """More of them than handshakes or connections are allowed, and a real client is answered."""
    context = trusting(identity.authority)
    assert [status(secure, context) for _ in range(10)] == [200] * 10


def test_a_flood_of_handshakes_does_not_shut_others_out(secure: RunningService, identity: Identity) -> None:
    """Real ones, as fast as eight threads can: those who are through are answered all the while."""
    context, ended = trusting(identity.authority), threading.Event()

    def flood() -> None:
        while not ended.is_set():
            try:
                with (
                    socket.create_connection(("127.0.0.1", secure.port), timeout=60) as plain,
                    trusting(identity.authority).wrap_socket(plain, server_hostname="localhost"),
                ):
                    pass
            except OSError:
                pass

    threads = [threading.Thread(target=flood) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        connection = http.client.HTTPSConnection("localhost", secure.port, timeout=60, context=context)
        for _ in range(50):
            connection.request("GET", "/v1/version")
            response = connection.getresponse()
            assert response.status == 200
            response.read()
        connection.close()
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_a_renewed_certificate_is_shown_without_a_restart(
    start_service: StartService, make_bundle: Callable[..., Path], tmp_path: Path, eventually: Eventually
) -> None:
    """New connections get it, one that was open goes on; a broken renewal changes nothing and is logged."""
    old = Identity.make(tmp_path / "tls", trustme.CA())
    service = start_service(make_bundle("tiny"), *old.options, wait_ready=False)
    wait_until_up(service, trusting(old.authority))
    opened = http.client.HTTPSConnection("localhost", service.port, timeout=60, context=trusting(old.authority))
    opened.request("GET", "/v1/version")
    opened.getresponse().read()

    certificate = old.certificate.read_bytes()
    old.certificate.write_bytes(certificate[:100])
    eventually(lambda: "the old certificate stays" in service.log.read_text(), what="the refusal in the log")
    assert status(service, trusting(old.authority)) == 200

    new = Identity.make(tmp_path / "tls", trustme.CA())
    eventually(lambda: not shut_out(service, trusting(new.authority)), what="the new certificate")
    assert shut_out(service, trusting(old.authority))
    opened.request("GET", "/v1/version")
    assert opened.getresponse().status == 200
    opened.close()


def test_mutual_tls_lets_in_who_shows_a_certificate(
    start_service: StartService,
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    identity: Identity,
    eventually: Eventually,
) -> None:
    """Of the right authority; when the authorities change, those of the old one are shut out."""
    friend = Identity.make(tmp_path / "friend", trustme.CA())
    stranger = Identity.make(tmp_path / "stranger", trustme.CA())
    authorities = tmp_path / "authorities.pem"
    friend.authority.cert_pem.write_to_path(authorities)
    service = start_service(
        make_bundle("tiny"),
        env={"NIM_SSL_MODE": "mTLS", "NIM_SSL_CA_CERTS_PATH": str(authorities), **identity.environment},
        wait_ready=False,
    )
    shown = trusting(identity.authority, show=friend)
    wait_until_up(service, shown)
    assert shut_out(service, trusting(identity.authority))
    assert shut_out(service, trusting(identity.authority, show=stranger))
    stranger.authority.cert_pem.write_to_path(authorities)
    eventually(lambda: shut_out(service, shown), what="the end of the old authority")
    assert status(service, trusting(identity.authority, show=stranger)) == 200


@pytest.mark.parametrize(
    ("environment", "field"),
    [
        ({"NIM_SSL_MODE": "on"}, "NIM_SSL_MODE"),
        ({"NIM_SSL_MODE": "TLS"}, "NIM_SSL_CERTS_PATH"),
        ({"NIM_SSL_MODE": "TLS", "NIM_SSL_CERT_PATH": "/x"}, "NIM_SSL_KEY_PATH"),
        ({"NIM_SSL_MODE": "TLS", "NIM_SSL_CERT_PATH": "/x", "NIM_SSL_KEY_PATH": "/y"}, "TLS"),
        ({"NIM_SSL_MODE": "MTLS", "NIM_SSL_CERT_PATH": "/x", "NIM_SSL_KEY_PATH": "/y"}, "NIM_SSL_CA_CERTS_PATH"),
    ],
)
def test_a_service_without_its_certificate_does_not_start(
    environment: dict[str, str], field: str, make_bundle: Callable[..., Path], run_serve: RunServe
) -> None:
    """It names the variable or file, and never falls back to plain text."""
    ended = run_serve(make_bundle("tiny"), "--port", "0", env=environment)
    assert ended.returncode == 2
    assert field in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_certificate_of_another_key_does_not_start(
    identity: Identity, tmp_path: Path, make_bundle: Callable[..., Path], run_serve: RunServe
) -> None:
    """Both files are named."""
    other = Identity.make(tmp_path / "other", identity.authority)
    ended = run_serve(
        make_bundle("tiny"), "--port", "0", "--tls-certificate", str(identity.certificate), "--tls-key", str(other.key)
    )
    assert ended.returncode == 2
    assert "tls.key" in ended.stderr
