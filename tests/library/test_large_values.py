"""Values of many mebibytes: whole, replaced, kept in a file; refused with the setting named."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from library.snapshots import keeping
from library.storing import CONFIG
from ultrafast.config import MIB
from ultrafast.core import Region, Table
from ultrafast.errors import ConfigError, ValueTooBig
from ultrafast.sizing import region_sizes
from ultrafast.store import UltraFastMemoryStore, offline

LARGE = msgspec.structs.replace(CONFIG, memory_store_size=64 * MIB, largest_value_bytes=16 * MIB)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UltraFastMemoryStore]:
    path = tmp_path_factory.mktemp("large") / "ultrafast-large"
    with Region.create(path, region_sizes(LARGE)) as region:
        yield UltraFastMemoryStore(Table(region))


def numbers(nbytes: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(nbytes)


def test_a_value_of_16_mib_is_kept_and_replaced(store: UltraFastMemoryStore) -> None:
    for seed in range(4):  # more often than there are blocks: what was replaced is used again
        value = numbers(16 * MIB, seed)
        assert store.set("large", "k" * 1000, value)
        assert store.get("large", "k" * 1000) == value
    array = np.arange(2 * MIB - 64, dtype=np.float64)
    assert store.set("large", "k" * 1000, array)
    np.testing.assert_array_equal(store.get("large", "k" * 1000), array)
    body = {"parts": [numbers(3 * MIB, 7), "x" * (5 * MIB)]}
    assert store.set("large", "other", body) and store.get("large", "other") == body
    assert store.delete_batch("large", ["k" * 1000, "other"]) == [True, True]
    assert all(each.free == each.blocks for each in store.statistics().blocks[-3:])


def test_a_larger_one_is_refused_and_the_setting_named(store: UltraFastMemoryStore) -> None:
    with pytest.raises(ValueTooBig) as caught:
        store.set("large", "k", bytes(16 * MIB + 1089))
    text = str(caught.value)
    assert f"a value of {16 * MIB + 1089} bytes" in text and "largest_value_bytes" in text
    assert len(store) == 0


def test_a_store_too_small_for_them_says_how_much_it_needs() -> None:
    asked = msgspec.structs.replace(LARGE, memory_store_size=40 * MIB)
    with pytest.raises(ConfigError, match="memory_store_size is 41,943,040; raise it") as caught:
        region_sizes(asked)
    needed = int(
        str(caught.value)
        .partition("at least ")[2]
        .partition("; ")[0]
        .split(", or")[0]
        .replace(",", "")
    )
    region_sizes(msgspec.structs.replace(asked, memory_store_size=needed))
    with pytest.raises(ConfigError, match="largest_value_bytes is 1000; allowed is 0"):
        msgspec.structs.replace(LARGE, largest_value_bytes=1000)


def test_a_large_store_takes_large_values_unasked() -> None:
    largest = {
        size: region_sizes(msgspec.structs.replace(CONFIG, memory_store_size=size)).value_blocks[-1]
        for size in (64 * MIB, 128 * MIB, 512 * MIB, 4096 * MIB)
    }
    assert largest[64 * MIB][0] < 2 * MIB and largest[128 * MIB][0] > 4 * MIB
    assert largest[512 * MIB][0] > 16 * MIB and largest[512 * MIB][1] >= 2
    assert 16 * MIB < largest[4096 * MIB][0] < 17 * MIB


def test_they_outlive_the_region(tmp_path: Path) -> None:
    value, array = numbers(16 * MIB, 1), np.arange(MIB, dtype=np.int64)
    with keeping(tmp_path, config=LARGE, size_max=256 * MIB) as kept:
        store = UltraFastMemoryStore(kept.table)
        store.set("large", "bytes", value)
        store.set("large", "array", array)
        store.set("small", "k", 1)
        assert kept.persistence.snapshot().entries == 3
    content = offline.read(str(tmp_path / "snapshot"))
    assert len(content.entries) == 3 and not content.damaged
    offline.write(str(tmp_path / "loaded"), content.entries.values())
    for name in ("snapshot", "loaded"):
        with keeping(tmp_path, config=LARGE, name=name, size_max=256 * MIB) as kept:
            store = UltraFastMemoryStore(kept.table)
            assert store.get("large", "bytes") == value and store.get("small", "k") == 1
            np.testing.assert_array_equal(store.get("large", "array"), array)
