"""Puts the parts of one process together: endpoint, bus, spawner, store, context, executor.

The manager, a worker and an attached client are made of the same parts; this is the one place that
knows how they fit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ultrafast import codec
from ultrafast.agents.context import SystemContext
from ultrafast.agents.hosting.host import TaskRunner
from ultrafast.agents.placing.spawner import Spawner
from ultrafast.bus.bridge import EventBridge
from ultrafast.bus.bus import UltraFastCommunicationBus
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.events import EnhancedEventBus
from ultrafast.config import Config
from ultrafast.core import Region, Table
from ultrafast.executor.cache import ResultCache
from ultrafast.executor.claude import DEFAULT_MODEL, ClaudeConnectionPool
from ultrafast.executor.executor import OptimizedExecutor
from ultrafast.store import UltraFastMemoryStore
from ultrafast.store.persistence import Persistence
from ultrafast.store.watch import Watches

__all__ = [
    "KEY_VARIABLE",
    "Parts",
    "assemble",
    "executor_factory",
    "host_count",
    "persistence_of",
    "restore_once",
]

# The key travels to workers in their environment, never through the region or a command line.
KEY_VARIABLE = "ANTHROPIC_API_KEY"
_FILE_SPARE: Final = 64 << 20
# Of this region only: in no snapshot.
_SPACE: Final = "ultrafast.bus"
_RESTORED: Final = "restored"

log = logging.getLogger(__name__)


class Parts(NamedTuple):
    """What `assemble` makes."""

    endpoint: Endpoint
    bus: UltraFastCommunicationBus
    spawner: Spawner
    store: UltraFastMemoryStore
    events: EnhancedEventBus
    system: SystemContext


def host_count(config: Config) -> int:
    """Processes that host agents: the workers, or the manager alone."""
    return max(1, config.workers or 0)


def assemble(
    region: Region, config: Config, inbox: str, events: EnhancedEventBus | None = None
) -> Parts:
    """The parts of one process.

    Parameters
    ----------
    region : Region
    config : Config
        The system's, with `workers` set.
    inbox : str
        Name of this process's queue.
    events : EnhancedEventBus, optional
        This process's, where it has one already.
    """
    if config.allow_pickle:
        codec.allow_pickle(True)
    endpoint = Endpoint(region, inbox, config.spin_us, int(config.loop_spin_us * 1000))
    bus = UltraFastCommunicationBus(
        endpoint,
        handlers=config.event_bus_workers,
        max_redeliveries=config.max_redeliveries,
    )
    spawner = Spawner(
        endpoint,
        hosts=host_count(config),
        mailbox_capacity=config.mailbox_capacity,
        max_agents=config.max_concurrent_agents,
    )
    store = UltraFastMemoryStore(endpoint.table)
    if events is None:
        events = EnhancedEventBus(workers=config.event_bus_workers)
    bridge = EventBridge(endpoint, bus.directory, events)
    bus.say = spawner.say = bridge.say
    bus.ahead = spawner.tell
    store.watches = Watches(bus, events, endpoint.index)
    system = SystemContext(endpoint, bus, spawner, store, events)
    return Parts(endpoint, bus, spawner, store, events, system)


def executor_factory(
    config: Config, store: UltraFastMemoryStore, concurrency: int
) -> Callable[[], TaskRunner]:
    """A maker of this process's executor, called when the first task arrives."""

    def make() -> TaskRunner:
        cache = None
        if config.result_cache_ttl_s > 0:
            cache = ResultCache(store, ttl_s=config.result_cache_ttl_s)
        pool = ClaudeConnectionPool(
            api_key=os.environ.get(KEY_VARIABLE),
            base_url=config.api_base_url,
            max_connections=concurrency,
        )
        return OptimizedExecutor(
            pool,
            concurrency=concurrency,
            cache=cache,
            default_model=config.model or DEFAULT_MODEL,
        )

    return make


def persistence_of(config: Config, table: Table, events: EnhancedEventBus) -> Persistence:
    """The store's snapshots, in the file that the Config names; on the running loop."""
    assert config.persist_path is not None
    loop = asyncio.get_running_loop()

    def tell(subject: str, payload: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(events.emit_soon, subject, payload)

    return Persistence(
        table,
        config.persist_path,
        interval_s=config.snapshot_interval_ms / 1000,
        size_max=config.persist_file_size or 4 * config.memory_store_size + _FILE_SPARE,
        on_event=tell,
    )


def restore_once(persistence: Persistence, table: Table) -> None:
    """Put what the snapshot file holds into the store, unless that was done in this region.

    A region that was adopted has newer entries, but where the start that made it died over this.
    Waits for the disk.
    """
    done = table.get(_SPACE, _RESTORED) is True
    if not done:
        table.set(_SPACE, _RESTORED, False)  # so that there is room for the word
    persistence.restore(load=not done)
    if not done and not table.set(_SPACE, _RESTORED, True):
        log.warning("no room in the store to note that its snapshot is restored")
