"""Regions: made whole or not at all, attached to, closed, and who is in them."""

import os
import stat
from pathlib import Path

import msgspec
import pytest

from doors.small import SMALL
from ultrafast import errors
from ultrafast.core import Queues, Receiver, Region, Table, _region, now_ns, region_bytes


def test_create_publishes_a_whole_private_file(region: Region, path: Path) -> None:
    assert region.path == str(path)
    assert region.settings == b"settings"
    assert region.bytes == region_bytes(SMALL) == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert not region.closed and not region.read_only
    assert region.slot == 0 and region.slots == SMALL.owners


def test_attach_sees_the_same_region(region: Region, path: Path) -> None:
    with Region.attach(path, _region.ROLE_WORKER) as other:
        assert (other.id, other.bytes, other.settings) == (region.id, region.bytes, b"settings")
        assert other.slot == 1
        assert region.alive(1)
        mine, theirs = region.owners()
        assert (mine.slot, mine.role, mine.pid) == (0, _region.ROLE_MANAGER, os.getpid())
        assert (theirs.slot, theirs.role, theirs.queue) == (1, _region.ROLE_WORKER, None)
        other.beat(now_ns())
        other.set_queue(2)
        after = region.owner(1)
        assert after.heartbeat_ns > 0 and after.queue == 2
        assert after.started_ns > 1_600_000_000_000_000_000
        other.set_queue(None)
        assert region.owner(1).queue is None
    assert not region.alive(1)
    assert [each.slot for each in region.owners()] == [0]


def test_a_slot_is_given_again_under_another_incarnation(region: Region, path: Path) -> None:
    seen = []
    for _ in range(3):
        with Region.attach(path) as other:
            seen.append((other.slot, region.owner(other.slot).incarnation))
    assert seen == [(1, 1), (1, 2), (1, 3)]


def test_every_slot_taken_is_said(region: Region, path: Path) -> None:
    others = [Region.attach(path) for _ in range(SMALL.owners - 1)]
    with pytest.raises(errors.NoSlot, match="every process slot"):
        Region.attach(path)
    others.pop().close()
    Region.attach(path).close()
    for each in others:
        each.close()


def test_close_twice_and_then_everything_refuses(path: Path) -> None:
    region = Region.create(path, SMALL)
    queues, table = Queues(region), Table(region)
    receiver = Receiver(queues, queues.open("inbox"))
    region.close()
    region.close()
    assert region.closed and path.exists()
    for call in (
        lambda: region.owners(),
        lambda: region.beat(1),
        lambda: region.recover(1),
        lambda: region.alive(0),
        lambda: queues.send(0, 0, b""),
        lambda: queues.send_batch(0, 0, [(b"", 0, 0, 0, 0, 0, 0, 0, 0, 0)]),
        lambda: queues.open("x"),
        lambda: queues.find("x"),
        lambda: queues.length(0),
        lambda: queues.echo(0),
        lambda: receiver.take(),
        lambda: receiver.wait(0),
        lambda: receiver.arm_pipe(),
        lambda: table.get("a", "b"),
        lambda: table.set("a", "b", 1),
        lambda: table.scan(0),
        lambda: Queues(region),
    ):
        with pytest.raises(errors.RegionClosed, match="closed by this process"):
            call()
    assert "closed" in repr(region)


def test_read_only_reads_and_refuses_to_write(region: Region, path: Path) -> None:
    queues = Queues(region)
    index = queues.open("inbox")
    queues.send(index, 0, b"x")
    Table(region).set("a", "b", "c")
    with Region.attach(path, read_only=True) as reader:
        assert reader.read_only and not reader.closed
        assert len(region.owners()) == 1
        assert reader.alive(0) and not reader.alive(1)
        seen = Queues(reader)
        assert (seen.find("inbox"), seen.name(index), seen.length(index)) == (index, "inbox", 1)
        assert Table(reader).get("a", "b") == "c"
        assert list(Table(reader).keys()) == [("a", "b")]
        for call in (
            lambda: reader.slot,
            lambda: reader.beat(1),
            lambda: reader.set_queue(0),
            lambda: reader.recover(0),
            lambda: seen.send(index, 0, b"x"),
            lambda: seen.open("other"),
            lambda: seen.close(index),
            lambda: Receiver(seen, index),
            lambda: Table(reader).set("a", "b", 1),
            lambda: Table(reader).set_encoded("a", "b", b"", 16),
            lambda: Table(reader).delete("a", "b"),
        ):
            with pytest.raises(errors.RegionReadOnly, match="read-only"):
                call()
    assert Table(region).get("a", "b") == "c"


def test_settings_have_room_or_are_refused(path: Path) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"65 bytes of settings.* room for 64"):
        Region.create(path, SMALL, b"x" * 65)
    assert list(path.parent.iterdir()) == []
    with Region.create(path, SMALL, b"x" * 64) as region:
        assert region.settings == b"x" * 64


@pytest.mark.parametrize(
    "wrong",
    [
        {"owners": 0},
        {"owners": 2000},
        {"queue_capacity": 3},
        {"warm": 5},
        {"message_blocks": ((100, 1),)},
        {"message_blocks": ((256, 1), (128, 1))},
        {"value_blocks": ()},
        {"buckets": 0},
        {"agents": 0},
    ],
)
def test_sizes_that_make_no_region_are_refused(path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidArgument):
        Region.create(path, msgspec.structs.replace(SMALL, **wrong))
    assert list(path.parent.iterdir()) == []


def test_too_many_block_sizes_are_refused(path: Path) -> None:
    blocks = tuple((64 * size, 1) for size in range(2, 15))
    with pytest.raises(errors.InvalidArgument, match="13 block sizes"):
        Region.create(path, msgspec.structs.replace(SMALL, message_blocks=blocks))


def test_an_owner_beyond_the_last_is_refused(region: Region) -> None:
    assert not region.alive(SMALL.owners)
    with pytest.raises(errors.InvalidArgument, match="slot 8 of 8"):
        region.owner(8)
    with pytest.raises(errors.InvalidArgument):
        region.recover(8)
    with pytest.raises(errors.InvalidArgument, match="queue 4 of 4"):
        region.set_queue(4)
    assert region.recover(0) is None  # ourselves: alive
    assert region.recover(1) is None  # free


def test_regions_are_made_by_their_two_ways_only() -> None:
    with pytest.raises(TypeError, match=r"Region\.create"):
        Region()


def test_paths_are_any_path_like_thing(tmp_path: Path) -> None:
    odd = tmp_path / "ultrafast-ü \udcff"
    with Region.create(odd, SMALL) as region, Region.attach(os.fsencode(odd)) as other:
        assert region.path == other.path == os.fspath(odd)


def test_now_ns_is_the_monotonic_clock() -> None:
    import time

    before = time.monotonic_ns()
    assert before <= now_ns() <= time.monotonic_ns()
