"""How much a store holds that was sized by a Config alone."""

from pathlib import Path

from ultrafast import Config
from ultrafast.core import Region, Table
from ultrafast.sizing import region_sizes
from ultrafast.store import UltraFastMemoryStore

_MIB = 1 << 20
_ENTRIES = 150_000
_DEFAULT_BUCKETS = 16_384


def test_a_larger_store_has_more_buckets_and_room_for_a_million_entries() -> None:
    config = Config(memory_store_size=1024 * _MIB, shared_buffer_size=1536 * _MIB)
    sizes = region_sizes(config)
    assert sizes.buckets > 1_000_000 / 7
    small = [count for block_bytes, count in sizes.value_blocks if block_bytes <= 512]
    assert sum(small) >= 1_000_000


def test_entries_beyond_what_the_default_buckets_hold_are_all_kept(tmp_path: Path) -> None:
    config = Config(memory_store_size=160 * _MIB, shared_buffer_size=384 * _MIB)
    sizes = region_sizes(config)
    assert sizes.buckets > _DEFAULT_BUCKETS
    assert _ENTRIES > _DEFAULT_BUCKETS * 7
    entries = {f"key-{number:07d}": b"%064d" % number for number in range(_ENTRIES)}
    with Region.create(tmp_path / "region", sizes) as region:
        store = UltraFastMemoryStore(Table(region))
        assert all(store.set_batch("space", entries))
        assert len(store) == _ENTRIES
        assert store.get_batch("space", entries) == list(entries.values())
