"""Snapshots of a full store: all of it comes back, and into a smaller one what has room."""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from library.snapshots import keeping
from library.storing import CONFIG
from ultrafast.config import MIB
from ultrafast.errors import StoreFull
from ultrafast.store import UltraFastMemoryStore

SIZES = (900_000, 200_000, 10_000, 1_500, 300, 8)  # of every size of block
LARGER = msgspec.structs.replace(CONFIG, memory_store_size=8 * MIB)


def _value(number: int, nbytes: int) -> bytes:
    return random.Random(number).randbytes(8) + bytes(nbytes - 8)


def _fill(table: Any, space: str, sizes: tuple[int, ...] = SIZES) -> None:
    for nbytes in sizes:
        number = 0
        while table.set(space, f"{nbytes}-{number}", _value(number, nbytes)):
            number += 1


@pytest.mark.parametrize("seed", range(3))
def test_a_full_store_comes_back_whole(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    with keeping(tmp_path) as kept:
        _fill(kept.table, "s")
        kept.persistence.snapshot()
        # Others in the place of those that go: for a while a start has more than there is room for.
        for turn in range(6):
            keys = [key for _, key in kept.table.keys("s")]
            for key in rng.sample(keys, len(keys) // 3):
                kept.table.delete("s", key)
            _fill(kept.table, "s" if turn % 2 else "t", tuple(rng.sample(SIZES, 3)))
            kept.persistence.snapshot()
        _fill(kept.table, "u")
        # To the last block it can't be promised: which one an entry gets depends on the order.
        for space, key in rng.sample(list(kept.table.keys()), 100):
            kept.table.delete(space, key)
        kept.persistence.snapshot()
        content = kept.content()
        assert len(content) > 3000
    with keeping(tmp_path) as kept:
        assert kept.content() == content
        assert kept.persistence.report.entries == len(content)
        assert kept.persistence.report.evicted == 0
        for key in [key for _, key in kept.table.keys("s")][::3]:
            kept.table.delete("s", key)
        content = kept.content()
        kept.persistence.snapshot()
    with keeping(tmp_path) as kept:
        assert kept.content() == content


def test_a_smaller_store_takes_what_it_can_of_caches_and_all_else(tmp_path: Path) -> None:
    with keeping(tmp_path, config=LARGER) as kept:
        store = UltraFastMemoryStore(kept.table)
        kept_keys = [f"k{number}" for number in range(1000)]
        for key in kept_keys:
            store.set("kept", key, key)
        cache = store.namespace("cache", cache=True)
        kept.persistence.snapshot()
        _fill(kept.table, "cache", SIZES[2:])
        kept.persistence.snapshot()
        many = len(cache)
    with keeping(tmp_path) as kept:
        store = UltraFastMemoryStore(kept.table)
        assert store.get_batch("kept", kept_keys) == kept_keys
        report = kept.persistence.report
        assert 0 < store.namespace_stats("cache").entries < many
        assert report.evicted > 0 and report.entries == len(kept.content())
        content = kept.content()
        kept.persistence.snapshot()
    with keeping(tmp_path) as kept:  # those that went do not come back
        UltraFastMemoryStore(kept.table)  # gives the table its decoder
        assert kept.content() == content
        assert kept.persistence.report.evicted == 0


def test_a_store_without_room_for_what_may_not_go_is_refused(tmp_path: Path) -> None:
    with keeping(tmp_path, config=LARGER) as kept:
        _fill(kept.table, "s")
        kept.persistence.snapshot()
        content = kept.content()
    with pytest.raises(StoreFull, match="raise memory_store_size"), keeping(tmp_path):
        pass
    with keeping(tmp_path, config=LARGER) as kept:  # and the file is as it was
        assert kept.content() == content
