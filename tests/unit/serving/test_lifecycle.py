"""Starting, ready, stopping: what one worker does is what every worker sees."""

from __future__ import annotations

import copy

import pytest

from nimify.metrics import catalog
from nimify.metrics.registry import Registry
from nimify.serving.lifecycle import Lifecycle


def workers(count: int) -> list[Lifecycle]:
    shared = Registry(workers=count)
    return [worker(shared, slot) for slot in range(count)]


def worker(shared: Registry, slot: int, *, replacement: bool = False) -> Lifecycle:
    """As after a fork: the same memory, another slot."""
    registry = copy.copy(shared)
    registry.use_slot(slot)
    return Lifecycle(registry, registry.gauge(catalog.READY), replacement=replacement)


def test_the_service_is_ready_when_every_worker_is() -> None:
    """One that loads keeps all of them from being ready."""
    first, second = workers(2)
    assert not first.ready
    first.worker_ready()
    assert (first.ready, second.ready) == (False, False)
    assert first.reason == "the model is loading"
    second.worker_ready()
    assert (first.ready, second.ready) == (True, True)


def test_a_worker_that_stops_makes_the_service_unready() -> None:
    """A load balancer may ask any of them."""
    first, second = workers(2)
    first.worker_ready()
    second.worker_ready()
    assert first.ready
    second.stopping()
    assert (first.ready, second.ready) == (False, False)
    assert first.reason == "it is stopping"


def test_stopping_while_another_loads_is_stopping() -> None:
    """The reason is the one that lasts."""
    first, second = workers(2)
    first.stopping()
    assert second.reason == "it is stopping"
    assert not second.ready


def test_a_replacement_does_not_make_the_service_unready() -> None:
    """It loads beside those that answer, and listens only when it is done."""
    shared = Registry(workers=2)
    first, second = worker(shared, 0), worker(shared, 1)
    first.worker_ready()
    second.worker_ready()
    assert first.ready
    replacement = worker(shared, 1, replacement=True)
    assert (first.ready, replacement.ready) == (True, True)
    replacement.worker_ready()
    assert (first.ready, replacement.ready) == (True, True)
    first.stopping()
    assert not replacement.ready


@pytest.mark.parametrize("step", ["worker_ready", "stopping"])
def test_the_gauge_follows(step: str) -> None:
    """`nim_ready` is 1 from ready to stopping."""
    registry = Registry()
    gauge = registry.gauge(catalog.READY)
    lifecycle = Lifecycle(registry, gauge)
    lifecycle.worker_ready()
    assert gauge.value == 1
    getattr(lifecycle, step)()
    assert gauge.value == (1 if step == "worker_ready" else 0)


def test_a_worker_that_lost_its_model_is_not_ready_until_it_has_it_again() -> None:
    """As when the engine is a process of its own, and died."""
    (only,) = workers(1)
    only.worker_ready()
    only.worker_loading()
    assert not only.ready
    assert only.reason == "the model is loading"
    only.worker_ready()
    assert only.ready


def test_a_worker_that_was_told_to_stop_stays_so_whatever_its_engine_does() -> None:
    """The engine may die, and come back, while the last requests are answered."""
    (only,) = workers(1)
    only.worker_ready()
    only.stopping()
    only.worker_loading()
    only.worker_ready()
    assert not only.ready
    assert only.reason == "it is stopping"


def test_a_worker_that_leaves_says_nothing_about_the_service() -> None:
    """Neither by leaving, nor by what it sees of the files afterwards; the others are the service."""
    first, second = workers(2)
    first.worker_ready()
    second.worker_ready()
    first.leaving()
    first.drifted(True)
    first.worker_loading()
    assert (first.ready, second.ready) == (True, True)
    second.drifted(True)
    assert (first.ready, second.ready) == (False, False)


def test_a_worker_is_in_charge_until_it_leaves() -> None:
    """Nobody is when there is none."""
    first, second = workers(2)
    first.worker_ready()
    assert second.in_charge(0)
    first.leaving()
    assert not second.in_charge(0)
    assert not second.in_charge(None)
