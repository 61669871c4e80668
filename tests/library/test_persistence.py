"""Snapshots: what comes back is what was there, and what can't be written or read is said."""

import os
import resource
import time
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from library.snapshots import keeping, restored
from ultrafast.core._records import crc, crc_plain
from ultrafast.errors import (
    SnapshotError,
    SnapshotForeign,
    SnapshotInUse,
    SnapshotNoSpace,
    SnapshotReadOnly,
    StoreFull,
)
from ultrafast.store import persistence as module
from ultrafast.store.snapshotfile import SnapshotFile

KEYS = st.sampled_from([f"key-{n}" for n in range(12)])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.binary(max_size=300) | st.integers(0, 9) | st.none()),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("snapshot")),
        st.tuples(st.just("restart")),
        st.tuples(st.just("rollback")),
    ),
    max_size=60,
)


def test_the_checksum_is_crc32c_with_and_without_the_instruction() -> None:
    assert crc(b"123456789") == crc_plain(b"123456789") == 0xE3069283
    assert crc(b"") == 0
    for count in range(40):
        data = os.urandom(count)
        assert crc(data) == crc_plain(data)
        assert crc(data[5:], crc(data[:5])) == crc(data)


@settings(max_examples=60)
@given(steps=STEPS, rotate=st.booleans())
def test_what_was_snapshot_comes_back(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], rotate: bool
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    model: dict[str, Any] = {}
    spare = (module._SPARE_BYTES, module._SPARE_SEGMENTS, module._ROTATED_AT_ONCE)
    if rotate:
        module._SPARE_BYTES, module._SPARE_SEGMENTS, module._ROTATED_AT_ONCE = 0, 2, 300
    try:
        rest = list(steps)
        while rest:
            with keeping(folder) as kept:
                assert kept.content() == {("s", key): value for key, value in model.items()}
                assert kept.persistence.report.damaged_count == 0
                while rest:
                    step = rest.pop(0)
                    if step[0] == "set":
                        kept.table.set("s", step[1], step[2])
                        model[step[1]] = step[2]
                    elif step[0] == "delete":
                        assert kept.table.delete("s", step[1]) == (
                            model.pop(step[1], step) is not step
                        )
                    elif step[0] == "rollback":  # packed, and then not kept
                        recorder = kept.persistence._recorder
                        recorder.begin()
                        recorder.pack(bytearray(1 << 16), 1 << 30)
                        recorder.rollback()
                    elif step[0] == "snapshot":
                        kept.persistence.snapshot()
                        assert kept.persistence._recorder.live == len(model)
                    else:
                        break
                kept.persistence.snapshot()
        content, report = restored(folder)
        assert content == {("s", key): value for key, value in model.items()}
        assert report.entries == len(model)
    finally:
        module._SPARE_BYTES, module._SPARE_SEGMENTS, module._ROTATED_AT_ONCE = spare


def test_an_entry_that_takes_anothers_place_ends_it(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        for round_ in range(30):
            for key in range(200):
                kept.table.set("s", f"{round_}-{key}", round_)
            kept.persistence.snapshot()
            for key in range(200):
                kept.table.delete("s", f"{round_}-{key}")
        kept.table.set("s", "last", 1)
        kept.persistence.snapshot()
    assert restored(tmp_path)[0] == {("s", "last"): 1}


def test_only_what_changed_is_written_and_the_log_does_not_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SPARE_BYTES", 1 << 16)
    monkeypatch.setattr(module, "_SPARE_SEGMENTS", 8)
    with keeping(tmp_path) as kept:
        for key in range(1000):
            kept.table.set("s", str(key), b"x" * 100)
        assert kept.persistence.snapshot().entries == 1000
        assert kept.persistence.snapshot().entries == 0
        kept.table.set("s", "7", b"y")
        kept.table.delete("s", "8")
        done = kept.persistence.snapshot()
        assert (done.entries, done.removed) == (1, 1)
        for round_ in range(200):
            for key in range(100):
                kept.table.set("s", str(key), b"%d" % round_)
            kept.persistence.snapshot()
            sizes = kept.persistence._file.sizes  # type: ignore[union-attr]  # it is open
            assert sum(sizes.values()) < 2_000_000
            assert len(sizes) < 40
        content = kept.content()
    assert restored(tmp_path)[0] == content


def test_expiry_goes_along_and_what_is_over_does_not_come_back(tmp_path: Path) -> None:
    now = time.time_ns()
    with keeping(tmp_path) as kept:
        kept.table.set("s", "soon", 1)
        kept.persistence.snapshot()
        kept.table.set("s", "soon", 2, now + 10**12)
        kept.table.set("s", "late", 3, now + 10**15)
        kept.persistence.snapshot()
    with keeping(tmp_path, clock=lambda: now + 10**12 + 1) as kept:
        assert kept.content() == {("s", "late"): 3}
        entry = kept.table.get_entry("s", "late")
        assert entry is not None and entry.expires_ns == now + 10**15
        assert kept.persistence.report.expired == 1


def test_the_runtimes_own_namespace_is_not_kept(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        kept.table.set("ultrafast.bus", "a", 1)
        kept.table.set("ultrafast", "a", 2)
        kept.persistence.snapshot()
    assert restored(tmp_path)[0] == {("ultrafast", "a"): 2}


def test_large_values_and_long_names_fit(tmp_path: Path) -> None:
    values = {("n" * 500, "k" * 524): b"v" * 1_000_000, ("", ""): b"", ("é" * 100, "ß"): "ü" * 1000}
    with keeping(tmp_path) as kept:
        for pair, value in values.items():
            assert kept.table.set(*pair, value)
        kept.persistence.snapshot()
        assert len(kept.persistence._buffers[0]) == 1 << 20
    assert restored(tmp_path)[0] == values


def test_a_store_that_is_too_small_for_its_file_says_so(tmp_path: Path) -> None:
    from library.storing import CONFIG

    larger = msgspec.structs.replace(CONFIG, memory_store_size=16 << 20)
    with keeping(tmp_path, config=larger) as kept:
        number = 0
        while kept.table.set("s", str(number), b"x" * 90_000):
            number += 1
        kept.persistence.snapshot()
    with pytest.raises(StoreFull, match="memory_store_size"), keeping(tmp_path):
        pass
    with keeping(tmp_path, config=larger) as kept:
        assert len(kept.content()) == number


# --- files that can't be used


def test_a_file_in_use_is_refused_and_free_again_after_its_end(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        kept.table.set("s", "a", 1)
        with pytest.raises(SnapshotInUse, match="another system"), keeping(tmp_path):
            pass
        kept.persistence.snapshot()
    assert restored(tmp_path)[0] == {("s", "a"): 1}


@pytest.mark.parametrize("what", ["text", "lmdb", "format", "folder", "link", "pipe"])
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "snapshot"
    if what == "text":
        path.write_text("Dear diary, " * 1000)
    elif what == "folder":
        path.mkdir()
    elif what == "link":
        (tmp_path / "target").write_bytes(b"")
        path.symlink_to(tmp_path / "target")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        with lmdb.open(str(path), subdir=False) as env, env.begin(write=True) as txn:
            if what == "format":
                txn.put(b"ultrafast", b'["ultrafast store snapshot", 99]')
                txn.put(b"ultrafast", msgspec.json.encode({"kind": "x", "format": 99}))
            else:
                txn.put(b"other", b"thing")
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(SnapshotError) as caught, keeping(tmp_path):
        pass
    assert str(path) in str(caught.value)
    if what in ("text", "lmdb", "format"):
        assert isinstance(caught.value, SnapshotForeign)
        assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="no folder"), keeping(tmp_path, name="none/snapshot"):
        pass


def test_a_full_file_raises_an_alert_and_is_tried_again(tmp_path: Path) -> None:
    with keeping(tmp_path, size_max=1 << 18) as kept:
        kept.table.set("s", "first", 1)
        kept.persistence.snapshot()
        for number in range(40):
            assert kept.table.set("s", str(number), os.urandom(10_000))
        for _ in range(3):
            with pytest.raises(SnapshotNoSpace, match="persist_file_size"):
                kept.persistence.snapshot()
        assert kept.persistence.statistics().failures == 3
        assert len(kept.said("snapshot.failed")) == 3
        assert [each["name"] for each in kept.said("alert.raised")] == ["snapshots_failed"]
        assert kept.table.get("s", "first") == 1
        for number in range(40):
            kept.table.delete("s", str(number))
        kept.table.set("s", "second", 2)
        kept.persistence.snapshot()
        assert kept.said("alert.cleared") == [{"name": "snapshots_failed"}]
        assert kept.persistence.statistics().error is None
    assert restored(tmp_path)[0] == {("s", "first"): 1, ("s", "second"): 2}


def test_a_disk_without_room_raises_an_alert_and_costs_nothing_once_there_is_some(
    tmp_path: Path,
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with keeping(tmp_path) as kept:
        kept.table.set("s", "first", 1)
        kept.persistence.snapshot()
        for number in range(40):
            assert kept.table.set("s", str(number), os.urandom(10_000))
        # The kernel's answer to a write beyond it is EFBIG, at the same places as ENOSPC.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            for _ in range(2):
                with pytest.raises(SnapshotNoSpace, match="make room"):
                    kept.persistence.snapshot()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert kept.persistence.snapshot().entries == 40
        assert [subject for subject, _ in kept.events[-2:]] == ["alert.cleared", "snapshot.done"]
        content = kept.content()
    assert restored(tmp_path)[0] == content


def test_a_file_that_may_not_be_written_is_said(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        kept.table.set("s", "a", 1)
        kept.persistence.snapshot()
    (tmp_path / "snapshot").chmod(0o444)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # nothing is forbidden to root
    try:
        with pytest.raises(SnapshotReadOnly, match="must be writable"):
            SnapshotFile(str(tmp_path / "snapshot"), size_max=1 << 20)
    finally:
        os.seteuid(user)
    (tmp_path / "snapshot").chmod(0o600)
    assert restored(tmp_path)[0] == {("s", "a"): 1}


@pytest.mark.parametrize("by", ["unlink", "replace"])
def test_a_file_that_was_taken_away_is_noticed_and_written_whole(tmp_path: Path, by: str) -> None:
    with keeping(tmp_path) as kept:
        kept.table.set("s", "a", 1)
        kept.persistence.snapshot()
        (tmp_path / "snapshot").unlink()
        if by == "replace":
            (tmp_path / "snapshot").touch()
        kept.table.set("s", "b", 2)
        with pytest.raises(SnapshotError, match="taken away"):
            kept.persistence.snapshot()
        assert kept.persistence.snapshot().entries == 2
    assert restored(tmp_path)[0] == {("s", "a"): 1, ("s", "b"): 2}


def test_what_is_in_the_table_can_replace_the_file(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        kept.table.set("s", "old", 1)
        kept.persistence.snapshot()
    with keeping(tmp_path, load=False) as kept:
        assert kept.content() == {}
        kept.table.set("s", "new", 2)
        kept.persistence.snapshot()
    assert restored(tmp_path)[0] == {("s", "new"): 2}


def test_a_thread_makes_snapshots_and_the_end_makes_the_last(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        kept.persistence.start()
        kept.table.set("s", "a", 1)
        while not kept.said("snapshot.done"):
            time.sleep(0.005)
        kept.table.set("s", "b", 2)
        kept.persistence.stop()
        kept.persistence.stop()
    assert restored(tmp_path)[0] == {("s", "a"): 1, ("s", "b"): 2}


def test_a_writers_lock_is_not_a_readers(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        kept.table.set("s", "a", 1)
        kept.persistence.snapshot()
    file = SnapshotFile(str(tmp_path / "snapshot"), size_max=1 << 20)
    file.close()
    file.close()
    with pytest.raises(AssertionError), file.writing():
        pass
