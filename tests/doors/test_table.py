"""The table against a dict; types, stamps, expiry, room, and reading while others write."""

import tempfile
import threading
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from doors.small import SMALL, child, eventually
from ultrafast import errors
from ultrafast.core import Region, Table
from ultrafast.core._status import EXISTS, MISSING, NO_BLOCK, OK, STORE_FULL
from ultrafast.core._table import (
    ANY,
    BYTES,
    FIRST_CODEC_TAG,
    FLOAT,
    INT,
    KEY_BYTES_MAX,
    NEW,
    NONE,
    STAMP,
    STR,
    TRUE,
)

Key = tuple[str, str]
Value = bool | int | float | str | bytes | None

KEYS = st.tuples(st.sampled_from(["", "a", "ab", "ü"]), st.sampled_from(["", "b", "k", "ключ"]))
VALUES: st.SearchStrategy[Value] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=200),
    st.binary(max_size=200),
    st.binary(min_size=500, max_size=900),
    st.text(min_size=500, max_size=530),
)


class TableMachine(RuleBasedStateMachine):
    """The model is a dict of (value, stamp)."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.model: dict[Key, tuple[Value, int]] = {}

    @initialize(buckets=st.sampled_from([1, 2, 64]))
    def open(self, buckets: int) -> None:
        # One bucket with its extension holds fifteen entries; the sixteen keys can fill it.
        sizes = msgspec.structs.replace(SMALL, buckets=buckets)
        self.region = Region.create(Path(self.folder.name, "ultrafast-t"), sizes)
        self.table = Table(self.region)
        self.may_be_full = buckets == 1

    def agrees(self, key: Key) -> None:
        entry = self.table.get_entry(*key)
        if key not in self.model:
            assert entry is None
            assert self.table.get(*key, "nothing") == "nothing"
            assert self.table.contains(*key) is False
        else:
            value, stamp = self.model[key]
            assert entry is not None
            assert (entry.value, entry.stamp, entry.expires_ns) == (value, stamp, 0)
            got = self.table.get(*key, "nothing")
            assert got == value and type(got) is type(value)
            assert self.table.contains(*key) is True

    @rule(key=KEYS, value=VALUES)
    def set(self, key: Key, value: Value) -> None:
        before = self.model.get(key)
        if self.table.set(*key, value):
            entry = self.table.get_entry(*key)
            assert entry is not None and (before is None or entry.stamp != before[1])
            self.model[key] = (value, entry.stamp)
        else:
            assert self.may_be_full and before is None and len(self.model) == 15
        self.agrees(key)

    @rule(key=KEYS, value=VALUES, right=st.booleans())
    def compare_and_set(self, key: Key, value: Value, right: bool) -> None:
        known = self.model[key][1] if key in self.model else 0
        status, stamp = self.table.compare_and_set(*key, value, known if right else known + 1)
        if status == OK:
            assert right
            self.model[key] = (value, stamp)
        elif status == STORE_FULL:
            assert self.may_be_full and key not in self.model and len(self.model) == 15
        elif key in self.model:
            assert (status, stamp, right) == (EXISTS, known, False)
        else:
            assert (status, stamp, right) == (MISSING, 0, False)
        self.agrees(key)

    @rule(key=KEYS)
    def delete(self, key: Key) -> None:
        assert self.table.delete(*key) is (self.model.pop(key, None) is not None)
        self.agrees(key)

    @rule(key=KEYS, right=st.booleans())
    def delete_with_stamp(self, key: Key, right: bool) -> None:
        known = self.model[key][1] if key in self.model else 1
        gone = self.table.delete(*key, known if right else known + 1)
        assert gone is (right and key in self.model)
        if gone:
            del self.model[key]

    @rule(space=st.sampled_from([None, "", "a", "ab", "ü", "none"]), step=st.integers(1, 20))
    def scan(self, space: str | None, step: int) -> None:
        wanted = sorted(key for key in self.model if space is None or key[0] == space)
        assert sorted(self.table.keys(space)) == wanted
        found: list[Key] = []
        cursor: int | None = 0
        while cursor is not None:
            cursor, some = self.table.scan(cursor, space, step)
            assert len(some) <= step
            found += some
        assert sorted(found) == wanted
        assert self.table.count() == len(self.model)

    def teardown(self) -> None:
        if hasattr(self, "region"):
            for key in list(self.model):
                assert self.table.delete(*key)
            self.region.close()
            with Region.attach(self.region.path) as after:  # every block is back in the pool
                for count in Table(after).blocks():
                    assert count.free == count.blocks
        self.folder.cleanup()


TestTable = TableMachine.TestCase


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        (None, NONE),
        (True, TRUE),
        (-(2**63), INT),
        (2**63 - 1, INT),
        (float("inf"), FLOAT),
        ("", STR),
        ("snowman ☃ \U0001f600", STR),
        (b"", BYTES),
    ],
)
def test_native_values_and_their_tags(table: Table, value: Value, tag: int) -> None:
    assert table.set("s", "k", value)
    entry = table.get_entry("s", "k")
    assert entry is not None and (entry.value, entry.tag) == (value, tag)
    assert type(table.get("s", "k")) is type(value)


class Text(str):
    pass


@pytest.mark.parametrize("value", [[], {}, (1,), 2**63, -(2**63) - 1, 1j, object(), Text("x")])
def test_other_values_are_the_codecs_business(table: Table, value: object) -> None:
    table.set("s", "k", "before")
    with pytest.raises(TypeError, match="encode it"):
        table.set("s", "k", value)  # type: ignore[arg-type]  # what is tested
    assert table.get("s", "k") == "before"


def test_encoded_values_go_through_the_decoder(table: Table) -> None:
    status, stamp = table.set_encoded("s", "k", b"\x01\x02", FIRST_CODEC_TAG + 4)
    assert status == OK and stamp > 0
    with pytest.raises(TypeError, match="tag 20 needs a decoder"):
        table.get("s", "k")
    entry = table.get_entry("s", "k")
    assert entry is not None and (entry.value, entry.tag) == (b"\x01\x02", 20)
    table.decoder = lambda tag, data: (tag, data)
    assert table.get("s", "k") == (20, b"\x01\x02")
    table.set_encoded("s", "k", bytearray(b"z" * 5000), 21)
    assert table.get("s", "k") == (21, b"z" * 5000)
    with pytest.raises(errors.InvalidArgument, match="tag 15"):
        table.set_encoded("s", "k", b"", 15)
    with pytest.raises(errors.InvalidArgument, match="mode 3"):
        table.set_encoded("s", "k", b"", 16, 0, 3)


def test_modes_of_an_encoded_write(table: Table) -> None:
    assert table.set_encoded("s", "k", b"0", 16, 0, STAMP, 5) == (MISSING, 0)
    status, first = table.set_encoded("s", "k", b"1", 16, 0, NEW)
    assert status == OK
    assert table.set_encoded("s", "k", b"2", 16, 0, NEW) == (EXISTS, first)
    assert table.set_encoded("s", "k", b"2", 16, 0, STAMP, first + 1) == (EXISTS, first)
    status, second = table.set_encoded("s", "k", b"2", 16, 0, STAMP, first)
    assert status == OK and second != first
    status, third = table.set_encoded("s", "k", b"3", 16, 0, ANY)
    assert status == OK and third not in (first, second)


def test_expiry(table: Table) -> None:
    past, future = time.time_ns() - 1, time.time_ns() + 3600 * 10**9
    assert table.set("s", "gone", 1, past) and table.set("s", "here", 2, future)
    assert table.set("s", "long gone", "x" * 700, past)
    assert (table.get("s", "gone"), table.get("s", "here")) == (None, 2)
    assert table.get("s", "long gone") is None and table.get_entry("s", "long gone") is None
    assert not table.contains("s", "gone") and table.contains("s", "here")
    entry = table.get_entry("s", "here")
    assert entry is not None and entry.expires_ns == future
    assert list(table.keys()) == [("s", "here")]
    assert table.compare_and_set("s", "gone", 3, 0)[0] == OK  # as if there were none
    assert table.get("s", "gone") == 3
    assert table.compare_and_set("s", "here", 3, 0)[0] == EXISTS


def test_expired_entries_are_listed_with_the_stamp_to_delete_them_by(table: Table) -> None:
    for number in range(20):
        table.set("s", f"k{number}", number, number % 2)  # 1: long over; 0: never
    found: dict[tuple[str, str], int] = {}
    cursor: int | None = 0
    while cursor is not None:
        cursor, some = table.expired(cursor, 3)
        found |= {(space, key): stamp for space, key, stamp in some}
    assert sorted(found) == sorted(("s", f"k{number}") for number in range(1, 20, 2))
    table.set("s", "k1", "new")  # written again meanwhile
    gone = [table.delete(*key, stamp) for key, stamp in sorted(found.items())]
    assert gone == [key != ("s", "k1") for key in sorted(found)]
    assert table.get("s", "k1") == "new" and table.count() == 11


def test_large_values(path: Path) -> None:
    blocks = ((192, 8), (1 << 21, 4))
    with Region.create(path, msgspec.structs.replace(SMALL, value_blocks=blocks)) as region:
        table = Table(region)
        for count in (512, 513, 100_000, 262_143, 262_144, 2_000_000):
            value = bytes(range(256)) * (count // 256) + b"z" * (count % 256)
            assert table.set("s", "k", value)
            assert table.get("s", "k") == value


def test_too_big_says_both_numbers(table: Table) -> None:
    with pytest.raises(errors.ValueTooBig, match=r"'s' 'k': a value of 9000 bytes.*room for 8128"):
        table.set("s", "k", b"x" * 9000)
    with pytest.raises(errors.ValueTooBig):
        table.set_encoded("s", "k", b"x" * 9000, 16)
    assert table.get("s", "k") is None


def test_long_keys(table: Table) -> None:
    key = "k" * (KEY_BYTES_MAX - 1)
    assert table.set("s", key, 1) and table.get("s", key) == 1
    assert list(table.keys()) == [("s", key)]
    for call in (
        lambda: table.set("ss", key, 1),
        lambda: table.get("ss", key),
        lambda: table.delete("ss", key),
        lambda: table.contains("ss", key),
    ):
        with pytest.raises(errors.InvalidArgument, match="namespace of 2 bytes and a key of 1023"):
            call()


def test_namespace_and_key_do_not_run_together(table: Table) -> None:
    table.set("ab", "c", 1)
    table.set("a", "bc", 2)
    table.set("", "abc", 3)
    assert [table.get(*key) for key in (("ab", "c"), ("a", "bc"), ("", "abc"))] == [1, 2, 3]


@pytest.mark.parametrize("argument", [b"bytes", 1, None])
def test_keys_are_text(table: Table, argument: object) -> None:
    for arguments in ((argument, "k"), ("s", argument)):
        with pytest.raises(TypeError):
            table.get(*arguments)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(UnicodeEncodeError):
        table.get("s", "\udcff")


def test_an_exhausted_pool_is_an_answer(table: Table) -> None:
    stored = 0
    while table.set("s", f"k{stored}", b"x" * 5000):
        stored += 1
    assert stored == 8
    assert table.set_encoded("s", "more", b"x" * 5000, 16) == (NO_BLOCK, 0)
    assert table.get("s", "k7") == b"x" * 5000
    assert table.delete("s", "k3")
    assert table.set("s", "more", b"x" * 5000)


def test_a_full_bucket_is_an_answer(path: Path) -> None:
    with Region.create(path, msgspec.structs.replace(SMALL, buckets=1, extensions=1)) as region:
        table = Table(region)
        assert [table.set("s", f"k{n}", n) for n in range(17)] == [True] * 15 + [False] * 2
        assert table.set_encoded("s", "k16", b"", 16) == (STORE_FULL, 0)
        assert table.compare_and_set("s", "k16", 1, 0) == (STORE_FULL, 0)
        assert table.set("s", "k7", "again") and table.get("s", "k7") == "again"
        assert table.delete("s", "k3") and table.set("s", "k16", 16)
        assert sorted(table.keys()) == sorted(("s", f"k{n}") for n in range(17) if n not in (3, 15))


def test_hostile_tag(table: Table, path: Path) -> None:
    """A tag below the codec's that is none of ours is damage, and said to be."""
    table.set("s", "find me", "some marked value")
    at = path.read_bytes().index(b"sfind me") - 64
    with path.open("r+b") as stream:
        stream.seek(at + 48)
        assert stream.read(4) == STR.to_bytes(4, "little")
        stream.seek(at + 48)
        stream.write((9).to_bytes(4, "little"))
    with pytest.raises(errors.RegionCorrupt, match="has the tag 9"):
        table.get("s", "find me")


def test_noop_is_shaped_like_get(table: Table) -> None:
    assert table.noop("s", "k") is None and table.noop("s", "k", 3) == 3


def test_reads_are_whole_while_another_process_writes(path: Path, region: Region) -> None:
    program = """
    import sys
    from ultrafast.core import Region, Table
    region = Region.attach(sys.argv[1])
    table = Table(region)
    print("ready", flush=True)
    turn = 0
    while not table.contains("s", "enough"):
        table.set("s", "k", bytes([turn % 251]) * (turn % 900 + 1))
        turn += 1
    region.close()
    """
    table = Table(region)
    table.set("s", "k", b"\0")
    seen = set()
    with child(program, path) as writer:
        writer.hear()

        def many_seen() -> bool:
            for _ in range(1000):
                value = table.get("s", "k")
                assert isinstance(value, bytes) and value
                assert value == value[:1] * len(value)
                seen.add(len(value))
            return len(seen) > 200

        eventually(many_seen)
        table.set("s", "enough", True)
        writer.end()


def test_threads_add_without_losing_any(table: Table) -> None:
    """Compare-and-set as a counter."""
    table.set("s", "count", 0)

    def add() -> None:
        for _ in range(300):
            while True:
                entry = table.get_entry("s", "count")
                assert entry is not None and isinstance(entry.value, int)
                if table.compare_and_set("s", "count", entry.value + 1, entry.stamp)[0] == OK:
                    break

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table.get("s", "count") == 1200
