"""`Mender`: takes back what dead processes held, and gives up inboxes that nobody will take over.

Stands on the region's recovery and the bus. It starts nobody in a dead process's place.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

from ultrafast.agents.placing.ending import Ender
from ultrafast.agents.placing.spawner import HOSTS
from ultrafast.bus.bus import UltraFastCommunicationBus
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import Kind, Reason
from ultrafast.core import Receiver
from ultrafast.core._region import PHASE_LIVE
from ultrafast.core.answers import OwnerInfo, Recovery

__all__ = ["MANAGER_INBOX", "Mender"]

# Inboxes that outlive the process that empties them: a successor opens the same name.
MANAGER_INBOX: Final = "manager"
# An attached client's names its slot and incarnation, and is nobody's after them.
_CLIENT: Final = re.compile(r"client-[0-9]+-[0-9]+")


class Mender:
    """Mends a region after deaths.

    Parameters
    ----------
    endpoint, bus
        This process's.
    on_event : callable
        Called with a subject and a payload for each process that was mended.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        bus: UltraFastCommunicationBus,
        on_event: Callable[[str, Any], object],
    ) -> None:
        self._endpoint = endpoint
        self._region = endpoint.region
        self._bus = bus
        self._on_event = on_event
        self.ender = Ender(endpoint)

    def recover_dead(self) -> list[Recovery]:
        """Mend what every dead process of the region left."""
        done = [(owner, self._region.recover(owner.slot)) for owner in self._dead()]
        return self._settle(done)

    async def recover_dead_aside(self) -> list[Recovery]:
        """As `recover_dead`; the passes over the region are made in another thread."""
        done = []
        for owner in self._dead():
            done.append((owner, await asyncio.to_thread(self._region.recover, owner.slot)))
        return self._settle(done)

    def close_left(self) -> None:
        """Give up inboxes of clients whose slots are mended: a mender died before it did that."""
        queues = self._endpoint.queues
        living = {
            f"client-{owner.slot}-{owner.incarnation}"
            for owner in self._region.owners()
            if self._region.alive(owner.slot)
        }
        for queue in range(queues.count):
            name = queues.name(queue)
            if name is not None and _CLIENT.fullmatch(name) and name not in living:
                self._close_inbox(queue)

    def _dead(self) -> list[OwnerInfo]:
        return [
            owner
            for owner in self._region.owners()
            if owner.slot != self._region.slot
            and not (owner.phase == PHASE_LIVE and self._region.alive(owner.slot))
        ]

    def _settle(self, done: list[tuple[OwnerInfo, Recovery | None]]) -> list[Recovery]:
        recovered = []
        for owner, recovery in done:
            if recovery is None:
                continue
            recovered.append(recovery)
            self._bus.directory.forget(owner.slot, owner.incarnation)
            if owner.queue is not None:
                self._close_inbox(owner.queue)
            self._on_event("process.recovered", {"slot": owner.slot, **recovery._asdict()})
        if recovered:
            self.ender.finish()  # what a dead one was about to end
        return recovered

    def _close_inbox(self, queue: int) -> None:
        """Nobody will take the place of a dead client: what waits for it becomes dead letters."""
        name = self._endpoint.queues.name(queue)
        kept = name is None or name == MANAGER_INBOX or name.startswith(HOSTS)
        if kept or queue == self._endpoint.index:
            return
        receiver = Receiver(self._endpoint.queues, queue)
        while batch := receiver.adopt(1024) or receiver.take(64):
            for message in batch:
                if message.kind in (Kind.DATA, Kind.TASK):
                    self._bus.dead_letter(message, Reason.QUEUE_CLOSED)
                else:
                    message.release()
        self._endpoint.queues.close(queue)
