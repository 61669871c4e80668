"""A worker process: `python -P -m ultrafast.agents.processes.worker FD`, started by a manager.

It attaches to the region under a name that its predecessor had, takes over that inbox, hosts
agents, and ends when the manager says so or is gone; of a persistent system it goes on then, and
waits at its door for the next manager. Stands on the host, the pipe and the executor.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from math import inf
from time import monotonic
from typing import Final

from ultrafast.agents.assembly import Parts, assemble, executor_factory
from ultrafast.agents.hosting.blocking import LoopWatch
from ultrafast.agents.hosting.host import AgentHost
from ultrafast.agents.placing.spawner import inbox_name
from ultrafast.agents.processes.affinity import cpus_of
from ultrafast.agents.processes.caretaker import Caretaker
from ultrafast.agents.processes.control import (
    Adopt,
    Adopted,
    Blocked,
    Failed,
    Frame,
    HandedOver,
    Hello,
    Pipe,
    Place,
    Prepare,
    Ready,
    Recycle,
    Register,
    Registered,
    Shutdown,
)
from ultrafast.agents.processes.door import Door, Visit
from ultrafast.agents.processes.recycling import hand_over, note_handover
from ultrafast.agents.registry import AgentType, load
from ultrafast.core import Region, now_ns
from ultrafast.core._region import ROLE_WORKER
from ultrafast.core.leftovers import remove_leftovers
from ultrafast.errors import UltrafastError
from ultrafast.settings import decode_config

__all__ = ["main", "new_event_loop"]

log = logging.getLogger(__name__)

_BEAT_S: Final = 0.5
_ORPHANED_S: Final = 2.0
# Of waiting at the door without a look at whether to end.
_VISIT_S: Final = 0.5


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed, asyncio's otherwise."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class _Worker:
    def __init__(self, pipe: Pipe, hello: Hello) -> None:
        self._pipe = pipe
        self._hello = hello
        self._config = decode_config(hello.config)
        self._end: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        self._recycling: asyncio.Task[None] | None = None
        self._manager_lives = True
        self._door: Door | None = None
        # What the listening thread and the loop both have: the pipe to say so on, and what to say.
        self._lock = threading.Lock()
        self._ready: Ready | None = None
        self._types: dict[str, AgentType] = {}
        self._care: asyncio.Task[None] | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        cpus = cpus_of(self._config.worker_affinity, self._hello.index)
        if cpus is not None:
            os.sched_setaffinity(0, cpus)
        region = Region.attach(self._hello.path, ROLE_WORKER)
        region.beat(now_ns())
        if self._config.persist:
            self._door = Door(region)
            if not _lives(region, self._hello.manager):
                # A later manager did not see this process when it looked for workers: it has
                # started another in this place. One that looks from here on does see it.
                region.close()
                return
        parts = assemble(region, self._config, inbox_name(self._hello.index))
        host = AgentHost(
            parts.system,
            parts.endpoint,
            executor_factory(self._config, parts.store, self._hello.concurrency),
            self._config.max_redeliveries,
        )
        host.handed_over = self._hello.handed_over
        host.patience_s = self._config.worker_hang_timeout_s
        for kind in self._hello.types:
            self._told(Register(kind=kind), host, parts)
        threading.Thread(target=self._listen, args=(loop, host, parts), daemon=True).start()
        watch = LoopWatch(
            self._config.blocking_warning_ms,
            parts.endpoint.metrics,
            lambda blockage: self._pipe.send(Blocked(blockage)),
        )
        parts.endpoint.at_stop(watch.stop)
        parts.endpoint.start()
        restored = await host.restore_all()
        self._caretaker = Caretaker(parts)
        if self._door is not None:
            loop.add_signal_handler(signal.SIGTERM, self._terminated)
        with self._lock:
            self._ready = Ready(slot=region.slot, restored=restored)
            self._pipe.send(self._ready)
        self._left_alone()
        beat = loop.create_task(self._beat(region, host))
        timeout_s = await self._end
        beat.cancel()
        if self._care is not None:
            self._care.cancel()
        if timeout_s is None:
            # As after a death, its messages are its successor's: an orderly end would free them.
            logging.shutdown()
            sys.stdout.flush()
            os._exit(0)
        await host.stop_all(timeout_s)
        parts.endpoint.stop()
        path = region.path
        region.retire()
        if not self._manager_lives:
            remove_leftovers(os.path.dirname(path))

    async def _beat(self, region: Region, host: AgentHost) -> None:
        while True:
            region.beat(now_ns())
            host.sweep()
            await asyncio.sleep(_BEAT_S)

    async def _recycle(self, parts: Parts, host: AgentHost, timeout_s: float) -> None:
        whole = await hand_over(host, parts.endpoint, parts.spawner, timeout_s)
        note_handover(parts.endpoint.table, self._hello.index)
        self._pipe.send(HandedOver(whole=whole))
        self._finish(None)

    def _finish(self, timeout_s: float | None) -> None:
        if not self._end.done():
            self._end.set_result(timeout_s)

    def _listen(self, loop: asyncio.AbstractEventLoop, host: AgentHost, parts: Parts) -> None:
        """In a thread: the manager's end must be noticed while a handler blocks the loop."""
        while True:
            while (frame := self._pipe.receive()) is not None:
                loop.call_soon_threadsafe(self._told, frame, host, parts)
            self._manager_lives = False
            if not self._wait_for_successor(loop):
                break
        limit_s = self._config.shutdown_timeout_s if self._config.persist else 0.0
        loop.call_soon_threadsafe(self._finish, limit_s)
        threading.Event().wait(limit_s + _ORPHANED_S)
        # The loop is stuck in a handler. What this process leaves, the next start removes.
        os._exit(1)

    # --- without a manager

    def _wait_for_successor(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Wait at the door; False: this process is to end."""
        if self._door is None:
            return False
        loop.call_soon_threadsafe(self._left_alone)
        limit_s = self._config.persist_timeout_s
        until = monotonic() + limit_s if limit_s else inf
        while not self._end.done() and (left_s := until - monotonic()) > 0.0:
            visit = self._door.visit(min(left_s, _VISIT_S))
            if visit is not None and self._welcome(visit):
                loop.call_soon_threadsafe(self._adopted, visit.adopt)
                return True
        return False

    def _welcome(self, visit: Visit) -> bool:
        with self._lock:
            if self._end.done():
                visit.pipe.close()  # it learns of our end from the kernel
                return False
            self._pipe.close()
            self._pipe = visit.pipe
            self._manager_lives = True
            self._pipe.send(Adopted(index=self._hello.index, types=list(self._types.values())))
            if self._ready is not None:
                self._pipe.send(self._ready)
            return True

    def _left_alone(self) -> None:
        """Take care of the system, if there is no manager and this process is ready to."""
        lonely = self._door is not None and not self._manager_lives
        if not lonely or self._ready is None or self._care is not None:
            return
        log.warning("the manager is gone; waiting for the next one, agents go on")
        self._care = asyncio.get_running_loop().create_task(self._caretaker.run())

    def _adopted(self, adopt: Adopt) -> None:
        sys.path += [each for each in adopt.sys_path if each not in sys.path]
        if self._care is not None:
            self._care.cancel()
            self._care = None

    def _terminated(self) -> None:
        """SIGTERM: what it means the manager decides; without one it is an order."""
        if self._door is not None and not self._manager_lives:
            self._finish(self._config.shutdown_timeout_s)

    def _told(self, frame: Frame, host: AgentHost, parts: Parts) -> None:
        if isinstance(frame, Register):
            error = None
            try:
                host.register(frame.kind)
                parts.spawner.learn(frame.kind)
                self._types[frame.kind.name] = frame.kind
            except UltrafastError as failure:
                error = str(failure)
            self._pipe.send(Registered(name=frame.kind.name, error=error))
        elif isinstance(frame, Recycle) and self._recycling is None:
            self._recycling = asyncio.create_task(self._recycle(parts, host, frame.timeout_s))
        elif isinstance(frame, Shutdown):
            self._finish(frame.timeout_s)


def _lives(region: Region, manager: Place) -> bool:
    owner = region.owner(manager.slot)
    return owner.incarnation == manager.incarnation and region.alive(manager.slot)


def main() -> int:
    """Run a worker on the pipe whose descriptor is the first argument."""
    logging.basicConfig(
        level=os.environ.get("ULTRAFAST_LOG", "WARNING").upper(),
        format=f"%(levelname)s worker {os.getpid()} %(name)s: %(message)s",
    )
    # Ctrl-C reaches the whole foreground group, and a service manager's SIGTERM every process: what
    # they mean the manager decides, and its end is told by the pipe. Where there may be none, the
    # worker takes SIGTERM once it runs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe = Pipe(socket.socket(fileno=int(sys.argv[1])))
    hello = pipe.receive()
    while isinstance(hello, Prepare):
        _prepare(hello)
        hello = pipe.receive()
    if not isinstance(hello, Hello):
        return 1
    sys.path[:] = hello.sys_path
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_run(pipe, hello))
    except UltrafastError as error:
        pipe.send(Failed(error=f"{type(error).__name__}: {error}"))
        return 1
    return 0


def _prepare(frame: Prepare) -> None:
    """Import what a worker will need; what can't be had now is complained of when it is needed."""
    sys.path[:] = frame.sys_path
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: F401 - whoever needs it finds it loaded
    for kind in frame.types:
        with contextlib.suppress(UltrafastError):
            load(kind)


async def _run(pipe: Pipe, hello: Hello) -> None:
    await _Worker(pipe, hello).run()


if __name__ == "__main__":
    sys.exit(main())
