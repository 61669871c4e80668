"""Cut the power at every write that a snapshot makes, and look at what is left of the file.

The short form runs in the suite (`test_powerloss.py`); the long one is this file:

    .venv/bin/python tests/system/powerloss.py --snapshots 300 --images 12

A child makes snapshots of a store that changes, with `record_writes.c` preloaded: it writes down
every write to the snapshot file with its bytes, every sync, and, in between, what the store held
when a snapshot was answered for. Then the power is cut after each of those writes. What was written
before the last sync is there; of each later write all is there, or none, or some of its sectors, in
any combination, as a disk's cache would have it. Each image must open, hold exactly what one
snapshot held, and not an older one than the last that was answered for.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ultrafast.store.offline import read, value_of

__all__ = ["Report", "run"]

SECTOR = 512
HEAD = struct.Struct("=QQQ")
WRITER = """
import json, os, random, sys
from ultrafast.config import MIB, Config
from ultrafast.core import Region, Table
from ultrafast.sizing import region_sizes
from ultrafast.store import persistence as module

folder, snapshots, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
# Old segments are given back all the time, so that pages are used again and again.
module._SPARE_BYTES, module._SPARE_SEGMENTS, module._ROTATED_AT_ONCE = 20_000, 6, 10_000
chance = random.Random(seed)
config = Config(shared_buffer_size=16 * MIB, memory_store_size=4 * MIB, message_pool_size=200,
                max_concurrent_agents=10, max_processes=8, queue_capacity=16)
log = os.open(os.environ["UF_RECORD"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
with Region.create(folder + "/region", region_sizes(config)) as region:
    table = Table(region)
    kept = module.Persistence(table, folder + "/snapshot", interval_s=1, size_max=64 << 20,
                              on_event=lambda subject, payload: None)
    kept.restore()
    model = {}
    for number in range(snapshots):
        for _ in range(chance.randrange(1, 12)):
            key = str(chance.randrange(30))
            if chance.random() < 0.2:
                table.delete("s", key)
                model.pop(key, None)
            else:
                model[key] = f"{number}:" + key * chance.randrange(900)
                table.set("s", key, model[key])
        def mark(kind):
            data = json.dumps([number, model]).encode()
            os.write(log, kind.to_bytes(8, "little") + bytes(8) + len(data).to_bytes(8, "little")
                     + data)
        mark(ord("B"))
        kept.snapshot()
        mark(ord("A"))
    kept.stop()
"""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did and found."""

    snapshots: int
    writes: int
    syncs: int
    images: int
    in_flight: int
    faults: list[str]

    @property
    def passed(self) -> bool:
        """Something was cut, and nothing was lost or mixed."""
        return self.snapshots > 0 and self.images > self.writes > 0 and not self.faults


class _Step(NamedTuple):
    kind: str
    offset: int
    data: bytes


def _steps(log: bytes) -> Iterator[_Step]:
    at = 0
    while at < len(log):
        kind, offset, count = HEAD.unpack_from(log, at)
        at += HEAD.size
        yield _Step(chr(kind), offset, log[at : at + count])
        at += count


def _apply(image: bytearray, step: _Step, chance: random.Random | None) -> None:
    """Put a write into an image, or, with `chance`, some of its sectors."""
    if step.kind == "T":
        if len(image) > step.offset:
            del image[step.offset :]
        image.extend(bytes(step.offset - len(image)))
        return
    at = 0
    while at < len(step.data):
        place = step.offset + at
        count = min(len(step.data) - at, SECTOR - place % SECTOR)
        if chance is None or chance.random() < 0.5:
            image.extend(bytes(max(0, place + count - len(image))))
            image[place : place + count] = step.data[at : at + count]
        at += count


def _images(
    durable: bytearray, pending: list[_Step], count: int, chance: random.Random
) -> Iterator[bytearray]:
    """What a disk may hold: all of what is pending, none, and combinations."""
    for number in range(count if pending else 1):
        image = bytearray(durable)
        steps = list(pending)
        if number == 1:
            steps = []
        elif number > 1:
            chance.shuffle(steps)
            steps = [step for step in steps if step.kind == "T" or chance.random() < 0.7]
        for step in steps:
            _apply(image, step, chance if number > 2 and step.kind == "W" else None)
        yield image


def _judge(image: bytearray, folder: Path, allowed: list[dict[str, str]]) -> str | None:
    """What is wrong with an image, or None."""
    path = folder / "cut"
    for each in (path, folder / "cut-lock"):
        each.unlink(missing_ok=True)
    path.write_bytes(image)
    try:
        content = read(str(path))
    except Exception as error:  # noqa: BLE001 - the report's business, whatever it is
        return f"can't be read: {type(error).__name__}: {error}"
    if content.structure is not None or content.damaged:
        return f"damaged: {content.structure} {content.damaged[:3]}"
    held = {key: value_of(entry) for (_, key), entry in content.entries.items()}
    if held not in allowed:
        return f"holds {len(held)} entries of no snapshot that it may hold"
    return None


def run(snapshots: int, images: int, seed: int) -> Report:
    """Record a run of snapshots and cut the power everywhere, `images` times at each write."""
    folder = Path(tempfile.mkdtemp())
    try:
        return _run(folder, snapshots, images, seed)
    finally:
        shutil.rmtree(folder)


def _record(folder: Path, snapshots: int, seed: int) -> bytes:
    shim = folder / "record_writes.so"
    source = Path(__file__).with_name("record_writes.c")
    command = ["cc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-O1", str(source), "-o", str(shim)]
    subprocess.run([*command, "-ldl"], check=True)
    environment = dict(
        os.environ,
        LD_PRELOAD=str(shim),
        UF_RECORD=str(folder / "log"),
        UF_RECORD_OF=str((folder / "snapshot").resolve()),
    )
    words = [str(folder), str(snapshots), str(seed)]
    subprocess.run([sys.executable, "-P", "-c", WRITER, *words], check=True, env=environment)
    return (folder / "log").read_bytes()


def _run(folder: Path, snapshots: int, images: int, seed: int) -> Report:
    log = _record(folder, snapshots, seed)
    chance = random.Random(seed)
    durable = bytearray()
    pending: list[_Step] = []
    acknowledged: dict[str, str] = {}
    begun: dict[str, str] = {}
    made = answered = False
    writes = syncs = count = in_flight = done = 0
    faults: list[str] = []
    for number, step in enumerate(_steps(log)):
        if step.kind == "B":
            begun = json.loads(step.data)[1]
            made = True
        elif step.kind == "A":
            acknowledged = begun
            answered = True
            done += 1
        elif step.kind in "WT":
            writes += 1
            pending.append(step)
        elif step.kind == "D":
            syncs += 1
            _apply(durable, pending.pop(), None)
        else:
            syncs += 1
            for each in pending:
                _apply(durable, each, None)
            pending.clear()
        if not made:
            continue  # the file is being made: there is nothing yet that could be lost
        in_flight += bool(pending)
        allowed = [acknowledged, begun] if answered else [{}, begun]
        for image in _images(durable, pending, images, chance):
            count += 1
            fault = _judge(image, folder, allowed)
            if fault is not None and len(faults) < 20:
                faults.append(f"step {number}, kind {step.kind}, after snapshot {done}: {fault}")
    return Report(
        snapshots=done,
        writes=writes,
        syncs=syncs,
        images=count,
        in_flight=in_flight,
        faults=faults,
    )


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snapshots", type=int, default=300)
    parser.add_argument("--images", type=int, default=12, help="at each write")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    report: Any = run(options.snapshots, options.images, options.seed)
    print(msgspec.json.format(msgspec.json.encode(report)).decode())
    print("passed" if report.passed else "FAILED")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
