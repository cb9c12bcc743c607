"""Single questions to Triton, each on a connection of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from nimify.errors import BundleDamaged, EnvironmentProblem
from nimify.serving.triton.connection import ConnectionGone, Reply, TritonConnection


async def ask(port: int, path: str) -> Reply:
    """What Triton answers to a GET.

    Raises:
        ConnectionGone: It does not answer.
    """
    connection = await TritonConnection.open(port)
    try:
        return await connection.get(path)
    finally:
        connection.close()


async def says_yes(port: int, path: str) -> bool:
    """Whether it answers 200; one that does not answer at all does not."""
    try:
        return (await ask(port, path)).status == 200
    except ConnectionGone:
        return False


async def lives(port: int, *, timeout_s: float) -> bool:
    """Whether it answers at all within the time."""
    try:
        async with asyncio.timeout(timeout_s):
            return await says_yes(port, "/v2/health/live")
    except TimeoutError:
        return False


async def document(port: int, path: str) -> dict[str, Any]:
    """What a Triton that is ready tells of its model.

    Raises:
        BundleDamaged: It does not serve the model.
        EnvironmentProblem: It does not answer.
    """
    try:
        reply = await ask(port, path)
        found = orjson.loads(reply.body)
    except (ConnectionGone, ValueError) as error:
        raise EnvironmentProblem(
            "Triton was ready, and does not answer.", remedy="See what it says with --log-level debug."
        ) from error
    if reply.status != 200 or not isinstance(found, dict):
        raise BundleDamaged(
            f"Triton does not serve what was planned: it answers {reply.status}.",
            remedy="Write the bundle again with: nimify create MODEL --force",
        )
    return found
