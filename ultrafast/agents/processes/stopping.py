"""`stop_system` and `look_at`: a system ended, or looked at, from outside and by its name.

For the command line, and for systems that lost their manager. Stands on adoption and the
supervisor; a living manager is asked by SIGTERM, and ends its system itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Final, Literal

import msgspec

from ultrafast.agents.assembly import assemble, persistence_of, restore_once
from ultrafast.agents.processes.adoption import Ground, adopt, mend
from ultrafast.agents.processes.handles import WorkerProcess, find
from ultrafast.agents.processes.mending import MANAGER_INBOX
from ultrafast.agents.processes.succession import index_of
from ultrafast.agents.processes.supervisor import Supervisor
from ultrafast.agents.registry import AgentType
from ultrafast.bus.events import EnhancedEventBus
from ultrafast.core import Queues, Region, now_ns
from ultrafast.core._region import PHASE_LIVE, ROLE_CLIENT, ROLE_MANAGER, ROLE_WORKER
from ultrafast.core.answers import OwnerInfo
from ultrafast.core.leftovers import remove_region
from ultrafast.errors import RegionMissing, Timeout
from ultrafast.settings import decode_config

__all__ = ["Seen", "SeenWorker", "look_at", "stop_system"]

_LOOK_S: Final = 0.02
_GRACE_S: Final = 5.0


class SeenWorker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as its slot in the region tells of it.

    Attributes
    ----------
    index : int or None
        Its place; None before it has one.
    pid : int
    silent_s : float
        Since its last sign of life.
    age_s : float
        Since it came.
    """

    index: int | None
    pid: int
    silent_s: float
    age_s: float


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A system, as its region tells of it.

    Attributes
    ----------
    name, path : str
    persist : bool
    manager : int or None
        Process id; None: it has none.
    wanted : int
        Workers that it is to have.
    workers : list of SeenWorker
        Those that live.
    clients, dead : int
        Attached processes, and those that died and are not mended yet.
    """

    name: str
    path: str
    persist: bool
    manager: int | None
    wanted: int
    workers: list[SeenWorker]
    clients: int
    dead: int


def look_at(path: str) -> Seen:
    """A system as it is now; nothing of it is changed.

    Parameters
    ----------
    path : str
        Of its region.

    Raises
    ------
    RegionError
        There is none, or it is not this user's.
    """
    with Region.attach(path, read_only=True) as region:
        config = decode_config(region.settings)
        queues = Queues(region)
        owners = region.owners()
        alive = [each for each in owners if each.phase == PHASE_LIVE and region.alive(each.slot)]
        workers = [each for each in alive if each.role == ROLE_WORKER]
        return Seen(
            name=config.name or "",
            path=path,
            persist=config.persist,
            manager=next((each.pid for each in alive if each.role == ROLE_MANAGER), None),
            wanted=config.workers or 0,
            workers=sorted(
                (_worker(each, queues) for each in workers), key=lambda each: each.index or 0
            ),
            clients=sum(each.role == ROLE_CLIENT for each in alive),
            dead=len(owners) - len(alive),
        )


async def stop_system(path: str, timeout_s: float | None = None) -> Literal["asked", "ended"]:
    """End a system in order: agents stop, workers end, its region is removed.

    Parameters
    ----------
    path : str
        Of its region.
    timeout_s : float, optional
        How long agents have; the Config's `shutdown_timeout_s` when not given. A living manager
        goes by its Config.

    Returns
    -------
    {"asked", "ended"}
        Its manager lived, was sent SIGTERM and has ended; or it had none, and this process did it.

    Raises
    ------
    RegionError
        There is no such system, or it is not this user's.
    Timeout
        Its manager did not end: its program may handle SIGTERM itself.
    """
    manager = _manager_of(path)
    if manager is not None:
        process, limit_s = manager
        try:
            await _ask(process, limit_s if timeout_s is None else timeout_s)
        finally:
            process.close()
        return "asked"
    ground = await adopt(path, None)
    if ground is None:
        raise RegionMissing(f"{path}: there is no system to end")
    try:
        await mend(ground.region)
        await _end(ground, timeout_s)
    finally:
        ground.region.retire()
        ground.lock.release()
    return "ended"


async def _end(ground: Ground, timeout_s: float | None) -> None:
    config, region = ground.config, ground.region
    limit_s = config.shutdown_timeout_s if timeout_s is None else timeout_s
    events = EnhancedEventBus(workers=1)
    parts = assemble(region, config, MANAGER_INBOX, events)
    environment = dict(os.environ)
    types: dict[str, AgentType] = {}  # those that its workers know
    supervisor = Supervisor(
        parts.endpoint, parts.bus, config, types, types.__getitem__, environment, events.emit_soon
    )
    parts.endpoint.start()
    try:
        await supervisor.start(adopting=True, starting=False)
    except BaseException:  # raised again; who lives waits for the next who tries
        supervisor.leave()
        parts.endpoint.stop()
        raise
    await supervisor.stop(limit_s)
    parts.endpoint.stop()
    if config.persist_path is not None:
        persistence = persistence_of(config, parts.endpoint.table, events)
        await asyncio.to_thread(restore_once, persistence, parts.endpoint.table)
        await asyncio.to_thread(persistence.snapshot)
        await asyncio.to_thread(persistence.stop)
    await events.close()
    remove_region(region.path)


def _manager_of(path: str) -> tuple[WorkerProcess, float] | None:
    """The process that manages a system, if one does, and how long it takes to end it."""
    with Region.attach(path, read_only=True) as region:
        for owner in region.owners():
            if owner.role == ROLE_MANAGER and region.alive(owner.slot):
                process = find(region, owner)
                if process is not None:
                    return process, decode_config(region.settings).shutdown_timeout_s
    return None


async def _ask(process: WorkerProcess, limit_s: float) -> None:
    signal.pidfd_send_signal(process.pidfd, signal.SIGTERM)
    until = time.monotonic() + limit_s + _GRACE_S
    while not process.has_ended():
        if time.monotonic() > until:
            raise Timeout(
                f"the manager, process {process.pid}, was sent SIGTERM and has not ended in "
                f"{limit_s + _GRACE_S:g} s: its program may handle that signal itself"
            )
        await asyncio.sleep(_LOOK_S)


def _worker(owner: OwnerInfo, queues: Queues) -> SeenWorker:
    name = None if owner.queue is None else queues.name(owner.queue)
    return SeenWorker(
        index=index_of(name),
        pid=owner.pid,
        silent_s=max(0.0, (now_ns() - owner.heartbeat_ns) / 1e9) if owner.heartbeat_ns else 0.0,
        age_s=max(0.0, time.time() - owner.started_ns / 1e9),
    )
