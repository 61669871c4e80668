"""Declared namespaces: caches that a full store takes back, times to live, and their figures."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from library.storing import CONFIG, Clock
from ultrafast.core import Region, Table
from ultrafast.errors import InvalidArgument, StoreFull
from ultrafast.sizing import region_sizes
from ultrafast.store import UltraFastMemoryStore

VALUE = bytes(64)


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    with Region.create(tmp_path / "ultrafast-caches", region_sizes(CONFIG)) as region:
        yield region


@pytest.fixture
def store(region: Region) -> UltraFastMemoryStore:
    return UltraFastMemoryStore(Table(region))


def test_a_cache_makes_room_for_itself_and_for_others(store: UltraFastMemoryStore) -> None:
    store.set_batch("kept", {str(number): VALUE for number in range(500)})
    cache = store.namespace("cache", cache=True)
    for number in range(20_000):
        cache[str(number)] = VALUE
    statistics = store.stats()
    assert statistics.evicted > 10_000 and statistics.expired == 0
    assert cache.stats().evicted == statistics.evicted
    assert cache.stats().entries == 20_000 - statistics.evicted == len(cache)
    assert cache.stats().bytes > len(cache) * len(VALUE) and cache.stats().cache
    assert statistics.namespaces == ["cache"]
    # Whoever finds no room takes it from the cache; nothing of its own goes.
    assert store.set_batch("kept", {str(number): VALUE for number in range(1500)}) == [True] * 1500
    assert store.get_batch("kept", [str(number) for number in range(1500)]) == [VALUE] * 1500
    assert store.namespace_stats("kept").evicted == 0


def test_what_is_read_stays_longer(store: UltraFastMemoryStore) -> None:
    cache = store.namespace("cache", cache=True)
    hot = [f"hot{number}" for number in range(20)]
    for key in hot:
        cache[key] = VALUE
    for number in range(30_000):
        cache[str(number)] = VALUE
        if number % 50 == 0:
            assert store.get_batch("cache", hot, b"") == [VALUE] * 20, number
    for number in range(30_000):
        cache[str(number)] = VALUE
    assert store.get_batch("cache", hot) == [None] * 20


def test_without_a_cache_a_full_store_stays_full(store: UltraFastMemoryStore) -> None:
    number = 0
    with pytest.raises(StoreFull) as caught:
        while True:
            store.set("kept", str(number), VALUE)
            number += 1
    text = str(caught.value)
    assert "free are 0 of 2," in text and "of 192 bytes" in text and "% full (" in text
    assert "memory_store_size" in text and "cache" in text
    assert len(store) == number
    store.namespace("kept", cache=True)  # holds for what is there already
    assert store.set("other", "k", VALUE) and store.stats().evicted >= 1
    store.namespace("kept", cache=False)
    evicted = store.stats().evicted
    with pytest.raises(StoreFull):
        for other in range(number):
            store.set("other", str(other), VALUE)
    assert store.stats().evicted == evicted


def test_large_entries_of_a_cache_are_evicted_too(store: UltraFastMemoryStore) -> None:
    cache = store.namespace("cache", cache=True)
    for number in range(50):
        cache[str(number)] = bytes(200_000)
    assert 1 <= len(cache) <= 3 and store.stats().evicted >= 47


def _write(path: Path) -> None:
    with Region.attach(path) as region:
        store = UltraFastMemoryStore(Table(region))
        for number in range(10_000):
            store.set("cache", f"child{number}", VALUE)
        store.set("timed", "child", 1)


def test_what_is_declared_every_process_knows(region: Region, store: UltraFastMemoryStore) -> None:
    store.namespace("cache", cache=True)
    store.namespace("timed", ttl_s=1000)
    child = multiprocessing.get_context("spawn").Process(target=_write, args=(Path(region.path),))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert store.namespace_stats("cache").evicted > 3000
    entry = Table(region).get_entry("timed", "child")
    assert entry is not None and entry.expires_ns > 0


def test_a_namespaces_time_to_live(region: Region) -> None:
    table, clock = Table(region), Clock()
    store = UltraFastMemoryStore(table, clock=clock)
    timed = store.namespace("timed", ttl_s=50)
    before = table.get_entry("timed", "a")
    assert before is None

    def seconds(key: str) -> float:
        entry = table.get_entry("timed", key)
        assert entry is not None
        return (entry.expires_ns - clock()) / 1e9

    timed["a"] = 1
    store.set("timed", "b", [1], ttl_s=500)
    store.incr("timed", "c")
    store.compare_and_set("timed", "d", "text", 0)
    store.set_batch("timed", {"e": {}, "f": b""})
    assert all(40 < seconds(key) <= 50 for key in "acdef") and 490 < seconds("b") <= 500
    assert timed.stats().ttl_s == 50 and not timed.stats().cache
    store.namespace("timed", cache=True)  # for ever, from now on
    timed["a"] = 2
    entry = table.get_entry("timed", "a")
    assert entry is not None and entry.expires_ns == 0
    store.namespace("timed", ttl_s=0.001)
    assert timed.stats().cache
    timed["g"] = 1
    while "g" in timed:
        pass
    swept = 0
    while store.stats().expired == 0:
        swept += store.sweep()
    assert swept == 1 == timed.stats().expired


@pytest.mark.parametrize("ttl_s", [0, -1, float("nan"), 1e10])
def test_what_cannot_be_declared(store: UltraFastMemoryStore, ttl_s: float) -> None:
    with pytest.raises(InvalidArgument):
        store.namespace("n", ttl_s=ttl_s)
    with pytest.raises(InvalidArgument, match="at most 192"):
        store.namespace("n" * 193, cache=True)
    assert store.stats().namespaces == []
    assert store.set("n" * 193, "k", 1)
    for number in range(256):
        store.namespace(f"n{number}", cache=True)
    with pytest.raises(InvalidArgument, match="256 others are declared"):
        store.namespace("one more", cache=True)
    assert len(store.stats().namespaces) == 256
