"""Workers that a manager left behind, found by its successor: `find_workers`.

Stands on process slots, pidfds and doors. Which worker a process is says its inbox; what it is told
afterwards is the supervisor's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from ultrafast.agents.placing.spawner import HOSTS
from ultrafast.agents.processes.control import Pipe
from ultrafast.agents.processes.door import knock
from ultrafast.agents.processes.handles import WorkerProcess, find, is_same
from ultrafast.bus.endpoint import Endpoint
from ultrafast.core import now_ns
from ultrafast.core._region import ROLE_WORKER
from ultrafast.core.answers import OwnerInfo
from ultrafast.errors import WorkerFailed

__all__ = ["Left", "find_workers", "index_of"]

T = TypeVar("T")

log = logging.getLogger(__name__)

_MEET_S: Final = 60.0
_PAUSE_S: Final = 0.01


class Left(NamedTuple):
    """A worker without a manager: its place, its slot, its process, and our end of a pipe to it."""

    place: int
    slot: int
    process: WorkerProcess
    pipe: Pipe


def index_of(inbox: str | None) -> int | None:
    """The place of the worker that empties an inbox; None for an inbox of no worker."""
    number = inbox.removeprefix(HOSTS) if inbox is not None and inbox.startswith(HOSTS) else ""
    return int(number) if number.isdecimal() else None


async def find_workers(endpoint: Endpoint, hang_s: float) -> list[Left]:
    """Every worker that lives, met at its door; one that gives no sign of life is killed.

    Parameters
    ----------
    endpoint : Endpoint
        The successor's.
    hang_s : float
        How long a worker may give none.

    Raises
    ------
    WorkerFailed
        One lives and can't be reached.
    """
    owners = [
        owner
        for owner in endpoint.region.owners()
        if owner.role == ROLE_WORKER and endpoint.region.alive(owner.slot)
    ]
    met = await asyncio.gather(
        *(_Meeting(endpoint, owner, hang_s).meet() for owner in owners), return_exceptions=True
    )
    left = [each for each in met if isinstance(each, Left)]
    for each in met:
        if isinstance(each, BaseException):
            for other in left:
                other.pipe.close()  # it waits for the next who comes
                other.process.close()
            raise each
    return left


class _Meeting:
    """With one worker."""

    def __init__(self, endpoint: Endpoint, owner: OwnerInfo, hang_s: float) -> None:
        self._endpoint = endpoint
        self._region = endpoint.region
        self._owner = owner
        self._hang_s = hang_s

    async def meet(self) -> Left | None:
        """None: it died, or was killed because it hangs."""
        process = find(self._region, self._owner)
        if process is None:
            return None
        pipe = None
        try:
            pipe = await self._until(lambda: knock(self._region, self._owner), process)
            index = await self._until(self._index, process)
        except BaseException:  # cancelled too: raised again, and it waits on
            if pipe is not None:
                pipe.close()
            process.close()
            raise
        if pipe is None or index is None:
            if pipe is not None:
                pipe.close()
            process.close()
            return None
        return Left(index, self._owner.slot, process, pipe)

    def _index(self) -> int | None:
        queue = self._region.owner(self._owner.slot).queue
        return None if queue is None else index_of(self._endpoint.queues.name(queue))

    async def _until(self, look: Callable[[], T | None], process: WorkerProcess) -> T | None:
        began_ns = now_ns()
        while (found := look()) is None:
            if process.has_ended() or not is_same(self._region, self._owner):
                return None
            waited_s = (now_ns() - began_ns) / 1e9
            beat_ns = max(self._region.owner(self._owner.slot).heartbeat_ns, began_ns)
            if (now_ns() - beat_ns) / 1e9 > self._hang_s:
                log.error("worker process %d hangs in its start and is killed", process.pid)
                process.kill()
                while not process.has_ended():
                    await asyncio.sleep(_PAUSE_S)
                return None
            if waited_s > _MEET_S:
                raise WorkerFailed(
                    f"{self._region.path}: worker process {process.pid} lives and can't be reached "
                    f"for {_MEET_S:g} s: is it in another network namespace (a container)?"
                )
            await asyncio.sleep(_PAUSE_S)
        return found
