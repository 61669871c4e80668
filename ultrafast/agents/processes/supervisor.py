"""`Supervisor`: starts worker processes, notices deaths, recovers what they held, replaces them.

Stands on processes, pidfds and the region's recovery. A worker's successor takes over its inbox by
name; which agents live there says the region, not this module.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ultrafast.agents.processes.affinity import cpus_of
from ultrafast.agents.processes.control import (
    Adopt,
    Adopted,
    Blocked,
    Failed,
    HandedOver,
    Hello,
    Pipe,
    Place,
    Ready,
    Recycle,
    Register,
    Registered,
    Shutdown,
)
from ultrafast.agents.processes.handles import WorkerProcess
from ultrafast.agents.processes.mending import Mender
from ultrafast.agents.processes.recycling import MemoryLimit, was_handed_over
from ultrafast.agents.processes.spares import Spares, keep_from_children
from ultrafast.agents.processes.succession import Left, find_workers
from ultrafast.agents.processes.workers import Worker, WorkerState
from ultrafast.agents.registry import AgentType
from ultrafast.bus.bus import UltraFastCommunicationBus
from ultrafast.bus.endpoint import Endpoint
from ultrafast.config import Config
from ultrafast.core import now_ns
from ultrafast.core.advice import advice
from ultrafast.errors import WorkerFailed
from ultrafast.metric_names import Counter
from ultrafast.settings import encode_config

__all__ = ["Supervisor"]

log = logging.getLogger(__name__)

_START_S: Final = 60.0
_CHECK_S: Final = 0.5
_STOP_GRACE_S: Final = 2.0
_MAX_FAILED_STARTS: Final = 5


class Supervisor:
    """Keeps the workers of a manager alive.

    Parameters
    ----------
    endpoint, bus
        The manager's.
    config : Config
    types : dict
        Registered agent types by name; read at every start of a worker.
    by_value : callable
        Gives a type by its name for workers that can't import its class.
    api_key : str or None
        Given to workers in their environment.
    on_event : callable
        Called with a subject and a payload when something happens.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        bus: UltraFastCommunicationBus,
        config: Config,
        types: dict[str, AgentType],
        by_value: Callable[[str], AgentType],
        environment: dict[str, str],
        on_event: Callable[[str, Any], object],
    ) -> None:
        self._endpoint = endpoint
        self._region = endpoint.region
        self._config = config
        self._types = types
        self._by_value = by_value
        self._memory = MemoryLimit(config.worker_memory_bytes)
        spares = config.spare_workers if config.workers else 0
        self._spares = Spares(spares, environment, types, apart=config.persist)
        me = endpoint.region.slot
        self._place = Place(me, endpoint.region.owner(me).incarnation)
        self._on_event = on_event
        self._mender = Mender(endpoint, bus, on_event)
        self._workers = [Worker(index) for index in range(config.workers or 0)]
        # Who has yet to say that it knows a type: by the type's name, then the worker's index.
        self._acks: dict[str, dict[int, asyncio.Future[str | None]]] = {}
        self._stopping = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self, *, adopting: bool = False, starting: bool = True) -> None:
        """Start every worker and wait until all take messages.

        Parameters
        ----------
        adopting : bool
            Whether another manager's workers may live; those are taken over as they are.
        starting : bool
            False: no worker is started where none lives. For one who only ends the system.

        Raises
        ------
        WorkerFailed
            One did not start, and why.
        ConfigError
            `worker_affinity` names a processor that is not ours.
        """
        self._loop = asyncio.get_running_loop()
        for worker in self._workers:
            cpus_of(self._config.worker_affinity, worker.index)  # said before any is started
        if adopting:
            self._mender.close_left()
            for left in await find_workers(self._endpoint, self._config.worker_hang_timeout_s):
                self._adopt(self._workers[left.place], left)
            self._mender.recover_dead()
            self._mender.ender.finish()  # who died before was mended by whoever adopted the region
        for worker in self._workers:
            if worker.process is None and starting:
                self._launch(worker)
        self._keep(self._watch())
        expected = [each for each in self._workers if each.process is not None]
        await asyncio.gather(*(self._await_ready(worker) for worker in expected))
        self._keep(self._spares.keep(self._all_well))

    async def register(self, kind: AgentType) -> None:
        """Tell every worker about a type and wait until all know it; by value, if need be."""
        errors = await self._tell(kind)
        if errors and kind.how == "name":
            errors = await self._tell(self._by_value(kind.name))
        if errors:
            raise WorkerFailed(errors[0])

    def states(self) -> list[WorkerState]:
        """The workers, as they are now."""
        return [worker.state() for worker in self._workers]

    def pids(self) -> list[int]:
        """Process ids of the workers that run, then of the spares."""
        running = [w.process.pid for w in self._workers if w.process is not None]
        return running + self._spares.pids()

    def ready_pids(self) -> dict[int, int]:
        """Process ids of the workers that are ready, by their numbers."""
        return {
            w.index: w.process.pid
            for w in self._workers
            if w.process is not None and w.slot is not None and w.recycling is None
        }

    def spares(self) -> list[int]:
        """Process ids of those that wait to take a worker's place."""
        return self._spares.pids()

    def _all_well(self) -> bool:
        return all(w.slot is not None and w.recycling is None for w in self._workers)

    async def stop(self, timeout_s: float) -> None:
        """Stop every worker: by word, and two seconds after `timeout_s` by SIGKILL."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        self._spares.stop()
        running = [w for w in self._workers if w.process is not None]
        for worker in running:
            if worker.pipe is not None:
                worker.pipe.send(Shutdown(timeout_s=timeout_s))
        await asyncio.gather(*(self._end(worker, timeout_s) for worker in running))

    def leave(self) -> None:
        """Let go of every worker, and let it live: it waits for the next manager. Spares end."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        self._spares.stop()
        for worker in self._workers:
            self._forget(worker)

    async def _end(self, worker: Worker, timeout_s: float) -> None:
        process = worker.process
        assert process is not None
        limit_s = timeout_s + _STOP_GRACE_S
        if not await self._exited(process, limit_s):
            log.warning("worker %d did not end within %.1f s and is killed", worker.index, limit_s)
            process.kill()
            await self._exited(process, 10.0)
        self._forget(worker)
        self._mend(worker)

    async def _exited(self, process: WorkerProcess, timeout_s: float) -> bool:
        until = self._loop.time() + timeout_s
        while not process.has_ended():
            if self._loop.time() > until:
                return False
            await asyncio.sleep(0.005)
        return True

    # --- starting

    def _launch(self, worker: Worker) -> None:
        try:
            worker.pipe, worker.process = self._spares.take()
        except OSError as error:
            raise WorkerFailed(
                f"worker {worker.index} of {len(self._workers)} could not be started: {error}"
                f"{advice(error.errno)}"
            ) from error
        self._renew(worker)
        left = was_handed_over(self._endpoint.table, worker.index)
        worker.pipe.send(
            Hello(
                config=encode_config(self._config),
                index=worker.index,
                path=self._region.path,
                concurrency=self._share(worker.index),
                sys_path=list(sys.path),
                handed_over=worker.handed_over or left,
                manager=self._place,
                types=list(self._types.values()),
            )
        )
        self._listen_to(worker, worker.pipe, worker.process)

    def _renew(self, worker: Worker) -> None:
        by_value = {kind.name for kind in self._types.values() if kind.how == "value"}
        worker.renew(self._loop.create_future(), by_value)

    def _adopt(self, worker: Worker, left: Left) -> None:
        """Become the supervisor of a process that another manager started."""
        self._renew(worker)
        worker.process, worker.pipe, worker.slot = left.process, left.pipe, left.slot
        # Until it has answered and knows what types there are now.
        worker.unknown.update(self._types)
        left.pipe.send(Adopt(manager=self._place, sys_path=list(sys.path)))
        keep_from_children(left.pipe)
        self._listen_to(worker, left.pipe, left.process)

    def _met(self, worker: Worker, pipe: Pipe, frame: Adopted) -> None:
        """It knows types that nobody has registered here: for its successors they stay known."""
        for kind in frame.types:
            if kind.name not in self._types:
                self._types[kind.name] = kind
                worker.unknown.discard(kind.name)
        for kind in self._types.values():
            self._send(pipe, Register(kind=kind))
        self._on_event("worker.adopted", {"worker": worker.index, "pid": worker.state().pid})

    def _listen_to(self, worker: Worker, pipe: Pipe, process: WorkerProcess) -> None:
        pipe.socket.setblocking(False)
        self._loop.add_reader(pipe.socket.fileno(), self._heard, worker, pipe)
        self._loop.add_reader(process.pidfd, self._died, worker)

    def _share(self, index: int) -> int:
        """This worker's part of `executor_concurrency`; the parts sum up to it, but none is 0."""
        total, count = self._config.executor_concurrency, len(self._workers)
        return max(1, total // count + (index < total % count))

    async def _await_ready(self, worker: Worker) -> None:
        assert worker.ready is not None
        try:
            async with asyncio.timeout(_START_S):
                await asyncio.shield(worker.ready)
        except TimeoutError:
            raise WorkerFailed(
                f"worker {worker.index} did not start within {_START_S:g} s"
            ) from None

    def _heard(self, worker: Worker, pipe: Pipe) -> None:
        frames, alive = pipe.feed()
        if not alive:
            self._loop.remove_reader(pipe.socket.fileno())
        for frame in frames:
            if isinstance(frame, Ready):
                worker.slot = frame.slot
                worker.begun = True
                worker.failed_starts = 0
                if worker.process is not None and worker.process.is_ours:
                    told = {"worker": worker.index, "restored": frame.restored}
                    self._on_event("worker.started", told)
            elif isinstance(frame, Adopted):
                self._met(worker, pipe, frame)
            elif isinstance(frame, Registered):
                self._acknowledged(worker, pipe, frame)
            elif isinstance(frame, Failed):
                worker.error = frame.error
            elif isinstance(frame, HandedOver):
                worker.whole = frame.whole
            elif isinstance(frame, Blocked):
                worker.blocked = frame.blockage
                told = msgspec.structs.asdict(frame.blockage)
                self._on_event("worker.blocked", {"worker": worker.index, **told})
        done = worker.begun and not worker.unknown
        if done and worker.ready is not None and not worker.ready.done():
            worker.ready.set_result(None)

    def _acknowledged(self, worker: Worker, pipe: Pipe, frame: Registered) -> None:
        """A worker knows a type, or can't load it: then it is told by value, if it was not yet."""
        ack = self._acks.get(frame.name, {}).get(worker.index)
        if ack is not None and not ack.done():
            ack.set_result(frame.error)
            return
        if frame.error is None:
            worker.unknown.discard(frame.name)
            return
        if frame.name in worker.by_value:
            worker.unknown.discard(frame.name)
            log.error("worker %d: %s", worker.index, frame.error)
            return
        worker.by_value.add(frame.name)
        worker.unknown.add(frame.name)
        self._types[frame.name] = self._by_value(frame.name)
        self._send(pipe, Register(kind=self._types[frame.name]))

    def _send(self, pipe: Pipe, frame: Register | Recycle) -> None:
        """Send whole, which may wait for the worker to read."""
        pipe.socket.setblocking(True)
        pipe.send(frame)
        pipe.socket.setblocking(False)

    async def _tell(self, kind: AgentType) -> list[str]:
        """Register a type with every worker: the errors of those that refused it."""
        self._types[kind.name] = kind
        # One that starts just now was told of those before: this one it reads after its Hello.
        told = [worker for worker in self._workers if worker.pipe is not None]
        acks = {worker.index: self._loop.create_future() for worker in told}
        self._acks[kind.name] = acks
        for worker in told:
            if worker.pipe is not None:
                self._send(worker.pipe, Register(kind=kind))
        waiting: set[asyncio.Future[str | None]] = set()
        if acks:
            _, waiting = await asyncio.wait(acks.values(), timeout=_START_S)
        del self._acks[kind.name]
        if waiting:
            return [f"{len(waiting)} workers did not learn type {kind.name!r} in {_START_S:g} s"]
        return [error for ack in acks.values() if (error := ack.result()) is not None]

    # --- deaths

    def _died(self, worker: Worker) -> None:
        """The kernel says that the process is gone."""
        assert worker.process is not None
        cause = worker.process.cause()
        was_ready = worker.slot is not None
        if worker.pipe is not None:
            self._heard(worker, worker.pipe)  # what it said last
        self._forget(worker)
        if self._stopping:
            return
        self._mend(worker)
        bytes_then, worker.recycling = worker.recycling, None
        worker.handed_over = bytes_then is not None
        if bytes_then is not None:
            self._recycled(worker, bytes_then)
            return
        self._endpoint.metrics.add(Counter.WORKER_DEATHS)
        reason = worker.error or cause
        log.warning("worker %d died (%s); a successor takes over its inbox", worker.index, reason)
        self._on_event("worker.died", {"worker": worker.index, "reason": reason})
        worker.failed_starts += not was_ready
        if worker.failed_starts >= _MAX_FAILED_STARTS:
            failure = WorkerFailed(
                f"worker {worker.index} died {worker.failed_starts} times before it was ready; "
                f"last: {reason}"
            )
            if worker.ready is not None and not worker.ready.done():
                worker.ready.set_exception(failure)
                worker.ready.exception()  # whoever waits is told; nobody may
            log.error("%s; trying again in 5 s", failure)
            self._loop.call_later(5.0, self._relaunch, worker)
            return
        self._relaunch(worker)

    # --- memory

    def _look_at_memory(self) -> None:
        """Recycle a worker that takes too much, if all are well: one after the other."""
        for worker in self._workers:
            if worker.process is None or not self._all_well():
                continue
            found = self._memory.exceeded(worker.index, worker.process.pid)
            if found is not None and worker.pipe is not None:
                log.warning(
                    "worker %d takes %.0f MiB, above worker_memory_bytes (%.0f MiB): its agents "
                    "are handed over to a fresh process",
                    worker.index,
                    found / 2**20,
                    self._memory.limit / 2**20,
                )
                worker.recycling, worker.whole = found, False
                limit_s = self._config.shutdown_timeout_s
                self._send(worker.pipe, Recycle(timeout_s=limit_s))
                self._loop.call_later(limit_s + _STOP_GRACE_S, self._insist, worker, worker.process)

    def _insist(self, worker: Worker, process: WorkerProcess) -> None:
        if worker.process is process and not self._stopping:
            log.warning("worker %d did not hand over in time and is killed", worker.index)
            process.kill()

    def _recycled(self, worker: Worker, bytes_then: int) -> None:
        self._endpoint.metrics.add(Counter.RECYCLED)
        told = {"bytes": bytes_then, "limit": self._memory.limit, "whole": worker.whole}
        self._on_event("worker.recycled", {"worker": worker.index, **told})
        self._relaunch(worker)

    def _relaunch(self, worker: Worker) -> None:
        if self._stopping:
            return
        waiting = worker.ready
        worker.restarts += 1
        try:
            self._launch(worker)
        except WorkerFailed as error:
            log.error("%s; trying again in 1 s", error)
            self._loop.call_later(1.0, self._relaunch, worker)
            return
        if waiting is not None and not waiting.done():
            worker.ready = waiting

    def _forget(self, worker: Worker) -> None:
        """Let go of a dead process's descriptors."""
        if worker.process is not None:
            self._loop.remove_reader(worker.process.pidfd)
            worker.process.close()
        if worker.pipe is not None:
            self._loop.remove_reader(worker.pipe.socket.fileno())
            # Acknowledgements that it owes will not come; its successor learns the types anew.
            worker.pipe.close()
            worker.pipe = None
        worker.process = None

    def _mend(self, worker: Worker) -> None:
        """Recover the slots of whoever died; a worker that never said its slot has one too."""
        worker.slot = None
        for acks in self._acks.values():
            ack = acks.get(worker.index)
            if ack is not None and not ack.done():
                ack.set_result(None)  # its successor is told at its start
        self._mender.recover_dead()

    async def _watch(self) -> None:
        """Deaths of processes that are nobody's children, and workers that hang."""
        while True:
            await asyncio.sleep(_CHECK_S)
            self._region.beat(now_ns())
            self._mender.recover_dead()
            self._look_at_memory()
            for worker in self._workers:
                if worker.slot is None or worker.process is None:
                    continue
                silent_s = (now_ns() - self._region.owner(worker.slot).heartbeat_ns) / 1e9
                if silent_s > self._config.worker_hang_timeout_s:
                    log.error(
                        "worker %d gave no sign of life for %.1f s and is killed: %s",
                        worker.index,
                        silent_s,
                        worker.suspect(),
                    )
                    worker.error = f"hung for {silent_s:.1f} s: {worker.suspect()}"
                    worker.process.kill()
                    await asyncio.sleep(_CHECK_S)

    def _keep(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
