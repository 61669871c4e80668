"""A worker's memory looked at, and its agents handed over to a fresh process when it is too much.

`MemoryLimit` is the manager's side and says when; `hand_over` is the worker's. Stands on /proc, the
host and the endpoint. Who is killed, started or told of it is the supervisor's business.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Final

from ultrafast.agents.hosting.host import AgentHost
from ultrafast.agents.placing.spawner import Spawner
from ultrafast.bus.endpoint import Endpoint
from ultrafast.core import Table

__all__ = ["MemoryLimit", "hand_over", "note_handover", "own_bytes", "was_handed_over"]

log = logging.getLogger(__name__)

# Looks in a row that find too much: one may have come upon a handler's passing need.
_LOOKS: Final = 2
# Between two recyclings of a worker: if its agents need so much, another process needs it as well.
_REST_S: Final = 10.0
_LONGEST_REST_S: Final = 600.0
_PAUSE_S: Final = 0.005
_SPACE: Final = "ultrafast.bus"


def own_bytes(pid: int) -> int:
    """Memory that ends with a process: its anonymous pages, in memory or swapped out.

    What it has mapped of the region, of files and libraries is not counted: it would stay.

    Returns
    -------
    int
        0 where the process is gone.
    """
    total = 0
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith((b"RssAnon:", b"VmSwap:")):
                    total += int(line.split()[1]) * 1024
    except OSError:
        return 0
    return total


class MemoryLimit:
    """Says when a worker's memory is too much.

    Parameters
    ----------
    limit : int
        Bytes; 0: it never is.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._above: dict[int, int] = {}
        self._rests: dict[int, tuple[float, float]] = {}

    def exceeded(self, index: int, pid: int) -> int | None:
        """What a worker takes, if it is time to recycle it.

        Parameters
        ----------
        index, pid : int
            The worker's place, and its process.
        """
        if self.limit == 0:
            return None
        found, now = own_bytes(pid), monotonic()
        until, rest_s = self._rests.get(index, (0.0, _REST_S / 2))
        if found <= self.limit:
            self._above.pop(index, None)
            if now > until:
                self._rests.pop(index, None)
            return None
        self._above[index] = self._above.get(index, 0) + 1
        if self._above[index] < _LOOKS or now < until:
            return None
        rest_s = min(2 * rest_s, _LONGEST_REST_S)
        self._rests[index] = now + rest_s, rest_s
        del self._above[index]
        return found


def note_handover(table: Table, index: int) -> None:
    """Have it known that a worker left on purpose, also to a manager who was not there."""
    table.set(_SPACE, f"left-{index}", True)


def was_handed_over(table: Table, index: int) -> bool:
    """Whether the last worker in a place left on purpose; asked once, for its successor."""
    return table.delete(_SPACE, f"left-{index}")


async def hand_over(host: AgentHost, endpoint: Endpoint, spawner: Spawner, limit_s: float) -> bool:
    """Take no more messages, at a moment when none is being handled, and save what is to be kept.

    For half the time agents go on as ever; from then on what comes for them is left to the
    successor, but for messages that may not come twice. After all of it, handlers that still wait
    are cut short as by a death.

    Returns
    -------
    bool
        Whether no handler was cut short.
    """
    began = monotonic()
    held = False
    while not (quiet := host.is_quiet and endpoint.waiting == 0):
        spent = monotonic() - began
        if spent > limit_s:
            break
        if spent > limit_s / 2 and not held:
            held = True
            host.hold()
        await asyncio.sleep(_PAUSE_S if host.is_quiet is False else 0)
    # Nothing runs between that look and this.
    spawner.tell()
    endpoint.pause()
    await host.leave()
    return quiet
