"""One gRPC call on a connection of its own, for what is asked of a service before the load."""

from __future__ import annotations

import asyncio

import uvloop

from nimify.loadtest.connection import Connection
from nimify.loadtest.grpc_connection import GrpcConnection
from nimify.loadtest.pool import Traffic
from nimify.loadtest.protocol import cannot_be_used
from nimify.serving.grpc.codec import PREFIX_BYTES


class CallFailed(Exception):
    """The service answered, and not with what was asked for.

    Attributes:
        reason: Its status, or what was wrong with its answer.
        said: What it said beside that.
    """

    def __init__(self, reason: str, said: str) -> None:
        super().__init__(f"{reason}: {said}" if said else reason)
        self.reason = reason
        self.said = said


def call(traffic: Traffic, headers: bytes) -> bytes:
    """Send the first message of `traffic`, and wait for the answer to it.

    Args:
        traffic: Where the service is, and the message.
        headers: The header block of the call; see `nimify.loadtest.grpc_connection.call_headers`.

    Returns:
        The message of the answer.

    Raises:
        EnvironmentProblem: The service cannot be reached, or does not answer in time.
        CallFailed: It answers otherwise than with OK and a message.
    """
    return uvloop.run(_call(traffic, headers))


async def _call(traffic: Traffic, headers: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[str] = loop.create_future()
    address = traffic.address

    def answered(_: Connection, failure: str) -> None:
        if not ended.done():
            ended.set_result(failure)

    def lost(_: Connection, reason: str) -> None:
        if not ended.done():
            ended.set_exception(cannot_be_used(f"{address.authority} could not be asked ({reason})"))

    try:
        async with asyncio.timeout(traffic.timeout_s):
            _, connection = await loop.create_connection(
                lambda: GrpcConnection(headers, answered, lost), address.host, address.port, ssl=traffic.tls
            )
            connection.send(traffic.wires[0], 1, 0.0, measured=False)
            failure = await ended
    except TimeoutError:
        raise cannot_be_used(f"it did not answer within {traffic.timeout_s:g} seconds") from None
    except OSError as error:
        raise cannot_be_used(f"{address.authority} could not be asked ({error.strerror or error})") from error
    connection.abort()
    if failure:
        raise CallFailed(failure, connection.said)
    return bytes(connection.content[PREFIX_BYTES:])
