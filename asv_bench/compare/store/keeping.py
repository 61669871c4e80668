"""What only a store that is kept can be asked: taking a region over, loading a file, and its cost.

A million entries in a region on a disk, left by a process that was killed; a snapshot file of them;
and reads while 50,000 entries a second change, with snapshots and without. Ultrafast's own.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ultrafast.agents.processes.adoption import mend
from ultrafast.core import Region, Sizes, Table
from ultrafast.core._region import ROLE_MANAGER
from ultrafast.store import UltraFastMemoryStore
from ultrafast.store.persistence import Persistence

from ..options import Options
from ..report import Block, block_of
from ..rounds import Turn, alternate, watched
from ..teams import Member, member
from .ends import SPACE

__all__ = ["KEEPING", "Question", "keeping"]

_VALUE = bytes(range(64))
_MANY, _FEW = 1_000_000, 20_000
_CHANGED_PER_S = 50_000
_STEP_S = 0.002
_FILE_MAX = 1 << 30
_LIMIT_S = 60.0
_OURS, _WITHOUT = "ultrafast", "without snapshots"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One block of the table."""

    key: str
    title: str


KEEPING = (
    Question(
        key="adopt",
        title="taking over a region on a disk, 1,000,000 entries: read one / all mended",
    ),
    Question(key="load", title="loading a snapshot file, 1,000,000 entries"),
    Question(
        key="running",
        title="reads while 50,000 entries/s change and are written to a file; changes",
    ),
)


def keeping(question: Question, options: Options) -> Block:
    """Ask it, in rounds."""
    options.say(question.title)
    entries = _FEW if options.quick else _MANY
    with tempfile.TemporaryDirectory(prefix="ultrafast-compare-") as disk, _memory() as memory:
        folder = Path(disk)
        if question.key == "adopt":
            turns = {_OURS: partial(_taken, folder / "ultrafast-compare-left", entries)}
        elif question.key == "load":
            _filed(memory, folder / "file", entries)
            loaded = partial(_loaded, memory, folder / "file", entries)
            turns = {_OURS: partial(watched, _alone, loaded)}
        else:
            return _running(question, memory, folder, options)
        outcome = alternate(
            turns, options.rounds or (1 if options.quick else 3), repeat=False, said=options.say
        )
    return block_of(question.key, question.title, "ms", outcome, ours=(_OURS,))


def _alone() -> list[int]:
    return [os.getpid()]


def _sizes(entries: int) -> Sizes:
    return Sizes(
        owners=8,
        buckets=max(1024, int(entries / 2.6)),
        extensions=max(256, entries // 10),
        queues=2,
        queue_capacity=16,
        agents=16,
        types=2,
        warm=16,
        shards=1,
        settings_bytes=64,
        message_blocks=((128, 16),),
        value_blocks=((192, entries + 1_000), (512, 256)),
    )


@contextmanager
def _memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ultrafast-compare-") as name:
        yield Path(name)


def _filled(region: Region, entries: int) -> None:
    store = UltraFastMemoryStore(Table(region))
    kept = 0
    for at in range(0, entries, 1_000):
        kept += sum(store.set_batch(SPACE, dict.fromkeys(_keys(at, at + 1_000), _VALUE)))
    if kept != entries:
        raise AssertionError(f"there was room for {kept} of {entries} entries")


def _keys(begin: int, end: int) -> list[str]:
    return [f"key-{number:07d}" for number in range(begin, end)]


# --- taking over


def _die(path: Path, entries: int) -> None:
    """Make a region, fill it, and be killed: what is left is a dead system's."""
    with Region.create(path, _sizes(entries)) as region:
        _filled(region, entries)
        os.kill(os.getpid(), signal.SIGKILL)


def _taken(path: Path, entries: int) -> Turn:
    process = multiprocessing.get_context("spawn").Process(target=_die, args=(path, entries))
    process.start()
    process.join(_LIMIT_S)
    if process.exitcode != -signal.SIGKILL:
        raise AssertionError(f"the process that was to be killed ended with {process.exitcode}")
    turn = watched(_alone, partial(_adopted, path, entries))
    path.unlink()
    return turn


def _adopted(left: Path, entries: int) -> tuple[dict[str, float], int]:
    asyncio.run(asyncio.sleep(0))  # the first loop of a process loads modules
    begun = time.perf_counter_ns()
    with Region.attach(str(left), ROLE_MANAGER) as region:
        store = UltraFastMemoryStore(Table(region))
        found = store.get(SPACE, "key-0000007")
        passed_ns = time.perf_counter_ns() - begun
        if found != _VALUE or len(store) != entries:
            raise AssertionError(f"of {entries} entries {len(store)} are there")
        begun = time.perf_counter_ns()
        if asyncio.run(mend(region)) != 1:
            raise AssertionError("what the dead process held was not mended")
        mended_ns = time.perf_counter_ns() - begun
        if len(store) != entries:
            raise AssertionError(f"of {entries} entries mending left {len(store)}")
    return {"ms": passed_ns / 1e6, "mended_ms": mended_ns / 1e6}, entries


# --- loading


def _kept(table: Table, file: Path, interval_s: float = 1.0) -> Persistence:
    return Persistence(
        table, str(file), interval_s=interval_s, size_max=_FILE_MAX, on_event=lambda *_: None
    )


def _filed(memory: Path, file: Path, entries: int) -> None:
    with Region.create(memory / "ultrafast-compare-first", _sizes(entries)) as region:
        _filled(region, entries)
        kept = _kept(Table(region), file)
        kept.restore(load=False)
        kept.snapshot()
        kept.stop()
        Path(region.path).unlink()


def _loaded(memory: Path, file: Path, entries: int) -> tuple[dict[str, float], int]:
    with Region.create(memory / "ultrafast-compare-next", _sizes(entries)) as region:
        begun = time.perf_counter_ns()
        kept = _kept(Table(region), file)
        report = kept.restore()
        passed_ns = time.perf_counter_ns() - begun
        kept.stop()
        Path(region.path).unlink()
    if report.entries != entries or report.damaged_count:
        raise AssertionError(f"of {entries} entries {report.entries} came back")
    return {"ms": passed_ns / 1e6}, entries


# --- what running snapshots cost


class Reading:
    """The process whose reads are counted, while it changes entries at a fixed rate."""

    def __init__(self, path: str) -> None:
        self._region = Region.attach(path)
        self.store = UltraFastMemoryStore(Table(self._region))

    def close(self) -> None:
        self._region.close()


def read_and_change(end: Reading, entries: int, turn_s: float, per_s: int) -> tuple[int, int]:
    """Reads made in the time, and entries changed."""
    store = end.store
    get, space = store.get, SPACE
    keys = _keys(0, entries)
    random.Random(3).shuffle(keys)
    step = int(per_s * _STEP_S)
    reads = changed = at = 0
    begun = time.perf_counter()
    while (passed := time.perf_counter() - begun) < turn_s:
        if changed < passed * per_s:
            store.set_batch(space, dict.fromkeys(keys[at : at + step], b"%d" % changed * 8))
            changed += step
        for key in keys[at : at + 200]:
            get(space, key)
        reads += 200
        at = (at + step) % (entries - max(step, 200))
    return reads, changed


def _running(question: Question, memory: Path, folder: Path, options: Options) -> Block:
    entries = _FEW if options.quick else 200_000
    turn_s, interval_s = (0.3, 0.1) if options.quick else (3.0, 1.0)
    with Region.create(memory / "ultrafast-compare-running", _sizes(entries)) as region:
        _filled(region, entries)
        kept = _kept(Table(region), folder / "running")
        kept.restore(load=False)
        kept.snapshot()
        with member("reader", Reading, region.path) as reader:
            reader.ready()
            pids = options.pids_with(lambda: [reader.pid])
            turns: dict[str, Callable[[], Turn]] = {
                name: partial(_timed, pids, kept, reader, entries, turn_s, interval)
                for name, interval in ((_OURS, interval_s), (_WITHOUT, 0.0))
            }
            outcome = alternate(
                turns, options.rounds or (1 if options.quick else 4), repeat=False, said=options.say
            )
        kept.stop()
        spent_us = sum(turn.counts["us"] for turn in outcome.turns[_OURS])
        share = spent_us / (turn_s * 1e4 * max(1, len(outcome.turns[_OURS])))
    return block_of(
        question.key,
        question.title,
        "ops_per_s",
        outcome,
        ours=(_OURS,),
        notes={_OURS: f"making snapshots took {share:.1f} % of a core"},
    )


def _timed(
    pids: Callable[[], list[int]],
    kept: Persistence,
    reader: Member,
    entries: int,
    turn_s: float,
    interval_s: float,
) -> Turn:
    spent: dict[str, int] = {}
    turn = watched(pids, partial(_read, kept, reader, entries, turn_s, interval_s, spent))
    return msgspec.structs.replace(turn, counts=spent)


def _read(
    kept: Persistence,
    reader: Member,
    entries: int,
    turn_s: float,
    interval_s: float,
    spent: dict[str, int],
) -> tuple[dict[str, float], int]:
    """Reads a second; with an interval, snapshots are made meanwhile, and must be.

    What they take of a processor is put into `spent`: on a machine with little else to do, that is
    more than what they take from reads.
    """
    ending = threading.Event()
    made: list[int] = []
    spent_ns = 0

    def snapshots() -> None:
        nonlocal spent_ns
        wait_s = interval_s / 2  # as many in a turn as it has intervals
        while not ending.wait(wait_s):
            made.append(kept.snapshot().entries)
            spent_ns = time.thread_time_ns()
            wait_s = interval_s

    thread = threading.Thread(target=snapshots)
    arguments: tuple[Any, ...] = (entries, turn_s, _CHANGED_PER_S)
    if interval_s:
        thread.start()
    try:
        reader.begin(read_and_change, *arguments, timeout_s=_LIMIT_S)
        reads, changed = reader.answer(time.monotonic() + _LIMIT_S)
    finally:
        ending.set()
        if interval_s:
            thread.join()
    if interval_s and not any(made):
        raise AssertionError("no snapshot was made meanwhile")
    spent["us"] = spent_ns // 1000
    return {"per_s": reads / turn_s, "changed_per_s": changed / turn_s}, reads
