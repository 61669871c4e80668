"""What a process keeps of its reads: never older than the last write, and whole for everybody."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from library.storing import CONFIG
from ultrafast.core import Region, Table
from ultrafast.errors import RegionClosed
from ultrafast.sizing import region_sizes
from ultrafast.store import UltraFastMemoryStore

SPACE = "space"
READS = 4  # the first two read the entry, the others get what was kept


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ultrafast-kept"


@pytest.fixture
def region(path: Path) -> Iterator[Region]:
    with Region.create(path, region_sizes(CONFIG)) as region:
        yield region


@pytest.fixture
def store(region: Region) -> UltraFastMemoryStore:
    return UltraFastMemoryStore(Table(region))


@pytest.fixture
def other(path: Path, region: Region) -> Iterator[UltraFastMemoryStore]:
    """Another attachment's."""
    with Region.attach(path) as theirs:
        yield UltraFastMemoryStore(Table(theirs))


def repeated(store: UltraFastMemoryStore, key: str, default: Any = None) -> Any:
    """What each of several reads by the same key answers, by both ways."""
    space = store.namespace(SPACE)
    found = [store.get(SPACE, key, default) for _ in range(READS)]
    for _ in range(READS):
        try:
            found.append(space[key])
        except KeyError:
            found.append(default)
    assert all(each == found[0] and type(each) is type(found[0]) for each in found)
    return found[0]


VALUES: list[Any] = [
    None,
    True,
    7,
    1 << 40,
    -(1 << 63),
    0.5,
    "text",
    "größer",
    b"bytes",
    b"",
    {},
    [],
    [[]],
]
NESTED: dict[str, Any] = {"a": 1, "tags": ["x", ["y", {"z": None}]], "inner": {"k": [1, 2]}}


@pytest.mark.parametrize("value", [*VALUES, NESTED, [NESTED, NESTED]])
def test_a_read_repeated_answers_the_same(store: UltraFastMemoryStore, value: Any) -> None:
    store.set(SPACE, "key", value)
    assert repeated(store, "key") == value


def test_a_write_of_anybody_is_seen_at_once(
    store: UltraFastMemoryStore, other: UltraFastMemoryStore
) -> None:
    key = "key"
    for number in range(20):
        (store if number % 2 else other).set(SPACE, key, number)
        assert repeated(store, key) == number
        other.set(SPACE, key, {"number": number})
        assert repeated(store, key) == {"number": number}
    assert other.delete(SPACE, key)
    assert repeated(store, key, "gone") == "gone"
    other.set(SPACE, key, 19)
    assert repeated(store, key) == 19
    assert other.pop(SPACE, key) == 19
    assert repeated(store, key, "gone") == "gone"


def test_a_view_of_what_was_replaced_does_not_keep_it(store: UltraFastMemoryStore) -> None:
    key = "key"
    store.set(SPACE, key, b"before")
    assert repeated(store, key) == b"before"
    with store.get_view(SPACE, key) as view:
        store.set(SPACE, key, b"after")
        assert repeated(store, key) == b"after"
        assert bytes(view) == b"before"


def test_what_one_caller_does_to_a_container_no_other_sees(store: UltraFastMemoryStore) -> None:
    store.set(SPACE, "key", NESTED)
    for _ in range(READS):
        mine = store.get(SPACE, "key")
        mine["tags"][1][1]["z"] = "changed"
        mine["tags"].append("more")
        mine["inner"]["k"].clear()
        mine["inner"]["new"] = mine
        del mine["a"]
    assert store.get(SPACE, "key") == NESTED


def test_a_namespace_of_the_same_key_is_another(store: UltraFastMemoryStore) -> None:
    key = "key"
    spaces = [f"space {number}" for number in range(600)]  # more than are kept
    for times in range(3):
        for number, space in enumerate(spaces):
            store.set(space, key, [times, number])
        for _ in range(READS):
            for number, space in enumerate(spaces):
                assert store.get(space, key) == [times, number]


def test_an_entry_with_an_end_is_gone_at_its_end(region: Region) -> None:
    store = UltraFastMemoryStore(Table(region), clock=lambda: 1)  # long ago
    values: list[Any] = [7, {"a": []}]
    for value in values:
        store.set(SPACE, "key", value)
        assert repeated(store, "key") == value
        store.set(SPACE, "key", value, ttl_s=1)
        assert repeated(store, "key", "gone") == "gone"


def test_deep_and_large_values_are_read_each_time(store: UltraFastMemoryStore) -> None:
    deep: Any = []
    for _ in range(30):
        deep = [deep]
    for value in (deep, "x" * 5_000, ["x"] * 2_000, {str(n): n for n in range(2_000)}):
        store.set(SPACE, "key", value)
        assert repeated(store, "key") == value


def test_a_closed_region_answers_nothing(path: Path) -> None:
    with Region.create(path, region_sizes(CONFIG)) as region:
        store = UltraFastMemoryStore(Table(region))
        space = store.namespace(SPACE)
        store.set(SPACE, "key", 7)
        assert repeated(store, "key") == 7
    with pytest.raises(RegionClosed):
        store.get(SPACE, "key")
    with pytest.raises(RegionClosed):
        space["key"]


def test_what_is_kept_goes_with_the_store(region: Region) -> None:
    store = UltraFastMemoryStore(Table(region))
    # Made here, so that nobody else has them: interned names would be counted elsewhere too.
    keys = ["".join(["key ", str(number)]) for number in range(1_000)]
    before = [sys.getrefcount(key) for key in keys]
    for key in keys:
        store.set(SPACE, key, NESTED)
    for _ in range(READS):
        for key in keys:
            store.get(SPACE, key)
            store.get(SPACE, key)
    del key
    kept = sum(sys.getrefcount(key) for key in keys) - sum(before)
    assert 0 < kept <= 256
    del store
    gc.collect()
    assert [sys.getrefcount(key) for key in keys] == before


def test_garbage_is_collected_while_a_copy_is_made(store: UltraFastMemoryStore) -> None:
    """Finalizers may read and write the very key that is being copied."""
    key = "key"
    seen: list[int] = []

    class Noisy:
        def __init__(self) -> None:
            self.myself = self

        def __del__(self) -> None:
            store.set(SPACE, key, {"number": len(seen), "inner": [[]]})
            seen.append(store.get(SPACE, key)["number"])

    store.set(SPACE, key, {"number": -1, "inner": [[]]})
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(300):
            Noisy()
            found = store.get(SPACE, key)
            assert found["inner"] == [[]]
    finally:
        gc.set_threshold(*thresholds)
        gc.collect()  # while the region is there
    assert len(seen) > 100
    assert seen == list(range(len(seen)))
