"""Results on disk: appended whole, read back, and mended where an earlier run died."""

import os
import resource
from pathlib import Path

import msgspec
import pytest

from ultrafast.errors import JobBusy
from ultrafast.jobs.journal import RESULTS, Journal, Record
from ultrafast.jobs.summary import write_whole


def record(task_id: str, text: str = "done", **fields: object) -> Record:
    values: dict[str, object] = {
        "task_id": task_id,
        "status": "ok",
        "text": text,
        "type": "coder",
        "digest": "d",
        "source": "loopback",
        "finished_at": "2026-01-01T00:00:00+00:00",
    }
    return msgspec.convert({**values, **fields}, Record)


def test_what_is_appended_is_read_back_and_the_last_result_of_a_task_holds(tmp_path: Path) -> None:
    with Journal(tmp_path / "new" / "folder") as journal:
        assert journal.records == {}
        journal.append(record("a", status="failed", error="no"))
        journal.append(record("b", "line one\nline two"))
        journal.append(record("a", "yes"))
        assert journal.records["a"].text == "yes"
    with Journal(tmp_path / "new" / "folder") as journal:
        assert {each: one.text for each, one in journal.records.items()} == {
            "a": "yes",
            "b": "line one\nline two",
        }
        assert not journal.damaged
        assert not journal.cut_bytes
    assert len((tmp_path / "new" / "folder" / RESULTS).read_bytes().splitlines()) == 3


@pytest.mark.parametrize("cut", [1, 2, 30, "all but one"])
def test_an_unfinished_last_line_is_cut_off_and_the_next_one_is_whole(
    tmp_path: Path, cut: int | str
) -> None:
    with Journal(tmp_path) as journal:
        journal.append(record("a"))
        journal.append(record("b"))
    path = tmp_path / RESULTS
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    kept = first + 1 if cut == "all but one" else len(whole) - int(cut)
    os.truncate(path, kept)
    with Journal(tmp_path) as journal:
        assert list(journal.records) == ["a"]
        assert journal.cut_bytes == kept - first
        journal.append(record("c"))
    with Journal(tmp_path) as journal:
        assert list(journal.records) == ["a", "c"]
        assert not journal.damaged


def test_an_unreadable_line_is_told_and_the_others_hold(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(record("a"))
        journal.append(record("b"))
    path = tmp_path / RESULTS
    one, two = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(one + b'{"task_id": 5}\n' + b"\xff\xfe\n" + two)
    with Journal(tmp_path) as journal:
        assert list(journal.records) == ["a", "b"]
        assert [damaged.line for damaged in journal.damaged] == [2, 3]
        assert all(damaged.reason for damaged in journal.damaged)


def test_only_one_run_writes_to_a_folder(tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(JobBusy, match=RESULTS):
        Journal(tmp_path)
    Journal(tmp_path).close()


def test_a_line_that_does_not_fit_on_the_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(record("a"))
        before = (tmp_path / RESULTS).read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        # The first bytes of the line are written, the rest is refused.
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
        try:
            with pytest.raises(OSError):
                journal.append(record("b"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (tmp_path / RESULTS).read_bytes() == before
        assert list(journal.records) == ["a"]
        journal.append(record("c"))
    with Journal(tmp_path) as journal:
        assert list(journal.records) == ["a", "c"]


def test_closing_twice_changes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(record("a"))
    journal.close()
    journal.close()


def test_a_file_written_whole_is_replaced_or_left(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_whole(path, {"a": 1})
    write_whole(path, {"a": 2})
    assert msgspec.json.decode(path.read_bytes()) == {"a": 2}
    with pytest.raises(TypeError):
        write_whole(path, {"a": object()})
    assert msgspec.json.decode(path.read_bytes()) == {"a": 2}
    assert [each.name for each in tmp_path.iterdir()] == ["x.json"]
