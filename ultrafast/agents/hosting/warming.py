"""Building warm agents in a host without taking the loop from those that live there.

Stands on the nursery. How many are built, and when, the manager says.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Final

from ultrafast.agents.hosting.nursery import Nursery

__all__ = ["warm_many"]

# Builders begun between two pauses take so long together, or little more.
_SLICE_S: Final = 0.0005
# A turn of the loop that takes longer than this has others in it.
_FREE_TURN_S: Final = 0.0002
# A loop that has other work gets so many times what a slice took to itself.
_SHARE: Final = 4
_LONGEST_PAUSE_S: Final = 0.05


async def warm_many(nursery: Nursery, number: int, count: int) -> int:
    """Build warm agents of a type: how many could be.

    Parameters
    ----------
    nursery : Nursery
    number : int
        The type's.
    count : int

    Notes
    -----
    Their `on_warm` run side by side, so that one that waits holds up no other. On a loop that has
    other work, building takes about a fifth of the time.
    """
    builders: set[asyncio.Task[bool]] = set()
    began = perf_counter()
    try:
        for _ in range(count):
            builders.add(asyncio.ensure_future(nursery.warm_up(number)))
            await asyncio.sleep(0)  # it runs up to where it waits
            spent = perf_counter() - began
            if spent >= _SLICE_S:
                await asyncio.sleep(0)
                turn = perf_counter() - began - spent
                if turn > _FREE_TURN_S:
                    await asyncio.sleep(min(_SHARE * spent, _LONGEST_PAUSE_S))
                began = perf_counter()
        return sum(await asyncio.gather(*builders))
    except asyncio.CancelledError:
        for builder in builders:
            builder.cancel()
        raise
