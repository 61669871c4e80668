"""`UltraFastAgentManager`: makes a system, keeps it running, ends it.

Stands on everything below. It owns the region, the workers and the background work; what agents and
callers do, they do through `SystemContext`, which it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from types import TracebackType
from typing import Any, Final

import msgspec

from ultrafast.agents.agent import Agent
from ultrafast.agents.assembly import (
    KEY_VARIABLE,
    assemble,
    executor_factory,
    persistence_of,
    restore_once,
)
from ultrafast.agents.builtin import BUILTIN_TYPES
from ultrafast.agents.context import SystemContext
from ultrafast.agents.hosting.blocking import watch_here
from ultrafast.agents.hosting.host import AgentHost
from ultrafast.agents.placing.pools import PoolKeeper
from ultrafast.agents.placing.rebalancing import Rebalancer
from ultrafast.agents.placing.spawner import inbox_name
from ultrafast.agents.processes.adoption import Ground, mend, refused, take_ground
from ultrafast.agents.processes.mending import MANAGER_INBOX
from ultrafast.agents.processes.supervisor import Supervisor
from ultrafast.agents.processes.termination import Termination
from ultrafast.agents.registry import (
    AgentType,
    Delivery,
    check_type,
    describe,
    redelivery_limit,
)
from ultrafast.agents.restarts import Restart, RestartWhen, restart_of
from ultrafast.agents.statistics import ManagerStatistics
from ultrafast.bus.events import EnhancedEventBus
from ultrafast.config import Config
from ultrafast.core import Region, now_ns
from ultrafast.core.leftovers import region_path, remove_region
from ultrafast.errors import (
    InvalidArgument,
    UltrafastError,
    WorkerFailed,
)
from ultrafast.monitoring.metrics import MetricsReader, PerformanceMetrics
from ultrafast.monitoring.validator import PerformanceValidator, ValidationReport
from ultrafast.store.lookout import StoreLookout
from ultrafast.store.persistence import Persistence
from ultrafast.store.reports import SnapshotDone

__all__ = ["ManagerStatistics", "UltraFastAgentManager"]

log = logging.getLogger(__name__)

_POOL_TICK_S: Final = 0.1
_WARM_S: Final = 30.0
# Entries of the store looked at a second, to give back those whose time is over.
_SWEEP_ENTRIES: Final = 4096


class UltraFastAgentManager(SystemContext):
    """A system of agents, for as long as its `async with` lasts.

    Ctrl-C ends it in order, and so does SIGTERM where the program does not handle it itself: the
    task that entered is cancelled, the system shut down, and the program ends with status 143.

    Parameters
    ----------
    config : Config, optional
        Defaults everywhere when not given.
    api_key : str, optional
        For the Messages API; the environment's ANTHROPIC_API_KEY when not given. It reaches the
        workers in their environment only.

    Attributes
    ----------
    config : Config
    name, region_path : str
        Under which other processes attach.
    bus : UltraFastCommunicationBus
    memory_store : UltraFastMemoryStore
    events : EnhancedEventBus
        What happens in the system, whatever process it happens in; docs/reference/events.md lists
        the subjects.
    adopted : bool
        Whether the start went on with what was there: agents of before live, and may be found by
        their names.
    persistence : Persistence or None
        The store's snapshots, where `Config.persist_path` is set; its `report` says what the start
        found, its `statistics()` how they go.

    Examples
    --------
    >>> async def main():  # doctest: +SKIP
    ...     async with UltraFastAgentManager() as manager:
    ...         coder = await manager.spawn_agent("coder", priority="high")
    """

    def __init__(self, config: Config | None = None, *, api_key: str | None = None) -> None:
        # The rest of a SystemContext needs the region, which `start` makes.
        config = config if config is not None else Config()
        self.name = config.name or f"{os.getpid()}-{os.urandom(3).hex()}"
        workers = len(os.sched_getaffinity(0)) if config.workers is None else config.workers
        self.config = msgspec.structs.replace(config, name=self.name, workers=workers)
        self.region_path = region_path(self.config.region_path, self.name)
        self._asked = config
        self._ground: Ground | None = None
        self.adopted = False
        self.events = EnhancedEventBus(workers=self.config.event_bus_workers)
        self._environment = dict(os.environ)
        if api_key is not None:
            self._environment[KEY_VARIABLE] = api_key
        self._types: dict[str, AgentType] = {}
        self._pre_warm: dict[str, int] = {}
        self._classes: dict[str, type[Agent]] = {}
        self._unsent: list[str] = []
        self._region: Region | None = None
        self._supervisor: Supervisor | None = None
        self._host: AgentHost | None = None
        self.persistence: Persistence | None = None
        self._background: list[asyncio.Task[None]] = []
        self._registering = asyncio.Lock()
        self._termination = Termination()
        pool = self.config.agent_pool.pre_warm
        for name, cls in BUILTIN_TYPES.items():
            self.register(name, cls, pre_warm=pool.get(name, 0))

    # --- types

    def register(
        self,
        type_name: str,
        cls: type[Agent],
        *,
        pre_warm: int = 0,
        mailbox_capacity: int | None = None,
        delivery: Delivery = "at-least-once",
        max_redeliveries: int | None = None,
        restart: Restart | RestartWhen | None = None,
        concurrency: int = 1,
        max_agents: int | None = None,
        movable: bool = False,
    ) -> None:
        """Make an agent type known, before or after the start.

        Parameters
        ----------
        type_name : str
        cls : type
            A subclass of `Agent`, from a module, a script or a notebook. Workers import it by name
            where they can; otherwise it is sent to them by value over their pipe.
        pre_warm : int
            Agents of the type to keep ready.
        mailbox_capacity : int, optional
            Messages that may wait for one agent; the Config's when not given.
        delivery : {"at-least-once", "at-most-once"}
            What becomes of messages that a worker had when it died. at-least-once: they are handled
            again, marked redelivered. at-most-once: they become dead letters with the reason
            `not_repeated`, those that waited in the worker for their turn as well.
        max_redeliveries : int, optional
            A message whose handling was begun again so often and cut short by a death each time
            becomes a dead letter with the reason `poisonous`; the Config's when not given.
        restart : Restart or {"on-failure", "always", "never"}, optional
            What is done when an agent failed; after a failure it is restarted when not given.
        concurrency : int
            Messages that one agent handles at a time; they begin in order.
        max_agents : int, optional
            Agents of the type alive at a time; one more is refused with `AgentTypeFull`.
        movable : bool
            Whether an idle agent may be given to another worker (`move_agent`, `Config.rebalance`):
            its object is built anew there, and of the old one only `self.state` is kept.

        Raises
        ------
        TypeError, ValueError
            `cls` is no agent, the name won't do, or another argument is none of those allowed.
        """
        check_type(type_name, cls)
        limit = redelivery_limit(delivery, max_redeliveries)
        capacity = self.config.mailbox_capacity if mailbox_capacity is None else mailbox_capacity
        self._classes[type_name] = cls
        kind = self._types[type_name] = describe(
            type_name,
            cls,
            mailbox_capacity=capacity,
            max_redeliveries=limit,
            restart=restart_of(restart),
            concurrency=concurrency,
            max_agents=max_agents,
            movable=movable,
        )
        self._pre_warm[type_name] = pre_warm
        if self._region is not None:
            self._spawner.publish(kind)
            self._pools.add(type_name, pre_warm)
            self._unsent.append(type_name)

    async def _send_types(self) -> None:
        """Make sure that every host knows the types registered since the start."""
        async with self._registering:
            while self._unsent:
                kind = self._types[self._unsent[0]]
                if self._host is not None:
                    self._host.register(kind)
                assert self._supervisor is not None
                await self._supervisor.register(kind)
                self._unsent.pop(0)

    def _by_value(self, name: str) -> AgentType:
        """The type as a worker gets it that can't import its class."""
        kind = self._types[name]
        if name not in self._classes:
            return kind  # an earlier manager's: there is no other way to tell of it
        by_value = describe(name, self._classes[name], mailbox_capacity=1, by_value=True)
        return msgspec.structs.replace(kind, how=by_value.how, data=by_value.data)

    # --- the system's life

    async def start(self) -> None:
        """Make the region, start the workers, fill the pools. `async with` does it.

        Raises
        ------
        RegionError
            The region can't be made, with what to change.
        WorkerFailed
            A worker did not start.
        """
        self._pid = os.getpid()
        asked = msgspec.structs.replace(self._asked, name=self.name)
        ground = await take_ground(self.region_path, asked, named=self._asked.name is not None)
        self._ground, self._region = ground, ground.region
        self.config, self.adopted = ground.config, ground.adopted
        try:
            if ground.adopted:
                await mend(ground.region)
            await self._start_on(ground.region)
        except BaseException as error:
            # What was there before is left to whoever tries again, and workers that live.
            await (self._leave() if ground.adopted else self.shutdown(timeout_s=0.0))
            if isinstance(error, OSError) and not isinstance(error, UltrafastError):
                raise refused(f"system {self.name!r} can't be started", error) from error
            raise

    async def _start_on(self, region: Region) -> None:
        config = self.config
        # Agents wait for messages under the inbox of a host: without workers the manager is host 0.
        inbox = inbox_name(0) if config.workers == 0 else MANAGER_INBOX
        parts = assemble(region, config, inbox, self.events)
        super().__init__(parts.endpoint, parts.bus, parts.spawner, parts.store, parts.events)
        self._endpoint = parts.endpoint
        self._metrics = MetricsReader(parts.endpoint.metrics, parts.endpoint.agents)
        self._pools = PoolKeeper(
            parts.endpoint,
            parts.spawner,
            config.agent_pool,
            self.events.emit_soon,
            max_agents=config.max_concurrent_agents,
        )
        self._validator = PerformanceValidator(
            self._metrics, config, self.pids, region.path, self.events.emit_soon
        )
        await self._restore()
        for name, said in config.namespaces.items():
            parts.store.namespace(name, cache=said.cache, ttl_s=said.ttl_s)
        parts.endpoint.agents.set_limit(None, config.max_concurrent_agents)
        for name, kind in self._types.items():
            parts.spawner.publish(kind)
            self._pools.add(name, self._pre_warm.get(name, 0))
        self._supervisor = Supervisor(
            parts.endpoint,
            parts.bus,
            config,
            self._types,
            self._by_value,
            self._environment,
            self.events.emit_soon,
        )
        self._rebalancer = Rebalancer(
            parts.endpoint,
            parts.spawner,
            config.rebalance_above,
            self._supervisor.ready_pids,
            self.events.emit_soon,
        )
        if config.workers == 0:
            self._host = AgentHost(
                self,
                parts.endpoint,
                executor_factory(config, parts.store, config.executor_concurrency),
                config.max_redeliveries,
            )
            watch_here(config.blocking_warning_ms, parts.endpoint, self.events.emit_soon)
        parts.endpoint.start()
        await self._supervisor.start(adopting=self.adopted)
        for kind in self._types.values():
            parts.spawner.learn(kind)  # those of an earlier manager, which workers told of, too
            if self._host is not None:
                self._host.register(kind)
        if self._host is not None and self.adopted:
            await self._host.restore_all()
        if self.adopted:
            self.events.emit_soon("region.adopted", {"path": region.path})
        await self._fill_pools()
        lookout = StoreLookout(parts.bus, parts.events, parts.endpoint.table)
        self._background = [
            asyncio.create_task(each) for each in (self._keep_pools(), lookout.run())
        ]
        if config.enable_performance_monitoring:
            interval_s = config.performance_validation_interval_ms / 1000
            self._background.append(asyncio.create_task(self._validator.run(interval_s)))

    async def _restore(self) -> None:
        """Put into the store what its snapshot file holds, and begin to make snapshots."""
        if self.config.persist_path is None:
            return
        self.persistence = persistence_of(self.config, self._endpoint.table, self.events)
        await asyncio.to_thread(restore_once, self.persistence, self._endpoint.table)
        self.persistence.start()

    async def snapshot(self) -> SnapshotDone:
        """Write what changed in the store since the last snapshot, now.

        Raises
        ------
        SnapshotError
            It could not be written; the store is as it was, and the next snapshot tries again.
        InvalidArgument
            `Config.persist_path` is None.
        """
        if self.persistence is None:
            raise InvalidArgument("no snapshots are made: Config.persist_path is None")
        return await asyncio.to_thread(self.persistence.snapshot)

    async def shutdown(self, timeout_s: float | None = None) -> None:
        """End the system: agents stop, workers end, the region is removed. May be called twice.

        So it is of a system with `persist=True`, too: `detach` leaves one that is to go on.
        """
        limit = self.config.shutdown_timeout_s if timeout_s is None else timeout_s
        await self._leave(limit)

    async def detach(self) -> None:
        """Leave the system as it is: workers and agents go on, without a manager until the next.

        The store's last snapshot is made. The next manager with the same Config takes over, as
        after this one's death, but at once and with nothing to mend.

        Raises
        ------
        InvalidArgument
            `Config.persist` is False: workers would end.
        """
        if not self.config.persist:
            raise InvalidArgument(
                "the system can't go on without a manager: Config.persist is False"
            )
        await self._leave()

    async def _leave(self, limit: float | None = None) -> None:
        """Leave; with a limit, end the system, whose agents have that time."""
        ground, self._ground = self._ground, None
        region, self._region = self._region, None
        if ground is None or region is None:
            return
        if os.getpid() != self._pid:
            if self.persistence is not None:
                self.persistence.abandon()
            region.close()  # forked off: the system is the parent's, and goes on
            return
        for task in self._background:
            task.cancel()
        for task in self._background:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._supervisor is not None:
            if limit is None:
                self._supervisor.leave()
            else:
                await self._supervisor.stop(limit)
        if self._host is not None:
            await self._host.stop_all(limit or 0.0)
        endpoint = getattr(self, "_endpoint", None)
        if endpoint is not None:
            endpoint.stop()
        if self.persistence is not None:
            await asyncio.to_thread(self.persistence.stop)
        await self.events.close()
        region.retire()
        if limit is not None:
            remove_region(self.region_path)
        ground.lock.release()

    async def __aenter__(self) -> UltraFastAgentManager:
        self._termination.begin()
        try:
            await self.start()
        except BaseException as error:  # raised again, with signals as before
            self._termination.end(type(error))
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._termination.ending()
        await asyncio.shield(self.shutdown())
        self._termination.end(exc_type)

    async def _fill_pools(self) -> None:
        """Wait until the pools have their first agents; for a bounded time."""
        until = now_ns() + int(_WARM_S * 1e9)
        while not self._pools.tick() and now_ns() < until:
            await asyncio.sleep(0.005)

    async def _keep_pools(self) -> None:
        """Refill pools ten times a second; once a second, let go of what nobody wants any more."""
        ticks = 0
        while True:
            await asyncio.sleep(_POOL_TICK_S)
            if self._unsent:
                try:
                    await self._send_types()
                except WorkerFailed as error:
                    log.error("%s", error)
            else:
                self._pools.tick()
            if any(kind.movable for kind in self._types.values()):
                self._rebalancer.tick()
            if self._host is not None:
                self._host.sweep()
            ticks += 1
            if ticks * _POOL_TICK_S >= 1.0:
                ticks = 0
                self.memory_store.sweep(_SWEEP_ENTRIES)
                self.bus.tend_groups()

    # --- what is known about it

    def pids(self) -> list[int]:
        """Process ids of the manager, its workers, and the spares."""
        workers = self._supervisor.pids() if self._supervisor is not None else []
        return [os.getpid(), *workers]

    def get_performance_metrics(self, window_s: float | None = None) -> PerformanceMetrics:
        """Latencies, counts and memory.

        Parameters
        ----------
        window_s : {1, 10, 60}, optional
            Of the last seconds; of all time when not given.
        """
        return self._metrics.read(window_s)

    def validate_performance_targets(self) -> ValidationReport:
        """Compare what was measured with the Config's targets. No samples is a failure."""
        return self._validator.validate()

    def statistics(self) -> ManagerStatistics:
        """Agents, pools, workers and the region, as they are now."""
        assert self._region is not None and self._supervisor is not None
        return ManagerStatistics(
            name=self.name,
            region_path=self.region_path,
            region_bytes=self._region.bytes,
            agents=self._spawner.counts(),
            pools=self._pools.states(),
            workers=self._supervisor.states(),
            spares=self._supervisor.spares(),
            pids=self.pids(),
        )

    def metrics_counter(self, counter: int) -> int:
        """One shared counter, summed over all processes (`ultrafast.metric_names.Counter`)."""
        value: Any = self._endpoint.metrics.read_counter(counter)
        return int(value)
