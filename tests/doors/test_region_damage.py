"""Files that are not what they should be: one typed error each, and never a crash."""

import errno
import os
import random
import resource
import shutil
import struct
from pathlib import Path

import pytest

from doors.small import SMALL, child
from ultrafast import errors
from ultrafast.core import Agents, Queues, Region, Sizes, Table, region_bytes


@pytest.fixture
def file(path: Path) -> Path:
    Region.create(path, SMALL).close()
    return path


def put(file: Path, offset: int, data: bytes) -> None:
    with file.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def test_missing(path: Path) -> None:
    with pytest.raises(errors.RegionMissing, match=str(path)) as caught:
        Region.attach(path)
    assert isinstance(caught.value, FileNotFoundError)


def test_taken_name(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(errors.RegionExists, match="already is a region") as caught:
        Region.create(file, SMALL)
    assert isinstance(caught.value, FileExistsError)
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("left", [0, 1, 64, 4095, 4096, 8192])
def test_truncated(file: Path, left: int) -> None:
    os.truncate(file, left)
    with pytest.raises(errors.RegionTruncated):
        Region.attach(file)


def test_grown(file: Path) -> None:
    os.truncate(file, region_bytes(SMALL) + 4096)
    with pytest.raises(errors.RegionCorrupt):
        Region.attach(file)


def test_foreign(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(100_000))
    path.chmod(0o600)
    with pytest.raises(errors.NotARegion):
        Region.attach(path)


def test_older_layout(file: Path) -> None:
    put(file, 8, struct.pack("<I", 0))
    with pytest.raises(errors.RegionLayoutMismatch, match="another layout version"):
        Region.attach(file)


def test_unfinished(file: Path) -> None:
    put(file, 48, struct.pack("<I", 0))
    with pytest.raises(errors.NotARegion):
        Region.attach(file)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o606])
def test_open_to_others(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(errors.RegionDenied) as caught:
        Region.attach(file)
    assert isinstance(caught.value, PermissionError)


def test_symbolic_link(file: Path) -> None:
    link = file.with_name("ultrafast-link")
    link.symlink_to(file)
    with pytest.raises(errors.RegionDenied):
        Region.attach(link)


def test_a_link_under_the_new_name_is_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    path.symlink_to(target)
    with pytest.raises(errors.RegionExists):
        Region.create(path, SMALL)
    assert not target.exists()


def test_fifo_and_folder(path: Path, tmp_path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(errors.NotARegion):
        Region.attach(path)
    with pytest.raises(errors.RegionError):
        Region.attach(tmp_path)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(errors.RegionMissing):
        Region.create(tmp_path / "no" / "ultrafast-x", SMALL)


def test_full_file_system_says_both_numbers(path: Path) -> None:
    free = shutil.disk_usage(path.parent).free
    huge = Sizes(message_blocks=((1 << 31, free // (1 << 31) + 1),))
    with pytest.raises(errors.RegionNoSpace, match=r"MiB free, this region needs .* MiB") as caught:
        Region.create(path, huge)
    assert caught.value.needed_bytes == region_bytes(huge)
    assert caught.value.free_bytes is not None
    assert caught.value.free_bytes < region_bytes(huge)
    assert caught.value.errno == errno.ENOSPC
    assert list(path.parent.iterdir()) == []


def test_file_size_limit_is_an_error_and_no_signal(path: Path) -> None:
    program = f"""
    import resource, sys
    from ultrafast import errors
    from ultrafast.core import Region, Sizes
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, {resource.RLIM_INFINITY}))
    try:
        Region.create(sys.argv[1], Sizes())
    except errors.RegionNoSpace as error:
        print(error)
    """
    with child(program, path) as limited:
        assert "refused a file of" in limited.end()
    assert list(path.parent.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_file(file: Path) -> None:
    os.chown(file, 12345, 12345)
    with pytest.raises(errors.RegionDenied):
        Region.attach(file)


def test_head_and_directory_are_under_a_checksum(file: Path) -> None:
    """Flip each bit of the head's and the directory's fields: the file is refused."""
    sound = file.read_bytes()[:4096]
    areas = struct.unpack_from("<I", sound, 12)[0]
    covered = [*range(48), *(64 + 32 * area + byte for area in range(areas) for byte in range(20))]
    accepted = []
    for offset in covered:
        for bit in range(8):
            put(file, offset, bytes([sound[offset] ^ 1 << bit]))
            try:
                Region.attach(file).close()
                accepted.append((offset, bit))
            except errors.RegionError:
                pass
        put(file, offset, sound[offset : offset + 1])
    assert accepted == []
    Region.attach(file).close()


def test_a_hostile_inside_raises_and_never_crashes(file: Path) -> None:
    """Random bytes all over the areas; every call of every door; a child, since it might crash."""
    program = """
    import random, sys
    from ultrafast import errors
    from ultrafast.core import Agents, Metrics, Queues, Receiver, Region, Table
    def ignore(call, *arguments):
        try:
            return call(*arguments)
        except (errors.UltrafastError, UnicodeDecodeError, TypeError):
            return None
    region = Region.attach(sys.argv[1])
    queues, table = Queues(region), Table(region)
    agents, metrics = Agents(region), Metrics(region)
    for round in range(2):
        for index in range(4):
            ignore(queues.name, index)
            ignore(queues.length, index)
            ignore(queues.open, f"q{round}{index}")
            for lane in range(4):
                ignore(queues.send, index, lane, b"x" * 100)
            receiver = ignore(Receiver, queues, index)
            if receiver is not None:
                for message in ignore(receiver.adopt) or []:
                    ignore(message.tobytes)
                for message in ignore(receiver.take) or []:
                    ignore(message.tobytes)
                    message.release()
        for key in range(0, 60, 6):
            ignore(table.set, "s", f"k{key}", b"v" * key)
            ignore(table.get, "s", f"k{key}")
            ignore(table.get_entry, "s", f"k{key}")
            ignore(table.delete, "s", f"k{key}")
        ignore(lambda: list(table.keys()))
        ignore(table.count)
        for slot in range(64):
            info = ignore(agents.at, slot)
            ignore(agents.route, info.id)
            ignore(agents.move, info.id, info.state % 8, 0)
        ignore(agents.type, f"t{round}")
        ignore(lambda: agents.new(0, 0, 0, 3, 1, 0, 1))
        ignore(lambda: agents.claim(0, 0, 0, 1))
        ignore(agents.tally)
        ignore(metrics.read, 0)
        ignore(region.owners)
        for slot in range(1, 8):
            ignore(region.recover, slot)
    region.close()
    print("survived")
    """
    with Region.attach(file) as region:
        queues, agents, table = Queues(region), Agents(region), Table(region)
        for index in range(3):
            name = queues.open(f"queue {index}")
            for lane in range(4):
                queues.send_batch(name, lane, [(b"x" * 90, *[0] * 9)] * 10)
        for key in range(60):
            table.set("s", f"k{key}", "v" * key)
            agents.new(agents.type(f"type {key % 3}"), 0, 0, 1 + 2 * (key % 2), 5, 0, 1)
    sound = file.read_bytes()
    heads = [struct.unpack_from("<QQI", sound, 64 + 32 * area) for area in range(8)]
    # Metrics are numbers and nothing else; a structure's first line is judged when it is opened.
    places = [
        (offset + 128, count - 128) for offset, count, kind in heads if kind in (2, 3, 4, 5, 7)
    ]
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    survived = 0
    for _ in range(6):
        wild = bytearray(sound)
        for _ in range(dice.choice([20, 100, 1000])):
            offset, count = dice.choice(places)
            at = offset + dice.choice([dice.randrange(count), dice.randrange(min(count, 4096))])
            wild[at] = dice.choice([0, 255, dice.randrange(256)])
        file.write_bytes(wild)
        with child(program, file) as victim:
            out, complaints = victim.process.communicate(timeout=100)
            assert victim.process.returncode >= 0, f"seed {seed}: {complaints}"
            known = "ultrafast.errors." in complaints  # the region was refused at the door
            assert out.strip() == "survived" or known, f"seed {seed}: {complaints}"
            survived += not known
    assert survived > 0, f"seed {seed}: every region was refused, so nothing was tried"
