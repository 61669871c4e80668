"""`Caretaker`: what a manager does for everybody, done by a worker while there is none.

Dead processes are mended, what they wanted is forgotten, and entries whose time is over are given
back; of the workers, the one in the lowest slot does it. Nobody is started in a dead worker's
place, pools are not refilled, and groups without a member keep what waits for one: all that is for
the next manager. Stands on the mender.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ultrafast.agents.assembly import Parts
from ultrafast.agents.processes.mending import Mender
from ultrafast.core._region import ROLE_WORKER

__all__ = ["Caretaker"]

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.5
_SWEEP_ENTRIES: Final = 2048


class Caretaker:
    """Looks after a system without a manager.

    Parameters
    ----------
    parts : Parts
        This process's.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._region = parts.endpoint.region
        self._mender = Mender(parts.endpoint, parts.bus, parts.bus.say)

    async def run(self) -> None:
        """Do so until cancelled."""
        while True:
            if self._is_first():
                for mended in await self._mender.recover_dead_aside():
                    log.warning("slot %d is mended after its process's death", mended.slot)
                self._parts.bus.directory.forget_dead()
                self._parts.store.sweep(_SWEEP_ENTRIES)
            await asyncio.sleep(_LOOK_S)

    def _is_first(self) -> bool:
        workers = (
            owner.slot
            for owner in self._region.owners()
            if owner.role == ROLE_WORKER and self._region.alive(owner.slot)
        )
        return min(workers, default=self._region.slot) == self._region.slot
