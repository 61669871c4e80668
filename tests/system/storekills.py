"""Kill writers of a store and the process that makes its snapshots, and look at what comes back.

The short form runs in the suite (`test_storekills.py`); the long one is this file:

    .venv/bin/python tests/system/storekills.py --kills 100

Writers count: each value says which key's it is, and how far. The keeper notes, after each
snapshot, what every key had counted to before it; writers note each number once their write was
accepted. A killed writer must leave the rest at work. After a killed keeper, a new one either
restores the file into a new region, and no key is behind what a finished snapshot had, or it adopts
the region, and no key is behind what was accepted.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

__all__ = ["Report", "run"]

KEYS = 40
WRITERS = 2
KEEPER = """
import json, os, sys, time
from ultrafast.config import MIB, Config
from ultrafast.core import Region, Table
from ultrafast.core._region import PHASE_FREE, ROLE_MANAGER
from ultrafast.sizing import region_sizes
from ultrafast.store import persistence as module

folder, region_name, how, keys = *sys.argv[1:4], int(sys.argv[4])
adopt = how == "adopt"
module._SPARE_BYTES, module._SPARE_SEGMENTS = 200_000, 50
config = Config(shared_buffer_size=32 * MIB, memory_store_size=8 * MIB, message_pool_size=200,
                max_concurrent_agents=10, max_processes=16, queue_capacity=16)

def dead():
    return [each.slot for each in region.owners()
            if each.phase != PHASE_FREE and not region.alive(each.slot)]

if adopt:
    region = Region.attach(region_name, ROLE_MANAGER)
    for slot in dead():
        region.recover(slot)
else:
    region = Region.create(region_name, region_sizes(config))
table = Table(region)
kept = module.Persistence(table, folder + "/snapshot", interval_s=1, size_max=64 << 20,
                          on_event=lambda subject, payload: None)
report = kept.restore(load=not adopt)
assert report.structure is None and not report.damaged, report

def counted():
    found = {}
    for key in range(keys):
        value = table.get("s", str(key))
        number = 0 if value is None else int(value.split(b":")[1])
        assert value is None or value == b"%d:%d:" % (key, number) + b"x" * (number % 700), value
        found[key] = number
    return found

print(json.dumps(counted()), flush=True)
log = os.open(folder + "/snapshots", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while True:
    before = counted()
    kept.snapshot()
    os.write(log, json.dumps(before).encode() + b"\\n")
    for slot in dead():
        region.recover(slot)
"""
WRITER = """
import os, random, sys
from ultrafast.core import Region, Table
written, region, first, step, keys = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
table = Table(Region.attach(region))
log = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
mine = list(range(first, keys, step))
while True:
    key = random.choice(mine)
    value = table.get("s", str(key))
    number = 1 if value is None else int(value.split(b":")[1]) + 1
    if random.random() < 0.3:
        table.set("others", str(number % 50), "x" * (number % 200))
    else:
        table.delete("others", str(random.randrange(50)))
    if table.set("s", str(key), b"%d:%d:" % (key, number) + b"x" * (number % 700)):
        os.write(log, b"%d %d\\n" % (key, number))
"""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did and found."""

    writers_killed: int
    restored: int
    adopted: int
    snapshots: int
    written: int
    faults: list[str]

    @property
    def passed(self) -> bool:
        """All kinds of kills happened, and nothing was lost."""
        return (
            min(self.writers_killed, self.restored, self.adopted, self.snapshots, self.written) > 0
            and not self.faults
        )


class _Store:
    """A keeper and its writers, all of them to be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._life = 0
        self._writers: list[subprocess.Popen[bytes]] = []
        self._keeper: subprocess.Popen[bytes] | None = None
        self.faults: list[str] = []

    def begin(self, adopt: bool) -> dict[int, int]:
        """Start a keeper, on a region of its own or on the last; what it found there, by key."""
        self._number += not adopt
        self._life += 1
        command = [sys.executable, "-P", "-c", KEEPER, str(self._folder), self._region()]
        self._keeper = subprocess.Popen(
            [*command, "adopt" if adopt else "new", str(KEYS)], stdout=subprocess.PIPE
        )
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline()
        if not line:
            raise AssertionError(f"the keeper ended with {self._keeper.wait()}")
        for writer in range(WRITERS):
            self._writers.append(self._writer(writer))
        return {int(key): number for key, number in msgspec.json.decode(line).items()}

    @property
    def written(self) -> str:
        """Where the writers of this keeper note what was accepted."""
        return f"written-{self._life}"

    def _region(self) -> str:
        return str(self._folder / f"region-{self._number}")

    def _writer(self, writer: int) -> subprocess.Popen[bytes]:
        words = [
            str(self._folder / self.written),
            self._region(),
            str(writer),
            str(WRITERS),
            str(KEYS),
        ]
        return subprocess.Popen([sys.executable, "-P", "-c", WRITER, *words])

    def kill_writer(self, chance: random.Random) -> None:
        """Kill a writer and start another in its place."""
        which = chance.randrange(WRITERS)
        self._end(self._writers[which], "writer")
        self._writers[which] = self._writer(which)

    def kill(self) -> None:
        """Kill the keeper in the middle, then the writers, whose region is nobody's now."""
        assert self._keeper is not None
        self._end(self._keeper, "keeper")
        assert self._keeper.stdout is not None
        self._keeper.stdout.close()
        for writer in self._writers:
            self._end(writer, "writer")
        self._writers.clear()

    def _end(self, process: subprocess.Popen[bytes], what: str) -> None:
        early = process.poll()
        process.kill()
        process.wait()
        if early is not None:
            self.faults.append(f"a {what} ended by itself with {early}")

    def lines(self, name: str) -> list[bytes]:
        path = self._folder / name
        return path.read_bytes().splitlines() if path.exists() else []


def run(kills: int, seed: int) -> Report:
    """Kill the keeper `kills` times, its successors of both kinds by turns, and as many writers."""
    folder = Path(tempfile.mkdtemp())
    chance = random.Random(seed)
    store = _Store(folder)
    done = {"writers": 0, "restored": 0, "adopted": 0, "written": 0}
    try:
        store.begin(False)
        for number in range(kills):
            _wait_for_more(store)
            store.kill_writer(chance)
            done["writers"] += 1
            time.sleep(chance.uniform(0.0, 0.05))
            store.kill()
            adopt = number % 2 == 0
            expected = _accepted(store) if adopt else _snapshot(store)
            done["written"] += len(store.lines(store.written))
            found = store.begin(adopt)
            done["adopted" if adopt else "restored"] += 1
            behind = {key: n for key, n in expected.items() if found[key] < n}
            if behind:
                store.faults.append(f"kill {number}, adopted {adopt}: {behind} became {found}")
        store.kill()
        return Report(
            writers_killed=done["writers"],
            restored=done["restored"],
            adopted=done["adopted"],
            snapshots=len(store.lines("snapshots")),
            written=done["written"],
            faults=store.faults,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_more(store: _Store) -> None:
    before = len(store.lines("snapshots"))
    while len(store.lines("snapshots")) < before + 3 or len(store.lines(store.written)) < 50:
        if store.faults:
            return
        time.sleep(0.005)


def _snapshot(store: _Store) -> dict[int, int]:
    last = msgspec.json.decode(store.lines("snapshots")[-1])
    return {int(key): number for key, number in last.items()}


def _accepted(store: _Store) -> dict[int, int]:
    """What each key was counted to last; a writer killed after a delete has undone its own."""
    found: dict[int, int] = {}
    for line in store.lines(store.written):
        key, number = map(int, line.split())
        found[key] = number
    return found


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of each: keepers and writers")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    report = run(options.kills, options.seed)
    print(msgspec.json.format(msgspec.json.encode(report)).decode())
    print("passed" if report.passed else "FAILED")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
