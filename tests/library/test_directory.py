"""`Directory`: who wants what, as each process reads it of the others, live and dead."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from library.endpoints import House, house
from ultrafast.bus.directory import EVENT, GROUP, Directory, Interest
from ultrafast.core import Table
from ultrafast.errors import StoreFull

SPACE = "ultrafast.bus"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path / "ultrafast-d") as made:
        yield made


def wish(
    pattern: str, name: str = "", kind: int = GROUP, queue: int = 1, limit: int = 0
) -> Interest:
    return Interest(kind, name, pattern, queue, limit)


def test_what_one_announces_the_others_find_and_no_longer_once_withdrawn(here: House) -> None:
    one, other = (Directory(here.endpoint(name)) for name in ("one", "other"))
    assert other.matching(GROUP, "a.b") == []
    first, second = wish("a.*", "readers", queue=3, limit=7), wish("a.>", "writers")
    one.announce(first)
    one.announce(second)
    assert sorted(other.matching(GROUP, "a.b"), key=lambda each: each.name) == [first, second]
    assert other.matching(GROUP, "a.b.c") == [second]
    assert other.matching(GROUP, "b") == []
    assert one.matching(GROUP, "a.b.c") == [second]  # its own too
    one.withdraw(first)
    assert other.matching(GROUP, "a.b") == [second]
    with pytest.raises(ValueError, match="not in list"):
        one.withdraw(first)


def test_kinds_are_apart_and_only_groups_queues_are_told(here: House) -> None:
    one, other = (Directory(here.endpoint(name)) for name in ("one", "other"))
    one.announce(wish("x", kind=EVENT, queue=2))
    other.announce(wish("x", "g", queue=3))
    assert [each.queue for each in one.matching(EVENT, "x")] == [2]
    assert [each.queue for each in one.matching(GROUP, "x")] == [3]
    assert one.queues() == other.queues() == {3}


def test_a_process_may_be_a_member_twice(here: House) -> None:
    one, other = (Directory(here.endpoint(name)) for name in ("one", "other"))
    same = wish("x", "g")
    one.announce(same)
    one.announce(same)
    assert other.matching(GROUP, "x") == [same, same]
    one.withdraw(same)
    assert other.matching(GROUP, "x") == [same]


def test_who_stops_is_out_and_who_wanted_nothing_says_nothing(here: House) -> None:
    leaving, silent, staying = (here.endpoint(name) for name in ("leaving", "silent", "staying"))
    gone, reader = Directory(leaving), Directory(staying)
    Directory(silent)
    gone.announce(wish("x", "g"))
    assert len(reader.matching(GROUP, "x")) == 1
    leaving.stop()
    assert reader.matching(GROUP, "x") == [] and reader.queues() == set()
    changed = staying.table.get(SPACE, "changed")
    silent.stop()
    assert staying.table.get(SPACE, "changed") == changed


def test_the_dead_are_not_believed_nor_those_who_had_their_slot_before(here: House) -> None:
    dying, staying = here.endpoint("dying"), here.endpoint("staying")
    slot = dying.region.slot
    reader = Directory(staying)
    Directory(dying).announce(wish("x", "g", queue=3))
    assert reader.queues() == {3}
    here.die(dying)
    here.mend()
    assert reader.queues() == set()
    # The next process in the slot has another incarnation: the old entry is not its own.
    heir = here.endpoint("heir")
    assert heir.region.slot == slot
    assert staying.table.get(SPACE, str(slot)) is not None
    assert Directory(heir).queues() == set()
    reader.forget_dead()
    assert staying.table.get(SPACE, str(slot)) is None
    Directory(heir).announce(wish("x", "g", queue=1))
    assert reader.queues() == {1}
    reader.forget_dead()  # the living are not forgotten
    assert reader.queues() == {1}


def test_what_users_write_into_its_namespace_is_nobodys_wish(here: House) -> None:
    one, other = here.endpoint("one"), here.endpoint("other")
    reader = Directory(one)
    Directory(other).announce(wish("x", "g"))
    assert len(reader.matching(GROUP, "x")) == 1
    table = Table(one.region)
    for forged in (b"\xc1", b"\x92\x01\x02", msgspec.msgpack.encode([1, [["GROUP"]]]), 7, "text"):
        table.set(SPACE, str(other.region.slot), forged)
        table.set(SPACE, "changed", 1 + hash(str(forged)) % 1000)
        assert reader.matching(GROUP, "x") == []
        reader.forget_dead()


def test_a_look_reads_again_only_when_something_changed(here: House) -> None:
    one, other = here.endpoint("one"), here.endpoint("other")
    reader = Directory(one)
    Directory(other).announce(wish("x", "g"))
    assert len(reader.matching(GROUP, "x")) == 1
    one.table.delete(SPACE, str(other.region.slot))  # behind its back: nothing says so
    assert len(reader.matching(GROUP, "x")) == 1
    assert reader.queues() == set()  # who keeps the system tidy reads all the same
    assert reader.matching(GROUP, "x") == []


def test_a_full_store_refuses_a_wish_and_an_end_of_one_waits_for_room(
    here: House, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = here.endpoint("one"), here.endpoint("other")
    mine, reader = Directory(one), Directory(other)
    first, second, third = (wish(pattern, "g") for pattern in "xyz")
    mine.announce(first)
    filled = 0
    while one.table.set("full", str(filled), b"x" * 100):
        filled += 1
    with pytest.raises(StoreFull, match="the pattern 'y' that is wanted here"):
        mine.announce(second)
    assert reader.matching(GROUP, "x") == [first] and reader.matching(GROUP, "y") == []
    mine.withdraw(first)
    assert "'x' is wanted no more" in caplog.text
    for number in range(filled):
        one.table.delete("full", str(number))
    mine.announce(third)
    assert reader.matching(GROUP, "x") == reader.matching(GROUP, "y") == []
    assert reader.matching(GROUP, "z") == [third]
