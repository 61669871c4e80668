"""Samples what must not grow: memory, blocks, queues, entries, descriptors.

Stands on /proc and on a look at the region that changes nothing in it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from system.soaking.trend import Bound, Trend, trend
from ultrafast.core import Agents, Queues, Region, Table
from ultrafast.core._agents import FREE

__all__ = ["Watch"]

_MIB: Final = 1 << 20
# Growth of the judged part of a run that is none: noise of the allocator, of caches and of queues.
_MEMORY: Final = Bound(4.0, 0.05)
# Of all processes: one that has just died, or is just starting, is missing.
_MEMORY_OF_ALL: Final = Bound(32.0)
_BLOCKS: Final = Bound(512.0)
# Half of what a lane holds: a death is a jam of the messages of a second or two.
_WAITING: Final = Bound(4096.0)
_ENTRIES: Final = Bound(20.0)
_DESCRIPTORS: Final = Bound(5.0)


class Watch:
    """A system's figures over a run.

    Parameters
    ----------
    region_path : str
    """

    def __init__(self, region_path: str) -> None:
        self._path = region_path
        self._region = Region.attach(region_path, read_only=True)
        self._queues = Queues(self._region)
        self._table = Table(self._region)
        self._agents = Agents(self._region)
        self._started = time.monotonic()
        self._times: dict[str, list[float]] = {}
        self._values: dict[str, list[float]] = {}
        self._bounds: dict[str, Bound] = {}

    def close(self) -> None:
        """Let go of the region."""
        self._region.close()

    def sample(self, spared: dict[str, int], others: list[int]) -> None:
        """Take one sample of everything.

        Parameters
        ----------
        spared : dict of str to int
            Process ids that last the whole run, by what they are.
        others : list of int
            Those of the rest; one that dies meanwhile makes its sample's total smaller.
        """
        now = time.monotonic() - self._started
        whole = self.region_bytes() / _MIB
        for name, pid in spared.items():
            private = _private_bytes(pid) / _MIB
            whole += private
            self._add(f"memory of {name}, MiB", now, private, _MEMORY)
            self._add(f"descriptors of {name}", now, _descriptors(pid), _DESCRIPTORS)
        whole += sum(_private_bytes(pid) for pid in others) / _MIB
        self._add("PSS of all processes and the region, MiB", now, whole, _MEMORY_OF_ALL)
        waiting = self.waiting()
        messages = sum(each.blocks - each.free for each in self._queues.blocks())
        values = sum(each.blocks - each.free for each in self._table.blocks())
        self._add("messages waiting in queues and mailboxes", now, waiting, _WAITING)
        # With what processes have in hand, and free ones in their caches.
        self._add("message blocks besides those", now, messages - waiting, _BLOCKS)
        self._add("value blocks in use", now, values, _BLOCKS)
        self._add("entries of the store", now, self._table.count(), _ENTRIES)

    def waiting(self) -> int:
        """Messages that stand in any queue, or in an agent's mailbox."""
        queues, agents = self._queues, self._agents
        named = [index for index in range(queues.count) if queues.name(index) is not None]
        records = map(agents.at, range(agents.capacity))
        # A free record says what its last agent had when its worker died, until it is used again.
        mailboxes = sum(each.depth for each in records if each.state != FREE)
        return mailboxes + sum(queues.length(index) for index in named)

    def in_use(self) -> dict[str, int]:
        """Blocks of the pools that are not free, by kind and size."""
        kinds = (("message", self._queues.blocks()), ("value", self._table.blocks()))
        return {
            f"{kind} blocks of {each.block_bytes} B": each.blocks - each.free
            for kind, blocks in kinds
            for each in blocks
        }

    def region_bytes(self) -> int:
        """Bytes that the region's file occupies, reserved when it was made."""
        return os.stat(self._path).st_blocks * 512

    def trends(self) -> list[Trend]:
        """What became of each figure."""
        return [
            trend(name, times, self._values[name], self._bounds[name])
            for name, times in self._times.items()
        ]

    def _add(self, name: str, now: float, value: float, bound: Bound) -> None:
        self._times.setdefault(name, []).append(now)
        self._values.setdefault(name, []).append(value)
        self._bounds[name] = bound


def _private_bytes(pid: int) -> int:
    """A process's PSS but for the region, which is counted once; 0 when it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = {}
    for line in text.splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    return found["Pss"] - found["Pss_Shmem"]


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0
