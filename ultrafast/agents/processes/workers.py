"""`Worker`: a place for a worker process, and what the manager knows of it; `WorkerState` says it.

Stands on the control pipe and the operating system. Does nothing: the supervisor does.
"""

from __future__ import annotations

import asyncio
import os

import msgspec

from ultrafast.agents.hosting.blocking import Blockage
from ultrafast.agents.processes.control import Pipe
from ultrafast.agents.processes.handles import WorkerProcess
from ultrafast.agents.processes.recycling import own_bytes

__all__ = ["Worker", "WorkerState"]


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """A worker, for `statistics`.

    Attributes
    ----------
    index, pid, slot : int
    ready : bool
    restarts : int
        Successors started in its place.
    cpus : list of int
        Processors that it may run on, as the operating system says; empty where it is gone.
    own_bytes : int
        Its memory that is no part of the region or of files, as `worker_memory_bytes` counts it.
    """

    index: int
    pid: int
    slot: int | None
    ready: bool
    restarts: int
    cpus: list[int] = []
    own_bytes: int = 0


class Worker:
    """One place for a worker process, and the process that fills it now."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: WorkerProcess | None = None
        self.pipe: Pipe | None = None
        self.slot: int | None = None
        self.ready: asyncio.Future[None] | None = None
        # It said that it takes messages; an adopted one has its slot before that.
        self.begun = False
        self.restarts = 0
        self.failed_starts = 0
        self.error: str | None = None
        self.blocked: Blockage | None = None
        # It was told to hand over: what it took then. And whether it says that it did, whole.
        self.recycling: int | None = None
        self.whole = False
        self.handed_over = False
        # Types that it could not import and has yet to learn by value, and all it was told so.
        self.unknown: set[str] = set()
        self.by_value: set[str] = set()

    def renew(self, ready: asyncio.Future[None], by_value: set[str]) -> None:
        """Forget the last process's; another fills the place."""
        self.slot = None
        self.begun = False
        self.error = None
        self.blocked = None
        self.unknown.clear()
        self.by_value = by_value
        self.ready = ready

    def suspect(self) -> str:
        """Who may keep its loop from turning."""
        if self.blocked is None:
            return "one of its handlers blocks the loop"
        who = self.blocked
        return f"the last that blocked its loop was agent {who.agent:#x} ({who.type})"

    def state(self) -> WorkerState:
        """It, for `statistics`."""
        pid = 0 if self.process is None else self.process.pid
        return WorkerState(
            index=self.index,
            pid=pid,
            slot=self.slot,
            ready=self.ready is not None and self.ready.done() and self.slot is not None,
            restarts=self.restarts,
            cpus=_cpus(self.process),
            own_bytes=own_bytes(pid) if pid else 0,
        )


def _cpus(process: WorkerProcess | None) -> list[int]:
    try:
        return [] if process is None else sorted(os.sched_getaffinity(process.pid))
    except OSError:
        return []  # it has died
