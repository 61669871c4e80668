"""The shared store, on a real region: it behaves as a dict of dicts, and says when it can't."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from library.storing import CONFIG, empty
from ultrafast.config import MIB, Config
from ultrafast.core import Region, Table
from ultrafast.core._table import KEY_BYTES_MAX
from ultrafast.errors import (
    ConfigError,
    DecodeError,
    EncodeError,
    InvalidArgument,
    PoolExhausted,
    StoreFull,
    UltrafastError,
    ValueTooBig,
)
from ultrafast.executor.cache import CacheStore, ResultCache
from ultrafast.executor.model import Completion
from ultrafast.executor.tasks import Usage
from ultrafast.sizing import region_sizes
from ultrafast.store import Namespace, UltraFastMemoryStore

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | TEXT
    | st.binary(max_size=1000),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def region_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "ultrafast-store"


@pytest.fixture(scope="module")
def region(region_file: Path) -> Iterator[Region]:
    with Region.create(region_file, region_sizes(CONFIG)) as region:
        yield region


@pytest.fixture
def store(region: Region) -> UltraFastMemoryStore:
    store = UltraFastMemoryStore(Table(region))
    empty(store, region)
    return store


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same type all the way down: True is not 1 here, nor 1 the same as 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


class StoreAgainstDict(RuleBasedStateMachine):
    """Every operation in any order, on two attachments' stores; the model is a dict."""

    region: Region

    def __init__(self) -> None:
        super().__init__()
        self.stores = [UltraFastMemoryStore(Table(self.region)) for _ in range(2)]
        empty(self.stores[0], self.region)
        self.model: dict[tuple[str, str], Any] = {}

    spaces = st.sampled_from(["", "a", "ab", "ä"])
    keys = st.sampled_from(["", "k", "kk", "b", "ö", "x" * 1000])
    which = st.integers(0, 1)

    @rule(which=which, space=spaces, key=keys, value=VALUES)
    def set(self, which: int, space: str, key: str, value: Any) -> None:
        assert self.stores[which].set(space, key, value) is True
        self.model[space, key] = value

    @rule(which=which, space=spaces, key=keys)
    def delete(self, which: int, space: str, key: str) -> None:
        assert self.stores[which].delete(space, key) is ((space, key) in self.model)
        self.model.pop((space, key), None)

    @rule(which=which, space=spaces, key=keys)
    def pop(self, which: int, space: str, key: str) -> None:
        wanted = self.model.pop((space, key), "none")
        assert same(self.stores[which].pop(space, key, "none"), wanted)

    @rule(which=which, space=spaces, key=keys, value=VALUES)
    def set_default(self, which: int, space: str, key: str, value: Any) -> None:
        wanted = self.model.setdefault((space, key), value)
        assert same(self.stores[which].set_default(space, key, value), wanted)

    @rule(which=which, space=spaces, key=keys, value=VALUES, stale=st.booleans())
    def compare_and_set(self, which: int, space: str, key: str, value: Any, stale: bool) -> None:
        store = self.stores[which]
        before, version = store.get_with_version(space, key, "none")
        assert same(before, self.model.get((space, key), "none"))
        assert (version == 0) is ((space, key) not in self.model)
        if stale:
            store.set(space, key, "newer")
            self.model[space, key] = "newer"
            assert store.compare_and_set(space, key, value, version) == 0
        else:
            new = store.compare_and_set(space, key, value, version)
            assert new not in (0, version)
            assert store.get_with_version(space, key)[1] == new
            self.model[space, key] = value

    @rule(which=which, space=spaces, prefix=st.sampled_from(["", "k", "z"]))
    def scan(self, which: int, space: str, prefix: str) -> None:
        wanted = {
            key: value
            for (of, key), value in self.model.items()
            if of == space and key.startswith(prefix)
        }
        store = self.stores[which]
        assert sorted(store.keys(space, prefix)) == sorted(wanted)
        assert same(dict(store.items(space, prefix)), wanted)

    @invariant()
    def everything_is_there(self) -> None:
        assert len(self.stores[0]) == len(self.model)
        for (space, key), value in self.model.items():
            for store in self.stores:
                assert same(store.get(space, key), value)
                assert store.contains(space, key)


@pytest.fixture(scope="module", autouse=True)
def _region_of_the_machine(region: Region) -> None:
    StoreAgainstDict.region = region


TestStoreAgainstDict = StoreAgainstDict.TestCase


def test_missing(store: UltraFastMemoryStore) -> None:
    assert store.get("n", "k") is None
    assert store.get("n", "k", 7) == 7
    assert store.get_with_version("n", "k") == (None, 0)
    assert not store.contains("n", "k") and not store.delete("n", "k")
    assert store.pop("n", "k") is None and store.pop("n", "k", 3) == 3
    store.set("n", "k", None)
    assert store.get("n", "k", 7) is None and store.contains("n", "k")


def test_arrays_and_large_values(store: UltraFastMemoryStore) -> None:
    array = np.random.default_rng(5).normal(size=(100, 50))
    large = os.urandom(MIB)
    assert store.set("n", "array", array) and store.set("n", "large", large)
    np.testing.assert_array_equal(store.get("n", "array"), array, strict=True)
    np.testing.assert_array_equal(store.get_with_version("n", "array")[0], array, strict=True)
    assert store.get("n", "large") == large
    assert store.set("n", "mutable", bytearray(b"abc")) and store.get("n", "mutable") == b"abc"
    assert store.compare_and_set("n", "new", memoryview(b"xyz"), 0)
    assert store.get("n", "new") == b"xyz"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda store: store.set("n", "k", object()), EncodeError),
        (lambda store: store.set("n", "k", 2**64), EncodeError),
        (lambda store: store.set("n", "k", "\ud800"), ValueError),
        (lambda store: store.set("n", "k", bytes(2 * MIB)), ValueTooBig),
        (lambda store: store.set("n", "k" * KEY_BYTES_MAX, 1), InvalidArgument),
        (lambda store: store.set("n", 3, 1), TypeError),
        (lambda store: store.set("n", 3, [1]), TypeError),
        (lambda store: store.get("n", None), TypeError),
        (lambda store: store.set("n", "k", 1, ttl_s=0), InvalidArgument),
        (lambda store: store.set("n", "k", 1, ttl_s=-1), InvalidArgument),
        (lambda store: store.set("n", "k", 1, ttl_s=float("nan")), InvalidArgument),
        (lambda store: store.set("n", "k", 1, ttl_s=float("inf")), InvalidArgument),
        (lambda store: store.compare_and_set("n", "k", {1j}, 0), EncodeError),
        (lambda store: store.update("n", "k", lambda value: object()), EncodeError),
    ],
)
def test_what_is_refused_changes_nothing(
    store: UltraFastMemoryStore, call: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        call(store)
    assert len(store) == 0


def test_batches(store: UltraFastMemoryStore) -> None:
    assert store.set_batch("n", {"a": 1, "b": [2]}) == [True, True]
    assert store.set_batch("n", iter([("c", 3), ("a", 4)])) == [True, True]
    assert store.get_batch("n", ["a", "b", "x", "c"], 0) == [4, [2], 0, 3]
    assert store.delete_batch("n", ["a", "x", "b"]) == [True, False, True]
    assert store.set_batch("n", {}) == store.get_batch("n", []) == store.delete_batch("n", []) == []
    with pytest.raises(EncodeError):
        store.set_batch("n", {"d": 1, "e": object(), "f": 2})
    assert store.get_batch("n", ["d", "f"]) == [1, None]


def test_a_full_store_says_so_and_nothing_changes(store: UltraFastMemoryStore) -> None:
    value = bytes(200_000)
    count = 0
    with pytest.raises(StoreFull) as caught:
        while True:
            store.set("full", str(count), value)
            count += 1
    assert count >= 2
    error = caught.value
    assert isinstance(error, MemoryError) and isinstance(error, UltrafastError)
    assert f"'full' '{count}', a value of 200,000 bytes" in str(error)
    assert "memory_store_size" in str(error) and not isinstance(error, PoolExhausted)
    assert len(store) == count
    for call in (
        lambda: store.set("full", "list", [value]),
        lambda: store.compare_and_set("full", "new", value, 0),
        lambda: store.set_default("full", "new", value),
        lambda: store.update("full", "new", lambda _: value),
    ):
        with pytest.raises(StoreFull):
            call()
    assert store.set_batch("full", {"x": value, "y": b"small"}) == [False, True]
    assert store.get("full", "0") == value
    statistics = store.statistics()
    assert statistics.entries == count + 1
    assert 0 < statistics.bytes_free < statistics.bytes_total
    assert any(each.free == 0 for each in statistics.blocks)
    assert store.delete("full", "0") and store.set("full", "x", value)


def test_update_and_incr(store: UltraFastMemoryStore) -> None:
    assert store.update("n", "list", lambda value: [*value, 1], []) == [1]
    assert store.update("n", "list", lambda value: [*value, 2], []) == [1, 2]
    assert store.get("n", "list") == [1, 2]
    assert store.incr("n", "count") == 1 and store.incr("n", "count", 2.5) == 3.5
    store.set("n", "big", 2**63 - 1)
    assert store.incr("n", "big") == 2**63 == store.get("n", "big")
    for wrong in ("text", True, None, [1]):
        store.set("n", "wrong", wrong)
        with pytest.raises(InvalidArgument, match=r"'n' 'wrong': holds a (str|bool|NoneType|list)"):
            store.incr("n", "wrong")
        assert store.get("n", "wrong") == wrong


def test_update_goes_again_when_another_wrote_meanwhile(store: UltraFastMemoryStore) -> None:
    store.set("n", "k", 1)
    calls: list[int] = []

    def fn(value: int) -> int:
        calls.append(value)
        if len(calls) < 3:
            store.set("n", "k", value * 10)
        return value + 1

    assert store.update("n", "k", fn) == 101
    assert calls == [1, 10, 100]

    def gone(value: int | None) -> int:
        store.delete("n", "k")
        return 5 if value is None else 0

    assert store.update("n", "k", gone) == 5


def test_scan_goes_on_where_it_was(store: UltraFastMemoryStore) -> None:
    store.set_batch("n", {f"k{number}": number for number in range(100)})
    store.set_batch("other", {f"k{number}": number for number in range(100)})
    cursor: int | None = 0
    found: list[str] = []
    steps = 0
    while cursor is not None:
        cursor, keys = store.scan("n", "k1", cursor=cursor, limit=7)
        assert len(keys) <= 7
        found += keys
        steps += 1
    assert sorted(found) == sorted(f"k{n}" for n in range(100) if str(n).startswith("1"))
    assert steps >= 100 // 7


def test_a_namespace_is_a_mapping(store: UltraFastMemoryStore) -> None:
    notes = store.namespace("notes")
    assert isinstance(notes, Namespace) and notes.name == "notes" and len(notes) == 0
    notes["a"] = {"x": [1]}
    notes.update(b=2, c=None)
    store.set("other", "d", 1)
    assert notes["a"] == {"x": [1]} and dict(notes) == {"a": {"x": [1]}, "b": 2, "c": None}
    assert len(notes) == 3 and "c" in notes and "d" not in notes and 5 not in notes
    assert notes.get("d", 9) == 9 and notes.pop("b") == 2 and notes.setdefault("b", 4) == 4
    del notes["a"]
    with pytest.raises(KeyError, match="'a'"):
        notes["a"]
    with pytest.raises(KeyError, match="'a'"):
        del notes["a"]
    notes.clear()
    assert list(notes) == [] and store.get("other", "d") == 1


def test_the_executors_cache_works_on_it(store: UltraFastMemoryStore) -> None:
    shared: CacheStore = store
    cache = ResultCache(shared, ttl_s=60)
    completion = Completion(
        text="haiku",
        model="m",
        stop_reason="end_turn",
        usage=Usage(input_tokens=3),
    )
    assert cache.get("key") is None
    cache.set("key", completion)
    assert cache.get("key") == completion
    assert cache.statistics().hits == 1 and cache.statistics().errors == 0


@given(st.binary(max_size=60), st.integers(16, 40))
def test_bytes_under_any_tag_are_a_value_or_a_decode_error(data: bytes, tag: int) -> None:
    table = Table(StoreAgainstDict.region)
    store = UltraFastMemoryStore(table)
    table.set_encoded("hostile", "k", data, tag)
    for read in (store.get, store.get_with_version, store.pop):
        try:
            read("hostile", "k")
        except DecodeError:
            pass


def test_the_smallest_region_of_these_tests_is_refused_one_byte_smaller() -> None:
    with pytest.raises(ConfigError):
        region_sizes(Config(shared_buffer_size=MIB, memory_store_size=4 * MIB))
