"""What changed in a table, told to one who keeps a copy; and a copy put back."""

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from doors.small import SMALL, child
from ultrafast.core import Changes, Region, Table, restore
from ultrafast.core._entries import BYTES, FIRST_CODEC_TAG, INT
from ultrafast.errors import InvalidArgument

Key = tuple[str, str]


class Copy:
    """A table's entries, kept only by what changed: what a snapshot does."""

    def __init__(self, table: Table) -> None:
        self.changes = Changes(table)
        self.entries: dict[Key, tuple[int, bytes, int, int]] = {}
        self.place_of: dict[Key, int] = {}
        self.key_at: dict[int, Key] = {}

    def round(self, max: int = 3, buckets: int = 5) -> int:
        """One look at everything; how many places were told."""
        told = 0
        while (found := self.changes.read(max, buckets)) is not None:
            assert len(found) <= max
            told += len(found)
            for place, entry in found:
                before = self.key_at.pop(place, None)
                if before is not None and self.place_of.get(before) == place:
                    del self.place_of[before], self.entries[before]
                if entry is not None:
                    space, key, tag, data, stamp, expires_ns = entry
                    self.key_at[place] = space, key
                    self.place_of[space, key] = place
                    self.entries[space, key] = tag, data, stamp, expires_ns
        return told


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    sizes = msgspec.structs.replace(SMALL, buckets=4, extensions=4)
    with Region.create(tmp_path / "ultrafast-t", sizes) as region:
        yield region


def agrees(copy: Copy, table: Table) -> None:
    assert sorted(copy.entries) == sorted(table.keys())
    for key, (tag, _, stamp, expires_ns) in copy.entries.items():
        entry = table.get_entry(*key)
        assert entry is not None
        assert (entry.tag, entry.stamp, entry.expires_ns) == (tag, stamp, expires_ns)


def test_a_copy_by_changes_is_the_table(region: Region) -> None:
    table, copy = Table(region), Copy(Table(region))
    assert copy.round() == 0
    order = random.Random(7)
    for _ in range(60):
        for _ in range(order.randrange(12)):
            key = f"k{order.randrange(40)}"
            if order.random() < 0.3:
                table.delete("s", key)
            else:
                table.set("s", key, bytes(order.randrange(1500)), order.choice([0, 1 << 62]))
        copy.round(order.randrange(1, 5), order.randrange(1, 5))
        agrees(copy, table)
        assert copy.round() == 0  # nothing is told twice


def test_entries_are_told_as_bytes_and_restored(region: Region, tmp_path: Path) -> None:
    table, copy = Table(region), Copy(Table(region))
    table.set("ü", "n", 5)
    table.set("", "large", b"x" * 5000, 1 << 62)
    table.set_encoded("s", "c", b"encoded", FIRST_CODEC_TAG + 2)
    copy.round()
    assert copy.entries["ü", "n"][:2] == (INT, (5).to_bytes(8, "little"))
    assert copy.entries["", "large"][:2] == (BYTES, b"x" * 5000)
    assert copy.entries["s", "c"][:2] == (FIRST_CODEC_TAG + 2, b"encoded")
    rows = [(*key, tag, data, end) for key, (tag, data, _, end) in copy.entries.items()]
    with Region.create(tmp_path / "ultrafast-other", SMALL) as other:
        there = Table(other)
        assert restore(there, rows) == 3
        assert there.get("ü", "n") == 5
        assert there.get("", "large") == b"x" * 5000
        entry = there.get_entry("s", "c")
        assert entry is not None and entry.value == b"encoded"


def test_restoring_says_how_far_it_got(region: Region) -> None:
    table = Table(region)
    rows = [("s", f"k{n}", BYTES, b"", 0) for n in range(100)]  # eight times fifteen slots, at most
    kept = restore(table, rows)
    assert 0 < kept < 100
    assert table.count() == kept


def test_a_forgotten_place_is_told_again(region: Region) -> None:
    table = Table(region)
    table.set("s", "k", b"v")
    copy = Copy(table)
    assert copy.round() == 1
    (place,) = copy.key_at
    copy.changes.forget(place)
    assert copy.round() == 1
    copy.changes.forget(place)
    table.delete("s", "k")
    assert copy.round() == 1 and not copy.entries
    copy.changes.forget(place)
    assert copy.round() == 1 and not copy.entries
    with pytest.raises(InvalidArgument, match=r"place 64 of 64"):
        copy.changes.forget(64)


def test_changes_of_another_process_arrive_whole(region: Region) -> None:
    table, copy = Table(region), Copy(Table(region))
    program = """
        import random, sys
        from ultrafast.core import Region, Table
        with Region.attach(sys.argv[1]) as region:
            table, order = Table(region), random.Random(3)
            print("begun", flush=True)
            for step in range(30_000):
                key = f"k{order.randrange(12)}"
                if order.random() < 0.3:
                    table.delete("s", key)
                else:
                    table.set("s", key, bytes([step % 251]) * order.choice([8, 100, 700]))
            print("done", flush=True)
    """
    with child(program, region.path) as writer:
        assert writer.hear() == "begun"
        while writer.process.poll() is None:
            copy.round(16, 4)
            assert all(len(set(data)) == 1 for _, data, _, _ in copy.entries.values())
        assert writer.end() == "done"
    copy.round()
    agrees(copy, table)


def test_a_look_tells_the_same_as_a_read_but_for_values(region: Region) -> None:
    table = Table(region)
    chance = random.Random(11)
    reading, looking = Changes(table), Changes(table)
    for _ in range(40):
        for _ in range(5):
            key = str(chance.randrange(20))
            if chance.random() < 0.7:
                table.set("s", key, b"v" * chance.choice((0, 8, 150)))
            else:
                table.delete("s", key)
        read, looked = reading.read(1000), looking.look(1000)
        assert read is not None and looked is not None
        assert looked == [
            (place, None if entry is None else (*entry[:2], *entry[4:])) for place, entry in read
        ]
        assert reading.read() is None and looking.look() is None
