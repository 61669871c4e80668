"""Endpoints of several processes in one: each with its own attachment to a small region.

Stands on the doors' small region. To the region they are processes like any others: each has a
slot, and one that is closed without a word has died.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from doors.small import SMALL
from ultrafast.bus.endpoint import Endpoint
from ultrafast.core import Region
from ultrafast.core._region import ROLE_CLIENT

__all__ = ["House", "house"]


class House:
    """A region, and who is attached to it. The first of them mends what the dead leave."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.keeper = Region.create(path, SMALL)
        self._regions: list[Region] = [self.keeper]

    def endpoint(self, name: str) -> Endpoint:
        """One more process, with this inbox."""
        region = Region.attach(self._path, ROLE_CLIENT)
        self._regions.append(region)
        return Endpoint(region, name)

    def die(self, endpoint: Endpoint) -> None:
        """The process ends without a word; what it had is not yet mended."""
        endpoint.region.close()

    def mend(self) -> int:
        """Recover whoever is dead: how many."""
        slots = [owner.slot for owner in self.keeper.owners() if not self.keeper.alive(owner.slot)]
        return sum(self.keeper.recover(slot) is not None for slot in slots)

    def close(self) -> None:
        """End all."""
        for region in reversed(self._regions):
            region.close()


@contextmanager
def house(path: Path) -> Iterator[House]:
    """A house that is closed with the block."""
    made = House(path)
    try:
        yield made
    finally:
        made.close()
