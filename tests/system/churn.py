"""Fill a store, replace and delete for minutes, and see whether freed memory is used again.

    python tests/system/churn.py --minutes 10

Three processes write values of random sizes, 1 byte to 1 MiB, over a fixed set of keys, replace,
delete and let them expire, and write into a cache that fills what is left. Printed at each look,
per size of block: used and free. Ends with 1 where

- a block is used by nothing: more are in use than there are entries, and what processes keep at
  hand;
- an entry takes more memory as time goes on: bytes of blocks for a byte that is stored, in the last
  quarter against the second (not in the short form, which has no quarter alike);
- what was freed can't be had again: after the last delete every block of every size is free, and is
  taken, all of them, once more.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier, Event
from typing import Any

from ultrafast.config import MIB, Config
from ultrafast.core import Region, Table
from ultrafast.errors import StoreFull
from ultrafast.sizing import region_sizes
from ultrafast.store import UltraFastMemoryStore

__all__ = ["Outcome", "churn", "main"]

CONFIG = Config(
    shared_buffer_size=16 * MIB,
    memory_store_size=48 * MIB,
    message_pool_size=200,
    max_concurrent_agents=10,
    max_processes=8,
    queue_capacity=16,
)
WRITERS = 3
KEYS = 400  # of each writer
CACHE = "cache"
KEPT_AT_HAND = 64  # blocks of a size that a process may keep for itself
ENOUGH = 40  # looks, to compare their quarters
WORSE = 1.15  # so much more memory for a stored byte is fragmentation that grows


@dataclass(frozen=True)
class Look:
    """The store at one moment."""

    at_s: float
    entries: int
    stored: int
    used: list[int]
    free: list[int]
    used_bytes: int

    @property
    def overhead(self) -> float:
        """Bytes of blocks for a byte that is stored."""
        return self.used_bytes / max(1, self.stored)


@dataclass(frozen=True)
class Outcome:
    """What a churn came to."""

    looks: list[Look]
    writes: int
    refused: int
    evicted: int
    found: list[str]


def size_of(chance: random.Random) -> int:
    """1 byte to 1 MiB: most are small, and most bytes are of the large ones."""
    return int(2 ** (20 * chance.random() ** 2.2))


def write(path: str, seed: int, ready: Barrier, stop: Event, told: Any) -> None:
    """One writer: its own keys, and those of the cache that all write."""
    chance = random.Random(seed)
    data = chance.randbytes(MIB)
    writes = refused = 0
    with Region.attach(path) as region:
        store = UltraFastMemoryStore(Table(region))
        ready.wait(60)
        while not stop.is_set():
            for _ in range(100):
                key = str(chance.randrange(KEYS))
                what = chance.random()
                size = size_of(chance)
                try:
                    if what < 0.55:
                        store.set(f"writer{seed}", key, data[:size])
                    elif what < 0.65:
                        store.set(f"writer{seed}", key, data[:size], ttl_s=0.05)
                    elif what < 0.85:
                        store.delete(f"writer{seed}", key)
                    else:
                        store.set(CACHE, f"{seed} {chance.randrange(10 * KEYS)}", data[: size // 8])
                    writes += 1
                except StoreFull:
                    refused += 1
        for key in list(store.keys(f"writer{seed}")):
            store.delete(f"writer{seed}", key)
    told.put((writes, refused))


def look(store: UltraFastMemoryStore, began: float) -> Look:
    """Count entries, their bytes, and blocks by size."""
    statistics = store.stats()
    spaces = [CACHE, *(f"writer{seed}" for seed in range(WRITERS))]
    figures = [store.namespace_stats(space) for space in spaces]
    used = [each.blocks - each.free for each in statistics.blocks]
    return Look(
        at_s=time.monotonic() - began,
        entries=statistics.entries,
        stored=sum(each.bytes for each in figures),
        used=used,
        free=[each.free for each in statistics.blocks],
        used_bytes=sum(
            number * each.block_bytes for number, each in zip(used, statistics.blocks, strict=True)
        ),
    )


def judge(looks: list[Look]) -> list[str]:
    """What is wrong with the course of the memory, in words."""
    found = []
    quarter = len(looks) // 4
    for each in looks:
        at_hand = (WRITERS + 1) * KEPT_AT_HAND * len(each.used)
        if sum(each.used) > each.entries + at_hand:
            found.append(
                f"after {each.at_s:.0f} s {sum(each.used)} blocks are in use for {each.entries} "
                "entries"
            )
    if len(looks) >= ENOUGH:
        early = sum(each.overhead for each in looks[quarter : 2 * quarter]) / quarter
        late = sum(each.overhead for each in looks[-quarter:]) / quarter
        if late > early * WORSE:
            found.append(f"a stored byte takes {late:.2f} bytes of blocks, and took {early:.2f}")
    return found


def use_all(store: UltraFastMemoryStore, region: Region) -> list[str]:
    """Every block is free, and can be had: fill the store to its last block, size by size."""
    found = []
    for index, each in enumerate(store.stats().blocks):
        if each.free < each.blocks - KEPT_AT_HAND:
            found.append(f"{each.blocks - each.free} blocks of {each.block_bytes} are not free")
        # So large that it fits into this size and not into the one below; larger sizes stay free.
        value = bytes(each.block_bytes - 64 - 24)
        kept = 0
        with contextlib.suppress(StoreFull):  # full is what it is to become
            while store.stats().blocks[index].free or kept < each.blocks - KEPT_AT_HAND:
                for _ in range(max(1, each.blocks // 50)):
                    store.set("all", f"{index} {kept}", value)
                    kept += 1
        for key in list(store.keys("all")):
            store.delete("all", key)
        if kept < each.blocks - KEPT_AT_HAND:
            found.append(f"{kept} of {each.blocks} blocks of {each.block_bytes} can be had")
    return found


def show(store: UltraFastMemoryStore, each: Look) -> None:
    """One line: when, entries, overhead, and used/free of each size."""
    sizes = "  ".join(f"{used}/{free}" for used, free in zip(each.used, each.free, strict=True))
    print(f"{each.at_s:7.1f} {each.entries:8,} {each.overhead:6.2f}  {sizes}", flush=True)


def churn(minutes: float, *, looks: int = 40, quiet: bool = False) -> Outcome:
    """Let writers go on for so long, looking every now and then.

    Parameters
    ----------
    minutes : float
    looks : int
        How many, spread over the time.
    quiet : bool
        Print nothing.
    """
    context = multiprocessing.get_context("spawn")
    stop, told = context.Event(), context.Queue()
    ready = context.Barrier(WRITERS + 1)
    folder = tempfile.mkdtemp(prefix="uf-churn-", dir="/dev/shm")
    path = os.path.join(folder, "region")
    seen: list[Look] = []
    try:
        with Region.create(path, region_sizes(CONFIG)) as region:
            store = UltraFastMemoryStore(Table(region))
            store.namespace(CACHE, cache=True)
            if not quiet:
                sizes = "  ".join(f"{each.block_bytes}" for each in store.stats().blocks)
                print(f"seconds  entries  bytes/byte  used/free of {sizes}")
            writers = [
                context.Process(target=write, args=(path, seed, ready, stop, told))
                for seed in range(WRITERS)
            ]
            for each in writers:
                each.start()
            ready.wait(60)
            began = time.monotonic()
            while (left := began + minutes * 60 - time.monotonic()) > 0:
                time.sleep(min(left, minutes * 60 / looks))
                store.sweep(1 << 20)
                seen.append(look(store, began))
                if not quiet:
                    show(store, seen[-1])
            stop.set()
            counts = [told.get(timeout=60) for _ in writers]
            for each in writers:
                each.join(60)
            found = judge(seen)
            for key in list(store.keys(CACHE)):
                store.delete(CACHE, key)
            store.sweep(1 << 20)
            evicted = store.stats().evicted
            found += use_all(store, region)
    finally:
        stop.set()
        with contextlib.suppress(FileNotFoundError):  # where its making failed
            os.unlink(path)
        os.rmdir(folder)
    writes, refused = (sum(each) for each in zip(*counts, strict=True))
    return Outcome(looks=seen, writes=writes, refused=refused, evicted=evicted, found=found)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10.0)
    outcome = churn(parser.parse_args().minutes)
    print(
        f"{outcome.writes:,} writes, {outcome.refused:,} refused for want of room, "
        f"{outcome.evicted:,} entries of the cache taken back"
    )
    for each in outcome.found:
        print(f"FOUND {each}")
    if not outcome.found:
        print("every block that was freed is free, and was used again")
    return bool(outcome.found)


if __name__ == "__main__":
    sys.exit(main())
