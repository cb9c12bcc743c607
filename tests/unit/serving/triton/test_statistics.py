"""Triton's counters, added to ours as they grow."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from nimify.metrics.registry import Registry
from nimify.metrics.service import ModelMetrics
from nimify.serving.triton.statistics import Statistics, StatisticsReader


def document(**counts: int) -> dict[str, Any]:
    """What Triton answers; each count takes a microsecond."""
    names = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
    spent = {name: {"count": counts.get(name, 0), "ns": 1000 * counts.get(name, 0)} for name in names}
    row = {"inference_count": 1, "execution_count": 1, "last_inference": 5000, "batch_stats": []}
    return {"model_stats": [{**row, "inference_stats": spent}]}


def test_hits_and_misses_of_its_cache_are_ours() -> None:
    """How many, and how long they took, since the last reading."""
    registry = Registry(workers=1)
    metrics = ModelMetrics(registry, "m", "1")
    before = Statistics.from_document(document(cache_hit=10, cache_miss=4))
    Statistics.from_document(document(cache_hit=13, cache_miss=5)).add_growth(before, metrics)
    counters = (metrics.cache_hits, metrics.cache_misses, metrics.cache_hit_us, metrics.cache_miss_us)
    assert [registry.total(counter.cell) for counter in counters] == [3, 1, 3, 1]


def test_what_comes_right_after_the_start_is_counted() -> None:
    """The service is ready then: the first request may be answered before anything is read again."""
    counted = {"cache_miss": 7}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            body = orjson.dumps(document(**counted))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    async def scene() -> float:
        registry = Registry(workers=1)
        metrics = ModelMetrics(registry, "m", "1")
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        statistics = StatisticsReader(server.sockets[0].getsockname()[1], "/v2/models/m", metrics)
        await statistics.start()
        counted["cache_miss"] += 3
        statistics.touch()
        async with asyncio.timeout(60):
            while not (missed := registry.total(metrics.cache_misses.cell)):
                await asyncio.sleep(0.01)
        statistics.close()
        server.close()
        return missed

    assert asyncio.run(scene()) == 3
