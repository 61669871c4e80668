"""Doors without what they need: room, descriptors, rights. A named error each, and nothing left."""

import errno
import os
import tempfile
import textwrap
from pathlib import Path

import pytest

from doors.scarce import ANOTHER_USER, HOARD, on_tmpfs, run
from doors.small import SMALL
from ultrafast import errors
from ultrafast.core import Queues, Receiver, Region, Table, region_bytes

SIZES = f"""
import errno, os, sys
from pathlib import Path
from ultrafast import errors
from ultrafast.core import *
folder = Path(sys.argv[1])
small = Sizes(**{ {field: getattr(SMALL, field) for field in SMALL.__struct_fields__}!r})
"""


# --- room


def test_a_file_system_of_a_mebibyte_has_no_room_for_a_region(tmp_path: Path) -> None:
    program = """
    try:
        Region.create(folder / "ultrafast-x", Sizes())
    except errors.RegionNoSpace as error:
        print(error.free_bytes, error.needed_bytes, error.errno)
        print(error)
    print(os.listdir(folder))
    """
    numbers, text, left = run(
        SIZES + _flat(program), tmp_path, before=on_tmpfs(tmp_path, "size=1m")
    )
    free, needed, reason = map(int, numbers.split())
    assert free <= 1 << 20 < needed and reason == errno.ENOSPC
    assert text.startswith(
        f"{tmp_path} has 1.0 MiB free, this region needs {needed / 2**20:.1f} MiB"
    )
    assert "ask for a smaller one, or for a path elsewhere" in text
    assert left == "[]"


def test_a_full_file_system_refuses_a_region_and_hurts_no_old_one(tmp_path: Path) -> None:
    """Every byte of a region is its own from the start: writing to it can't run out of room."""
    program = """
    with Region.create(folder / "ultrafast-old", small) as region:
        with open(folder / "filler", "wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError as error:
                print(error.errno == errno.ENOSPC)
        try:
            Region.create(folder / "ultrafast-new", small)
        except errors.RegionNoSpace as error:
            print(error.free_bytes, error)
        queues, table = Queues(region), Table(region)
        receiver = Receiver(queues, queues.open("inbox"))
        sent = stored = 0
        while queues.send(receiver.index, sent % 4, b"x" * 8000) == 0:
            sent += 1
        while table.set("s", f"k{stored}", b"y" * 8000):
            stored += 1
        print(sent, stored)
        print({len(message.tobytes()) for message in receiver.take()})
    print(sorted(os.listdir(folder)))
    """
    size = region_bytes(SMALL) + (1 << 18)
    lines = run(SIZES + _flat(program), tmp_path, before=on_tmpfs(tmp_path, f"size={size}"))
    assert lines[0] == "True"
    assert lines[1].startswith(f"0 {tmp_path} has 0.0 MiB free, this region needs")
    assert lines[2:] == ["8 8", "{8000}", "['filler', 'ultrafast-old']"]


def test_no_room_for_one_more_name(tmp_path: Path) -> None:
    """A file system may have room for bytes and none for files: of regions, and of pipes."""
    program = """
    with Region.create(folder / "ultrafast-x", small) as region:
        receiver = Receiver(Queues(region), Queues(region).open("inbox"))
        (folder / "filler").touch()
        for call in (
            lambda: Region.create(folder / "ultrafast-y", small),
            receiver.fileno,
            receiver.arm_pipe,
        ):
            try:
                call()
            except errors.RegionNoSpace as error:
                print(error.errno == errno.ENOSPC, error)
    print(sorted(os.listdir(folder)))
    """
    # The root, and the region with, for a moment, two names.
    before = on_tmpfs(tmp_path, "size=16m,nr_inodes=3")
    region, pipe, again, left = run(SIZES + _flat(program), tmp_path, before=before)
    assert region.startswith(f"True {tmp_path} refused a file of")
    assert region.endswith("MiB free: No space left on device")
    assert pipe == again and pipe.startswith("True") and "ultrafast-x.bell.0" in pipe
    assert left == "['filler', 'ultrafast-x']"


def test_a_file_system_that_may_only_be_read(path: Path, region: Region) -> None:
    program = """
    from subprocess import check_call
    check_call(["mount", "-o", "remount,bind,ro", folder])
    for call in (
        lambda: Region.create(folder / "ultrafast-new", small),
        lambda: Region.attach(folder / "ultrafast-test"),
    ):
        try:
            call()
        except errors.RegionDenied as error:
            print(isinstance(error, PermissionError), error)
    with Region.attach(folder / "ultrafast-test", read_only=True) as reader:
        print(Table(reader).get("a", "b"))
    """
    Table(region).set("a", "b", "c")
    on_tmpfs(path.parent, "size=1m")  # or there is a reason to skip
    bind = 'mount --bind "$0" "$0" && exec "$@"'
    before = ["unshare", "-Urm", "sh", "-c", bind, str(path.parent)]
    made, attached, value = run(SIZES + _flat(program), path.parent, before=before)
    assert made.startswith(f"True {path.parent}/ultrafast-new")
    assert attached.startswith(f"True {path}")
    assert value == "c"


# --- descriptors


def test_no_descriptor_to_make_or_attach_to_a_region_with(path: Path, region: Region) -> None:
    """However many are left, it works or is refused by name; and none goes astray."""
    program = """
    folder = Path(sys.argv[1]).parent
    def descriptors():
        return set(os.listdir("/proc/self/fd"))
    refused = 0
    for leave in range(5):
        held = hoard(leave)
        before = descriptors() if leave else None
        for call in (
            lambda: Region.attach(sys.argv[1]),
            lambda: Region.create(folder / "ultrafast-new", Sizes(**eval(sys.argv[2]))),
        ):
            try:
                call().close()
            except errors.SystemCallFailed as error:
                assert error.errno == errno.EMFILE, error
                text = str(error)
                refused += 1
        assert leave == 0 or descriptors() == before
        (folder / "ultrafast-new").unlink(missing_ok=True)
        for each in held:
            os.close(each)
    print(refused)
    print(text)
    """
    sizes = {field: getattr(SMALL, field) for field in SMALL.__struct_fields__}
    refused, text = run(HOARD + _flat(program), path, sizes)
    assert int(refused) >= 3
    assert "open files; this process may have 64 files open: close some, or raise it" in text
    assert os.listdir(path.parent) == [path.name]
    assert [each.slot for each in region.owners()] == [0]


def test_no_descriptor_for_a_pipe(path: Path, region: Region) -> None:
    program = """
    region = Region.attach(sys.argv[1])
    receiver = Receiver(Queues(region), Queues(region).open("inbox"))
    held = hoard(0)
    for call in (receiver.fileno, receiver.arm_pipe, receiver.drain):
        try:
            call()
        except errors.SystemCallFailed as error:
            print(error.errno == errno.EMFILE, "bell.0" in str(error), "ulimit -n" in str(error))
    os.close(held.pop())
    print(receiver.arm_pipe())
    region.close()
    """
    assert run(HOARD + _flat(program), path) == ["True True True"] * 3 + ["True"]


@pytest.mark.parametrize("way", ["send", "send_batch", "forward", "recover"])
def test_what_is_sent_without_a_descriptor_left_still_rings(
    path: Path, region: Region, way: str
) -> None:
    """The message is sent by then, so it must be neither refused nor left lying."""
    program = f"""
    region = Region.attach(sys.argv[1])
    queues = Queues(region)
    target, own = queues.open("target"), queues.open("own")
    queues.send(own, 0, b"to be sent on")
    (message,) = Receiver(queues, own).take()
    held = hoard(0)
    if "{way}" == "send":
        print(queues.send(target, 0, b"x"))
    elif "{way}" == "send_batch":
        print(queues.send_batch(target, 0, [(b"x", *[0] * 9)]))
    elif "{way}" == "forward":
        print(message.forward(target, 0))
    else:
        print(region.recover(int(sys.argv[2])).orphaned)
    """
    queues = Queues(region)
    receiver = Receiver(queues, queues.open("target"))
    dead = Region.attach(path)
    if way == "recover":
        queues.send(receiver.index, 0, b"a dead process's")
        kept = Receiver(Queues(dead), receiver.index).take()
    slot = dead.slot
    dead.close()
    assert receiver.arm_pipe() is True
    run(HOARD + _flat(program), path, slot)
    assert os.read(receiver.fileno(), 10) == b"\0"
    assert len(receiver.adopt() + receiver.take()) == 1
    if way == "recover":
        kept.clear()


def test_a_sender_that_can_ring_no_more_leaves_the_bell_to_the_next(
    path: Path, region: Region
) -> None:
    """It attached with the last descriptor, so it has not even a spare one to ring with."""
    program = """
    held = hoard(1)
    region = Region.attach(sys.argv[1])
    queues = Queues(region)
    print(queues.send(queues.find("target"), 0, b"first"), flush=True)
    sys.stdin.read()
    """
    queues = Queues(region)
    receiver = Receiver(queues, queues.open("target"))
    assert receiver.arm_pipe() is True
    assert run(HOARD + _flat(program), path) == ["0"]
    with pytest.raises(BlockingIOError):
        os.read(receiver.fileno(), 10)
    with Region.attach(path) as other:
        assert Queues(other).send(receiver.index, 0, b"second") == 0
    assert os.read(receiver.fileno(), 10) == b"\0"
    assert len(receiver.take()) == 2


# --- rights


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_region_and_folder() -> None:
    program = f"""
    os.setresgid({ANOTHER_USER}, {ANOTHER_USER}, {ANOTHER_USER})
    os.setresuid({ANOTHER_USER}, {ANOTHER_USER}, {ANOTHER_USER})
    for call in (
        lambda: Region.attach(folder / "ultrafast-test"),
        lambda: Region.attach(folder / "ultrafast-test", read_only=True),
        lambda: Region.create(folder / "ultrafast-new", small),
    ):
        try:
            call()
        except errors.RegionDenied as error:
            print(isinstance(error, PermissionError), error)
    """
    with tempfile.TemporaryDirectory() as folder:  # pytest's own nobody else may pass through
        Path(folder).chmod(0o711)
        Region.create(Path(folder, "ultrafast-test"), SMALL).close()
        lines = run(SIZES + _flat(program), folder)
        assert os.listdir(folder) == ["ultrafast-test"]
    names = ["ultrafast-test", "ultrafast-test", "ultrafast-new"]
    assert [name in line for name, line in zip(names, lines, strict=True)] == [True] * 3
    assert all(line.startswith("True") for line in lines)


def test_a_folder_that_may_not_be_written_to() -> None:
    """Of one's own; as root, to whom modes are nothing, by somebody else."""
    program = f"""
    folder.chmod(0o555)
    if os.geteuid() == 0:
        os.setresuid({ANOTHER_USER}, {ANOTHER_USER}, {ANOTHER_USER})
    try:
        Region.create(folder / "ultrafast-new", small)
    except errors.RegionDenied as error:
        print("ultrafast-new" in str(error))
    """
    with tempfile.TemporaryDirectory() as folder:
        assert run(SIZES + _flat(program), folder) == ["True"]
        assert os.listdir(folder) == []


def test_a_link_planted_under_a_pipes_name(path: Path, region: Region, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    bell = path.with_name(f"{path.name}.bell.0")
    bell.symlink_to(victim)
    queues = Queues(region)
    receiver = Receiver(queues, queues.open("inbox"))
    for call in (receiver.fileno, receiver.arm_pipe):
        with pytest.raises(errors.RegionDenied, match=r"ultrafast-test\.bell\.0"):
            call()
    assert victim.read_text() == "mine"


def test_a_link_planted_under_a_regions_name(path: Path, tmp_path: Path) -> None:
    """To a region, to nothing, to itself: it is neither followed nor replaced."""
    Region.create(tmp_path / "ultrafast-real", SMALL).close()
    for target in ("ultrafast-real", "nothing", path.name):
        path.symlink_to(target)
        with pytest.raises(errors.RegionDenied, match=str(path)):
            Region.attach(path)
        with pytest.raises(errors.RegionDenied, match=str(path)):
            Region.attach(path, read_only=True)
        with pytest.raises(errors.RegionExists, match=str(path)):
            Region.create(path, SMALL)
        assert path.is_symlink()
        path.unlink()
    assert os.listdir(tmp_path) == ["ultrafast-real"]


# --- closing


def test_closing_anything_twice_is_nothing(path: Path) -> None:
    region = Region.create(path, SMALL)
    with Region.attach(path, read_only=True) as reader:
        reader.close()
        reader.close()
    queues = Queues(region)
    index = queues.open("inbox")
    queues.send(index, 0, b"x")
    (message,) = Receiver(queues, index).take()
    view = message.payload
    view.release()
    view.release()
    message.release()
    message.release()
    assert (queues.close(index), queues.close(index)) == (True, False)
    region.close()
    region.close()
    with pytest.raises(errors.RegionClosed):
        queues.close(index)
    message.release()


def _flat(program: str) -> str:
    """The lines of a program that stands indented here."""
    return textwrap.dedent(program)
