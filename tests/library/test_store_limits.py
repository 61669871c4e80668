"""Limits that processes share: never more than there are, and nothing lost to the dead."""

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from library.storing import CONFIG
from ultrafast.core import Region, Table
from ultrafast.errors import InvalidArgument, Timeout
from ultrafast.sizing import region_sizes
from ultrafast.store import UltraFastMemoryStore
from ultrafast.store.limits import SharedSemaphore, TokenBucket

SPAWN = multiprocessing.get_context("spawn")
WATCHDOG_S = 60


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    with Region.create(tmp_path / "ultrafast-limits", region_sizes(CONFIG)) as region:
        yield region


@pytest.fixture
def store(region: Region) -> UltraFastMemoryStore:
    return UltraFastMemoryStore(Table(region))


class Clock:
    def __init__(self) -> None:
        self.now_ns = 1_000_000_000_000

    def __call__(self) -> int:
        return self.now_ns

    def passes(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


def test_a_bucket_fills_at_its_rate_up_to_its_burst(store: UltraFastMemoryStore) -> None:
    clock = Clock()
    bucket = TokenBucket(store, "b", rate_per_s=10, burst=5, clock=clock)
    same = TokenBucket(store, "b", rate_per_s=10, burst=5, clock=clock)
    assert [bucket.take_nowait() for _ in range(6)] == [True] * 5 + [False]
    assert not same.take_nowait(0.5)
    clock.passes(0.05)
    assert same.take_nowait(0.5) and not bucket.take_nowait(0.5)
    clock.passes(0.3)
    assert bucket.tokens() == pytest.approx(3)
    clock.passes(100)
    assert bucket.tokens() == 5 and bucket.take_nowait(5) and not same.take_nowait(0.1)
    clock.passes(-0.2)  # set back: neither more nor fewer
    assert same.tokens() == 0
    clock.passes(-1e6)
    assert same.tokens() == 5
    assert TokenBucket(store, "other", rate_per_s=1, burst=1, clock=clock).take_nowait()


@pytest.mark.parametrize("kept", [7, "x", [1], [1, "x"], ["x", 1], {"a": 1}, [float("nan"), 1]])
def test_an_entry_of_anybodys_making_breaks_no_limit(
    store: UltraFastMemoryStore, kept: Any
) -> None:
    store.set("ultrafast.limits", "bucket b", kept)
    store.set("ultrafast.limits", "semaphore s", kept)
    bucket = TokenBucket(store, "b", rate_per_s=0.001, burst=5)
    assert sum(bucket.take_nowait() for _ in range(10)) <= 5
    places = SharedSemaphore(store, "s", limit=2, lease_s=60)
    assert sum(places.acquire_nowait() is not None for _ in range(5)) == 2


def test_what_would_come_too_late_is_refused_at_once(store: UltraFastMemoryStore) -> None:
    bucket = TokenBucket(store, "b", rate_per_s=0.01, burst=1)

    async def ask() -> None:
        await bucket.take(timeout_s=0)
        with pytest.raises(Timeout, match=r"bucket 'b': 1 tokens are there in"):
            await bucket.take(timeout_s=5)
        quick = TokenBucket(store, "quick", rate_per_s=1000, burst=1)
        for _ in range(20):
            await quick.take()

    asyncio.run(asyncio.wait_for(ask(), WATCHDOG_S))


@pytest.mark.parametrize(
    ("rate", "burst", "tokens"), [(0, 1, 1), (1, 0, 1), (1, 5, 6), (1, 5, 0), (float("inf"), 1, 1)]
)
def test_what_no_bucket_can_give(
    store: UltraFastMemoryStore, rate: float, burst: float, tokens: float
) -> None:
    with pytest.raises(InvalidArgument, match="bucket 'b'"):
        TokenBucket(store, "b", rate_per_s=rate, burst=burst).take_nowait(tokens)


def test_places_are_given_back_by_name_or_by_time(store: UltraFastMemoryStore) -> None:
    clock = Clock()
    places = SharedSemaphore(store, "s", limit=2, lease_s=10, clock=clock)
    one, two = places.acquire_nowait(), places.acquire_nowait()
    assert one is not None and two is not None and one != two
    assert places.acquire_nowait() is None and places.holders() == 2
    assert places.release(one) and not places.release(one) and places.holders() == 1
    clock.passes(9)
    assert places.renew(two)
    clock.passes(9)
    assert places.holders() == 1
    clock.passes(2)
    assert places.holders() == 0 and not places.renew(two) and not places.release(two)
    for limit, lease_s in ((0, 1.0), (4097, 1.0), (1, 0.0), (True, 1.0)):
        with pytest.raises(InvalidArgument, match="semaphore 'x'"):
            SharedSemaphore(store, "x", limit=limit, lease_s=lease_s)


def _note(store: UltraFastMemoryStore, inside: int) -> None:
    store.update("inside", "most", lambda most: max(most, inside), 0)


def _hold(path: str, turns: int) -> None:
    """Be inside so often; tell by a count of its own how many are."""
    with Region.attach(path) as region:
        store = UltraFastMemoryStore(Table(region))
        places = SharedSemaphore(store, "s", limit=2, lease_s=60)

        async def enter() -> None:
            for _ in range(turns):
                async with places.held():
                    _note(store, store.incr("inside", "now"))
                    await asyncio.sleep(0)
                    store.incr("inside", "now", -1)

        asyncio.run(asyncio.wait_for(enter(), WATCHDOG_S))


def _take(path: str) -> None:
    with Region.attach(path) as region:
        bucket = TokenBucket(UltraFastMemoryStore(Table(region)), "b", rate_per_s=1e-6, burst=1_000)
        taken = 0
        while bucket.take_nowait():
            taken += 1
        bucket._store.incr("taken", "all", taken)


def _together(target: Any, *arguments: Any) -> None:
    children = [SPAWN.Process(target=target, args=arguments) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(WATCHDOG_S)
        assert child.exitcode == 0


def test_processes_are_never_more_inside_than_the_limit(
    region: Region, store: UltraFastMemoryStore
) -> None:
    _together(_hold, str(region.path), 60)
    assert 1 <= store.get("inside", "most") <= 2 and store.get("inside", "now") == 0
    assert SharedSemaphore(store, "s", limit=2, lease_s=60).holders() == 0


def test_processes_take_each_token_once(region: Region, store: UltraFastMemoryStore) -> None:
    _together(_take, str(region.path))
    assert store.get("taken", "all") == 1_000


def _die_inside(path: str) -> None:
    with Region.attach(path) as region:
        store = UltraFastMemoryStore(Table(region))
        assert SharedSemaphore(store, "s", limit=1, lease_s=0.5).acquire_nowait()
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_place_of_a_dead_holder_comes_back(region: Region, store: UltraFastMemoryStore) -> None:
    child = SPAWN.Process(target=_die_inside, args=(str(region.path),))
    child.start()
    child.join(WATCHDOG_S)
    assert child.exitcode == -signal.SIGKILL
    places = SharedSemaphore(store, "s", limit=1, lease_s=60)
    begun = time.monotonic()
    asyncio.run(asyncio.wait_for(places.acquire(), WATCHDOG_S))
    assert time.monotonic() - begun < WATCHDOG_S
    with pytest.raises(Timeout, match="all 1 places were taken"):
        asyncio.run(places.acquire(timeout_s=0.01))
