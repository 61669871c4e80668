"""Damaged snapshot files: whatever is wrong with one, a start says so, and keeps what is whole."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from library.snapshots import keeping, restored
from ultrafast.core._records import HEAD_BYTES, read_items
from ultrafast.errors import SnapshotError
from ultrafast.store.salvage import salvage
from ultrafast.store.snapshotfile import read_segments

NUMBER = 60


def _value(key: int, version: int) -> bytes:
    """What key `key` was given the `version`th time: knows itself, and has several sizes."""
    return b"%d:%d:" % (key, version) + b"%d" % key * (1 + (key * 37 + version * 11) % 200)


def _make(folder: Path) -> dict[tuple[str, str], bytes]:
    """A file of several segments, with entries written once, many times, and taken away."""
    with keeping(folder) as kept:
        for version in range(6):
            for key in range(NUMBER):
                if version == 0 or key % (version + 1) == 0:
                    kept.table.set("s", str(key), _value(key, version))
            kept.table.delete("s", str(7 * version))
            kept.persistence.snapshot()
        return kept.content()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[tuple[str, str], bytes]]:
    folder = tmp_path_factory.mktemp("whole")
    content = _make(folder)
    return (folder / "snapshot").read_bytes(), content


def _judge(folder: Path, content: dict[tuple[str, str], bytes]) -> Any:
    """Restore: no value may be another's, torn, or of a version that never was."""
    try:
        found, report = restored(folder)
    except SnapshotError as error:
        assert str(folder) in str(error)
        return None
    for (space, key), value in found.items():
        assert space == "s"
        assert value in {_value(int(key), version) for version in range(6)}
    if not report.damaged_count and report.structure is None:
        assert found == content or not found
    return report


DAMAGE = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 1 << 30), st.integers(0, 7)),
    st.tuples(st.just("zero"), st.integers(0, 1 << 30), st.integers(1, 9000)),
    st.tuples(st.just("noise"), st.integers(0, 1 << 30), st.integers(1, 9000)),
    st.tuples(st.just("cut"), st.integers(0, 1 << 30), st.just(0)),
    st.tuples(st.just("grow"), st.integers(0, 1 << 30), st.integers(1, 9000)),
    st.tuples(st.just("page"), st.integers(0, 1 << 30), st.integers(0, 1 << 30)),
)


@settings(max_examples=150)
@given(damage=st.lists(DAMAGE, min_size=1, max_size=4))
def test_any_damage_gives_a_report_or_an_error_and_never_a_wrong_value(
    tmp_path_factory: pytest.TempPathFactory,
    whole: tuple[bytes, dict[tuple[str, str], bytes]],
    damage: list[tuple[str, int, int]],
) -> None:
    data = bytearray(whole[0])
    for what, place, number in damage:
        at = place % max(1, len(data))
        if what == "flip" and data:
            data[at] ^= 1 << number
        elif what == "zero":
            data[at : at + number] = bytes(len(data[at : at + number]))
        elif what == "noise":
            count = len(data[at : at + number])
            data[at : at + count] = random.Random(place).randbytes(count)
        elif what == "cut":
            del data[at:]
        elif what == "grow":
            data[at:at] = bytes(number)
        elif what == "page":
            pages = max(1, len(data) // 4096)
            one, two = place % pages * 4096, number % pages * 4096
            data[one : one + 4096] = data[two : two + 4096]
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "snapshot").write_bytes(data)
    _judge(folder, whole[1])


def test_an_older_state_is_not_taken_for_the_newest(
    tmp_path: Path, whole: tuple[bytes, dict[tuple[str, str], bytes]]
) -> None:
    data, content = whole
    numbers = [int.from_bytes(data[at : at + 8], sys.byteorder) for at in (144, 4096 + 144)]
    older = numbers.index(min(numbers)) * 4096 + 144
    broken = bytearray(data)
    broken[older + 1] ^= 1  # now it looks like the newer one, which it was before the last snapshot
    (tmp_path / "snapshot").write_bytes(broken)
    with keeping(tmp_path) as kept:
        assert "not successive" in str(kept.persistence.report.structure)
        assert kept.content() == content


def test_a_flipped_bit_in_a_value_costs_that_entry_and_names_it(
    tmp_path: Path, whole: tuple[bytes, dict[tuple[str, str], bytes]]
) -> None:
    data, content = whole
    value = content["s", "59"]
    at = data.rindex(value)
    for copy in range(data.count(value)):  # a page that was given up may hold it as well
        at = data.rindex(value, 0, at + len(value)) if copy else at
        data = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
    (tmp_path / "snapshot").write_bytes(data)
    with keeping(tmp_path) as kept:
        report = kept.persistence.report
        assert report.structure is None
        assert [(each.namespace, each.key) for each in report.damaged] == [("s", "59")]
        assert kept.said("snapshot.restored")[0]["keys"] == [["s", "59"]]
        assert kept.content() == {pair: v for pair, v in content.items() if pair != ("s", "59")}
        kept.table.set("s", "59", b"mended")
        kept.persistence.snapshot()
    found, report = restored(tmp_path)
    assert found["s", "59"] == b"mended"


def test_a_damaged_head_of_a_segment_costs_nothing(
    tmp_path: Path, whole: tuple[bytes, dict[tuple[str, str], bytes]]
) -> None:
    data, content = whole
    mark = data.index(b"UFSNAP1\n")
    (tmp_path / "snapshot").write_bytes(data.replace(b"UFSNAP1\n", b"UFSNAPx\n"))
    assert mark > 0
    found, report = restored(tmp_path)
    assert found == content
    assert report.structure is None


def test_of_a_file_whose_structure_is_damaged_all_that_is_whole_comes_back(
    tmp_path: Path, whole: tuple[bytes, dict[tuple[str, str], bytes]]
) -> None:
    data, content = whole
    # Both pages that say where everything is.
    (tmp_path / "snapshot").write_bytes(data[:16] + bytes(8176) + data[8192:])
    broken = bytearray(data)
    broken[24 : 2 * 4096] = random.Random(1).randbytes(2 * 4096 - 24)
    (tmp_path / "snapshot").write_bytes(broken)
    with keeping(tmp_path) as kept:
        report = kept.persistence.report
        assert report.structure is not None
        assert report.moved_to is not None
        assert Path(report.moved_to).read_bytes() == bytes(broken)
        assert kept.content() == content
        kept.persistence.snapshot()
    found, report = restored(tmp_path)
    assert found == content
    assert report.structure is None


def test_salvage_takes_no_part_of_a_snapshot_that_was_cut_short(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        kept.table.set("s", "a", 1)
        kept.persistence.snapshot()
        with kept.persistence._file.segments() as segments:  # type: ignore[union-attr]  # open
            first = bytes(segments[0][1])
    from ultrafast.core._records import seal

    later = bytearray(first)
    seal(later, len(later), 1, 5, 1, 5, False, 10**18)
    (tmp_path / "raw").write_bytes(b"junk" * 100 + first + bytes(100) + later)
    assert [segment for segment, _ in salvage(str(tmp_path / "raw"))] == [1]
    (tmp_path / "raw").write_bytes(b"")
    assert salvage(str(tmp_path / "raw")) == []


def test_records_of_random_bytes_are_damage_and_nothing_else() -> None:
    for seed in range(300):
        chance = random.Random(seed)
        data = chance.randbytes(chance.randrange(2000))
        items, after = read_items(data, 1, min(HEAD_BYTES, len(data)))
        assert after is None
        assert all(kind == 0 for _, kind, *_ in items)


def test_reading_beside_a_writer_sees_whole_snapshots(tmp_path: Path) -> None:
    reader = (
        "import signal, sys\n"
        "from ultrafast.store.snapshotfile import read_segments\n"
        "from ultrafast.core._records import read_head\n"
        "signal.alarm(60)  # it ends, even if the test is killed\n"
        "seen = set()\n"
        "while len(seen) < 4:\n"
        "    with read_segments(sys.argv[1]) as segments:\n"
        "        heads = [read_head(data) for _, data in segments]\n"
        "    assert all(heads), heads\n"
        "    assert heads[-1][4], 'a part of a snapshot'\n"
        "    seen.add(heads[-1][0])\n"
    )
    with keeping(tmp_path) as kept:
        kept.table.set("s", "a", 0)
        kept.persistence.snapshot()
        path = str(tmp_path / "snapshot")
        child = subprocess.Popen([sys.executable, "-P", "-c", reader, path])
        try:
            number = 0
            while child.poll() is None:
                number += 1
                # Few enough keys that the store has room: what it refuses makes no new snapshot.
                assert kept.table.set("s", str(number % 20), b"%d" % number + b"x" * 3_000)
                assert kept.persistence.snapshot().entries >= 1  # more where old segments go
        finally:
            child.kill()
            child.wait()
        assert child.returncode == 0
    with read_segments(path) as segments:
        assert segments
