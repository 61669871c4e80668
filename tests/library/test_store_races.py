"""The shared store when entries end and when others write: races are counted exactly."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from library.storing import CONFIG, Clock, empty
from ultrafast.core import Entry, Region, Table
from ultrafast.errors import StoreFull
from ultrafast.sizing import region_sizes
from ultrafast.store import UltraFastMemoryStore


@pytest.fixture(scope="module")
def region_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "ultrafast-store"


@pytest.fixture(scope="module")
def region(region_file: Path) -> Iterator[Region]:
    with Region.create(region_file, region_sizes(CONFIG)) as region:
        yield region


@pytest.fixture
def store(region: Region) -> UltraFastMemoryStore:
    store = UltraFastMemoryStore(Table(region))
    empty(store, region)
    return store


def test_an_entry_ends_when_its_time_is_over(region: Region) -> None:
    clock = Clock()
    store = UltraFastMemoryStore(Table(region), clock=clock)
    clock.behind_s = 100
    store.set("ttl", "over", 1, ttl_s=50)
    store.set("ttl", "native", 2, ttl_s=1000)
    store.set("ttl", "encoded", [3], ttl_s=1000)
    store.set("ttl", "over-encoded", [4], ttl_s=99)
    assert store.get_batch("ttl", ["over", "native", "encoded", "over-encoded"]) == [
        None,
        2,
        [3],
        None,
    ]
    assert not store.contains("ttl", "over")
    assert sorted(store.keys("ttl")) == ["encoded", "native"]
    assert store.compare_and_set("ttl", "over", 5, 0, ttl_s=50) != 0  # there was none
    assert store.set_default("ttl", "over", 6) == 6
    assert store.get("ttl", "over") == 6


def test_sweeping_gives_back_the_room_of_what_is_over_and_of_nothing_else(
    region: Region, store: UltraFastMemoryStore
) -> None:
    clock = Clock()
    late = UltraFastMemoryStore(Table(region), clock=clock)
    clock.behind_s = 100
    for number in range(100):
        late.set("sweep", str(number), number, ttl_s=50 if number % 2 else 1000)
    assert sorted(store.keys("sweep")) == sorted(str(number) for number in range(0, 100, 2))
    assert len(store) == 100
    store.set("sweep", "1", "again")
    assert sum(store.sweep(limit=10) for _ in range(11)) == 49
    assert len(store) == 51 and store.get("sweep", "1") == "again"
    assert store.sweep() == store.sweep() == 0


@pytest.mark.parametrize("value", [bytes(200_000), [bytes(200_000)]])
def test_room_that_is_taken_by_what_is_over_is_no_full_store(
    region: Region, store: UltraFastMemoryStore, value: Any
) -> None:
    clock = Clock()
    late = UltraFastMemoryStore(Table(region), clock=clock)
    clock.behind_s = 100
    with pytest.raises(StoreFull):
        for number in range(1000):
            late.set("over", f"lasting{number}", value)
    for key in list(store.keys("over"))[:2]:
        store.delete("over", key)
        late.set("over", key, value, ttl_s=50)
    lasting = len(store) - 2
    assert store.set("over", "new", value) is True
    assert len(store) <= lasting + 2  # one of them has gone at least
    assert store.compare_and_set("over", "newer", value, 0)
    with pytest.raises(StoreFull):
        store.set("over", "newest", value)


def test_update_keeps_the_end_of_an_entry(region: Region) -> None:
    table = Table(region)
    store = UltraFastMemoryStore(table)
    store.set("ttl2", "a", 1, ttl_s=1000)
    entry = table.get_entry("ttl2", "a")
    assert entry is not None and entry.expires_ns > 0
    assert store.incr("ttl2", "a", 2) == 3
    after = table.get_entry("ttl2", "a")
    assert after is not None and after.expires_ns == entry.expires_ns
    assert store.incr("ttl2", "a", ttl_s=5000) == 4
    later = table.get_entry("ttl2", "a")
    assert later is not None and later.expires_ns > entry.expires_ns
    assert store.incr("ttl2", "b") == 1
    fresh = table.get_entry("ttl2", "b")
    assert fresh is not None and fresh.expires_ns == 0


class Raced:
    """A table; another writes just after an entry was read, or found to be over, for once."""

    def __init__(self, region: Region) -> None:
        self.table = Table(region)
        self.rival: UltraFastMemoryStore | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.table, name)

    def get_entry(self, space: str, key: str) -> Entry | None:
        return self.then_write(self.table.get_entry(space, key))

    def expired(self, cursor: int, max: int = 256) -> tuple[int | None, list[tuple[str, str, int]]]:
        return self.then_write(self.table.expired(cursor, max))

    def then_write(self, answer: Any) -> Any:
        rival, self.rival = self.rival, None
        if rival is not None:
            rival.set("n", "k", "newer")
        return answer


def test_what_another_wrote_meanwhile_is_neither_popped_unread_nor_swept(
    store: UltraFastMemoryStore, region: Region
) -> None:
    table: Any = Raced(region)
    raced = UltraFastMemoryStore(Table(region))
    raced._table = table
    store.set("n", "k", "older")
    table.rival = store
    assert raced.pop("n", "k") == "newer" and not store.contains("n", "k")

    clock = Clock()
    clock.behind_s = 100
    UltraFastMemoryStore(Table(region), clock=clock).set("n", "k", "older", ttl_s=50)
    table.rival = store
    assert raced.sweep() == 0
    assert store.get("n", "k") == "newer"


CHILD = """
import sys
from ultrafast.core import Region, Table
from ultrafast.store import UltraFastMemoryStore
with Region.attach(sys.argv[1]) as region:
    store = UltraFastMemoryStore(Table(region))
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(sys.argv[3])):
        store.incr("race", "native")
        store.update("race", "encoded", lambda value: {"n": value["n"] + 1}, {"n": 0})
        store.set_default("race", f"first{number}", sys.argv[2])
    mine = sum(store.get("race", f"first{n}") == sys.argv[2] for n in range(int(sys.argv[3])))
    popped = 0
    while store.pop("jobs", str(popped)) is not None:
        popped += 1
    taken = [key for key in map(str, range(300)) if store.pop("bag", key) is not None]
    print(mine, len(taken), flush=True)
"""


def test_processes_that_change_the_same_entries_lose_nothing(
    store: UltraFastMemoryStore, region_file: Path
) -> None:
    rounds, workers = 300, 3
    store.set_batch("bag", {str(number): number for number in range(300)})
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(region_file), str(number), str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(workers)
    ]
    try:
        for child in children:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        answers = [child.communicate()[0].split() for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert store.get("race", "native") == rounds * workers
    assert store.get("race", "encoded") == {"n": rounds * workers}
    firsts = dict(store.items("race", "first"))
    assert len(firsts) == rounds
    counted = Counter(firsts.values())
    assert {str(n): int(mine) for n, (mine, _) in enumerate(answers) if int(mine)} == counted
    assert sum(int(taken) for _, taken in answers) == 300  # each was given to one of them alone
