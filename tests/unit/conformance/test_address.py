"""An address is understood exactly, or refused."""

from __future__ import annotations

import pytest

from nimify.conformance.address import Address
from nimify.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("127.0.0.1:8000", Address("127.0.0.1", 8000)),
        ("http://service.example", Address("service.example", 80)),
        ("https://service.example/models/a/", Address("service.example", 443, True, "/models/a")),
        ("http://[::1]:8000", Address("::1", 8000)),
    ],
)
def test_addresses_are_read(url: str, expected: Address) -> None:
    """Scheme, port and path may be left out."""
    assert Address.parse(url) == expected


@pytest.mark.parametrize("url", ["", "http://", "ftp://x", "http://x:99999", "http://x?q", "x:80\r\nA: b", "a b:80"])
def test_what_is_no_address_is_refused(url: str) -> None:
    """Above all, nothing that would end the request line."""
    with pytest.raises(ConfigError, match="no address"):
        Address.parse(url)


def test_an_address_is_written_as_it_is_read() -> None:
    """IPv6 keeps its brackets."""
    assert Address.parse("https://[::1]:8443/a").url == "https://[::1]:8443/a"


def test_a_file_without_certificates_is_refused() -> None:
    """The error names the file."""
    with pytest.raises(ConfigError, match=r"/nowhere\.pem"):
        Address.parse("https://x").tls("/nowhere.pem")
