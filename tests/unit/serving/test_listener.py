"""The listening socket, and the words for when there is none."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from nimify.errors import EnvironmentProblem
from nimify.serving.listener import bind, url_of


def test_a_free_port_is_found_and_connects() -> None:
    """Port 0 gives one that a client reaches by its URL."""
    with closing(bind("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        assert url_of(listener) == f"http://127.0.0.1:{port}"
        assert listener.gettimeout() == 0
        with closing(socket.create_connection((host, port), 5)):
            pass


def test_a_port_in_use_is_named() -> None:
    """The message says which, and the remedy names the option."""
    with closing(bind("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=f"Port {port} of 127.0.0.1 is in use") as caught:
            bind("127.0.0.1", port)
    assert "--port" in caught.value.remedy


def test_a_port_is_free_again_at_once() -> None:
    """A restart does not wait for the connections of the process before."""
    with closing(bind("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port), 5)
        listener.setblocking(True)
        listener.accept()[0].close()
        client.close()
    bind("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["256.256.256.256", "a" * 300, "a\0b", "no such host", "-"])
def test_a_host_that_is_none_is_named(host: str) -> None:
    """Without a look at the network, and without control characters in the message."""
    with pytest.raises(EnvironmentProblem, match="cannot be resolved") as caught:
        bind(host, 0)
    assert caught.value.message.isprintable()


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    """192.0.2.0/24 is reserved for documentation: nobody has it."""
    with pytest.raises(EnvironmentProblem, match=r"Cannot listen on port 0 of 192\.0\.2\.1"):
        bind("192.0.2.1", 0)


def test_any_address_is_reached_by_loopback() -> None:
    """A URL that a client on this machine can use."""
    with closing(bind("0.0.0.0", 0)) as listener:  # noqa: S104 - that it works is the point
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_ipv6_address_is_bracketed() -> None:
    """As URLs want it."""
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    try:
        listener = bind("::1", 0)
    except EnvironmentProblem:
        pytest.skip("this machine has no IPv6 loopback")
    with closing(listener):
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"
