"""Values read where they lie: unchanged while a view lives; the block is free after the last."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from library.storing import CONFIG
from ultrafast.config import MIB
from ultrafast.core import Region, Table
from ultrafast.errors import InvalidArgument
from ultrafast.sizing import region_sizes
from ultrafast.store import UltraFastMemoryStore

LARGE = bytes(range(256)) * 400


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    config = msgspec.structs.replace(CONFIG, memory_store_size=16 * MIB)
    with Region.create(tmp_path / "ultrafast-views", region_sizes(config)) as region:
        yield region


@pytest.fixture
def store(region: Region) -> UltraFastMemoryStore:
    return UltraFastMemoryStore(Table(region))


def free(store: UltraFastMemoryStore) -> int:
    """Blocks that LARGE fits into, which no process keeps for itself."""
    gc.collect()
    return next(each.free for each in store.stats().blocks if each.block_bytes > len(LARGE))


def test_a_view_outlives_its_entry(store: UltraFastMemoryStore) -> None:
    before = free(store)
    assert store.get_view("n", "k") is None and store.get_view("n", "k", 7) == 7
    store.set("n", "k", LARGE)
    view = store.get_view("n", "k")
    again = store.get_view("n", "k")
    assert type(view) is memoryview and view.readonly and view == LARGE
    assert view.obj is again.obj  # kept once
    for number in range(100):
        store.set("n", "k", bytes([number]) * len(LARGE))
    assert view == LARGE and store.get("n", "k") == bytes([99]) * len(LARGE)
    other = store.get_view("n", "k")
    assert other.obj is not view.obj and other[0] == 99
    store.delete("n", "k")
    assert free(store) < before
    assert view == LARGE and other[-1] == 99
    part = view[100:200]
    del view, again, other
    assert bytes(part) == LARGE[100:200]
    del part
    assert free(store) == before
    store.set("n", "empty", b"")
    assert len(store.get_view("n", "empty")) == 0


def test_an_array_is_read_in_place(store: UltraFastMemoryStore) -> None:
    array = np.arange(20_000, dtype=np.float64).reshape(100, 200)
    store.set("n", "a", array)
    first, second = store.get_view("n", "a"), store.get_view("n", "a")
    assert np.shares_memory(first, second) and not first.flags.writeable
    store.delete("n", "a")
    np.testing.assert_array_equal(first, array)
    with pytest.raises(ValueError):
        first.setflags(write=True)
    assert store.get("n", "a") is None


@pytest.mark.parametrize("value", [None, 1, 1.5, "text", {"a": 1}, [1]])
def test_what_has_no_bytes_to_read_in_place(store: UltraFastMemoryStore, value: Any) -> None:
    store.set("n", "k", value)
    with pytest.raises(InvalidArgument, match="use get"):
        store.get_view("n", "k")
    assert store.delete("n", "k")


def test_a_region_stays_while_views_live(store: UltraFastMemoryStore, region: Region) -> None:
    store.set("n", "k", LARGE)
    view = store.get_view("n", "k")
    with pytest.raises(BufferError):
        region.close()
    with Region.attach(region.path, read_only=True) as reading:
        copy = UltraFastMemoryStore(Table(reading)).get_view("n", "k")
        assert copy == view
    assert copy == LARGE  # a copy: nothing is written there
    del view


KEEPER = """
import sys, time
from ultrafast.core import Region, Table
from ultrafast.store import UltraFastMemoryStore
region = Region.attach(sys.argv[1])
view = UltraFastMemoryStore(Table(region)).get_view("n", "k")
assert len(view) == int(sys.argv[2])
print("kept", region.slot, flush=True)
time.sleep(600)
"""


def test_a_killed_process_lets_go(store: UltraFastMemoryStore, region: Region) -> None:
    before = free(store)
    store.set("n", "k", LARGE)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", KEEPER, region.path, str(len(LARGE))],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        slots = []
        for child in children:
            assert child.stdout is not None
            word, slot = child.stdout.readline().split()
            assert word == "kept"
            slots.append(int(slot))
        store.delete("n", "k")
        assert free(store) < before
        for child, slot in zip(children, slots, strict=True):
            assert free(store) < before
            os.kill(child.pid, signal.SIGKILL)
            child.wait(30)
            assert region.recover(slot) is not None
        assert free(store) == before
    finally:
        for child in children:
            child.kill()
            child.wait(30)
            assert child.stdout is not None
            child.stdout.close()
