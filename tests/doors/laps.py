"""Every number of a region that wraps, set to just below its wrap: `Laps.begin`.

Stands on the layouts that the headers of csrc/ draw, which it reads and writes in the file itself,
while nobody uses the region. Does not know what a door answers.
"""

import mmap
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ultrafast.core import Sizes

__all__ = ["LAP_BITS", "Laps"]

LAP_BITS = 28  # uf_ring.h
PAIR, LINE = 128, 64
OWNERS, TABLE, QUEUES, MESSAGES, AGENTS, METRICS, VALUES = 1, 2, 3, 4, 5, 6, 7
LANES, COUNTERS, HISTS, BUCKETS = 4, 64, 12, 4480


class Field(NamedTuple):
    """A number of so many bits, at a shift in the 64-bit word at an offset of the file."""

    name: str
    offset: int
    shift: int
    bits: int


def _up(number: int, to: int) -> int:
    return -(-number // to) * to


class Laps:
    """The wrapping numbers of the region at `path`, which is of these sizes."""

    def __init__(self, path: str | Path, sizes: Sizes) -> None:
        self.sizes = sizes
        with Path(path).open("r+b") as stream:
            self.data = mmap.mmap(stream.fileno(), 0)
        count = struct.unpack_from("<I", self.data, 12)[0]
        heads = [struct.unpack_from("<QQI", self.data, 64 + 32 * each) for each in range(count)]
        self.area = {kind: offset for offset, _, kind in heads}
        self.fields = [*self._words()]
        self.rings = [*self._rings()]

    def _words(self) -> Iterator[Field]:
        sizes, area = self.sizes, self.area
        for slot in range(1, sizes.owners):  # the first is its creator's already
            yield Field("incarnation", area[OWNERS] + slot * PAIR, 32, 32)
        at = area[TABLE] + PAIR + _up(8 * sizes.extensions, PAIR)
        for bucket in range(sizes.buckets):
            yield Field("bucket", at + bucket * LINE, 35, 29)
        for queue in range(sizes.queues):
            at = area[QUEUES] + PAIR + queue * PAIR
            yield Field("opening", at, 32, 32)
            yield Field("bell", at + 8, 2, 30)  # its other half is the orphans' hint
        for kind, blocks in ((MESSAGES, sizes.message_blocks), (VALUES, sizes.value_blocks)):
            at = area[kind] + PAIR + sum(_up(_up(n, 64) // 8, PAIR) for _, n in blocks)
            for block_bytes, number in blocks:
                for block in range(number):
                    yield Field("block", at + block * block_bytes, 28, 36)
                at += _up(block_bytes * number, PAIR)
        for agent in range(sizes.agents):
            yield Field("generation", area[AGENTS] + PAIR + agent * LINE, 34, 30)
        for counter in range(COUNTERS):  # of the first shard alone: their sum is what wraps
            yield Field("counter", area[METRICS] + 8 * counter, 0, 64)
        for hist in range(HISTS):
            at = area[METRICS] + 8 * (COUNTERS + hist * (2 + BUCKETS))
            yield Field("sum", at, 0, 64)

    def _rings(self) -> Iterator[tuple[str, int, int]]:
        """Name, offset and capacity of every ring."""
        sizes, area = self.sizes, self.area
        at = area[QUEUES] + PAIR + sizes.queues * PAIR
        for _ in range(sizes.queues * LANES):
            yield "lap", at, sizes.queue_capacity
            at += _up(2 * PAIR + 8 * sizes.queue_capacity, PAIR)
        at = area[AGENTS] + PAIR + _up(sizes.agents * LINE, PAIR)
        at += _up(_up(sizes.agents, 64) // 8, PAIR) + _up(sizes.types * LINE, PAIR)
        for _ in range(sizes.types):
            yield "hint's lap", at, sizes.warm
            at += _up(2 * PAIR + 8 * sizes.warm, PAIR)

    def _word(self, offset: int) -> int:
        return int(struct.unpack_from("<Q", self.data, offset)[0])

    def begin(self, before: int) -> None:
        """Set every number so many steps before its wrap, and every ring so many positions."""
        for _, offset, shift, bits in self.fields:
            mask = ((1 << bits) - 1) << shift
            word = self._word(offset) & ~mask | (-before << shift) & mask
            struct.pack_into("<Q", self.data, offset, word)
        for _, offset, capacity in self.rings:
            position = (capacity << LAP_BITS) - before
            struct.pack_into("<Q", self.data, offset, position)
            struct.pack_into("<Q", self.data, offset + PAIR, position)
            for at in range(position, position + capacity):
                lap = at // capacity % (1 << LAP_BITS)
                slot = offset + 2 * PAIR + 8 * (at % capacity)
                struct.pack_into("<Q", self.data, slot, lap << 64 - LAP_BITS)

    def crossed(self) -> Counter[str]:
        """How many numbers of each name have gone through their wrap since `begin`."""
        crossed: Counter[str] = Counter()
        for name, offset, shift, bits in self.fields:
            crossed[name] += (self._word(offset) >> shift & (1 << bits) - 1) < 1 << bits - 1
        for name, offset, capacity in self.rings:
            laps = [self._word(offset + 2 * PAIR + 8 * slot) >> 36 for slot in range(capacity)]
            crossed[name] += max(laps) < 1 << LAP_BITS - 1
        return crossed

    def close(self) -> None:
        self.data.close()
