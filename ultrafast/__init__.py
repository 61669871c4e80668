"""An agent runtime on shared memory: typed agents in worker processes, lock-free queues.

A map of this directory, each layer standing only on those before it:

`errors` `config` `codec` `metric_names`  the vocabulary
`core/`        doors onto the C core: regions, queues, the table, agent records, metrics
`sizing`       from a Config to the sizes of a region
`bus/`         messages to agents, requests, publications, events      `store/`  the shared store
`executor/`    tasks done by Claude                 `agents/`  agents, workers, pools, supervision
`monitoring/`  what the system measures of itself
`manager` `client` `connection`  the ways into a system: make one, join one, use its queues
`jobs/` `validation/` `testing/` `cli/`  what is built on these public names

Names are imported when they are first used, so that `import ultrafast` costs little.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ultrafast._version import __version__

if TYPE_CHECKING:
    from ultrafast.agents.agent import Agent, IncomingMessage, in_thread
    from ultrafast.agents.context import Context
    from ultrafast.agents.hosting.timers import Timer
    from ultrafast.agents.monitors import AgentEnded, Monitor
    from ultrafast.agents.restarts import Restart
    from ultrafast.agents.state import State
    from ultrafast.bus.bus import UltraFastCommunicationBus
    from ultrafast.bus.consumer import Consumer, WorkItem
    from ultrafast.bus.deadletters import DeadLetter
    from ultrafast.bus.events import EnhancedEventBus
    from ultrafast.bus.plainqueue import Queue
    from ultrafast.bus.queuereceiver import QueueReceiver
    from ultrafast.bus.subscription import Publication, Subscription
    from ultrafast.bus.topics import TopicMatcher
    from ultrafast.bus.workqueue import WorkQueue
    from ultrafast.client import Client, attach
    from ultrafast.config import AgentPoolConfig, AlertThresholds, Config, NamespaceConfig
    from ultrafast.connection import Connection, connect
    from ultrafast.errors import UltrafastError
    from ultrafast.executor.cache import TTLMap
    from ultrafast.executor.claude import ClaudeConnectionPool
    from ultrafast.executor.executor import OptimizedExecutor
    from ultrafast.executor.files import AsyncFileManager
    from ultrafast.executor.profiles import Profile
    from ultrafast.executor.tasks import Constraints, Result, Task, Usage
    from ultrafast.manager import ManagerStatistics, UltraFastAgentManager
    from ultrafast.monitoring.metrics import LatencySummary, PerformanceMetrics
    from ultrafast.monitoring.validator import PerformanceValidator, ValidationReport
    from ultrafast.store import UltraFastMemoryStore
    from ultrafast.store.limits import SharedSemaphore, TokenBucket
    from ultrafast.store.persistence import Persistence
    from ultrafast.store.reports import (
        DamagedEntry,
        PersistenceStatistics,
        RestoreReport,
        SnapshotDone,
    )

_HOMES = {
    "Agent": "agents.agent",
    "AgentEnded": "agents.monitors",
    "AgentPoolConfig": "config",
    "AlertThresholds": "config",
    "AsyncFileManager": "executor.files",
    "ClaudeConnectionPool": "executor.claude",
    "Client": "client",
    "Config": "config",
    "Connection": "connection",
    "Constraints": "executor.tasks",
    "Consumer": "bus.consumer",
    "Context": "agents.context",
    "DamagedEntry": "store.reports",
    "DeadLetter": "bus.deadletters",
    "EnhancedEventBus": "bus.events",
    "IncomingMessage": "agents.agent",
    "LatencySummary": "monitoring.metrics",
    "ManagerStatistics": "manager",
    "Monitor": "agents.monitors",
    "NamespaceConfig": "config",
    "OptimizedExecutor": "executor.executor",
    "PerformanceMetrics": "monitoring.metrics",
    "PerformanceValidator": "monitoring.validator",
    "Persistence": "store.persistence",
    "PersistenceStatistics": "store.reports",
    "Profile": "executor.profiles",
    "Publication": "bus.subscription",
    "Queue": "bus.plainqueue",
    "QueueReceiver": "bus.queuereceiver",
    "Restart": "agents.restarts",
    "RestoreReport": "store.reports",
    "Result": "executor.tasks",
    "SharedSemaphore": "store.limits",
    "SnapshotDone": "store.reports",
    "State": "agents.state",
    "Subscription": "bus.subscription",
    "TTLMap": "executor.cache",
    "Task": "executor.tasks",
    "Timer": "agents.hosting.timers",
    "TokenBucket": "store.limits",
    "TopicMatcher": "bus.topics",
    "UltraFastAgentManager": "manager",
    "UltraFastCommunicationBus": "bus.bus",
    "UltraFastMemoryStore": "store",
    "UltrafastError": "errors",
    "Usage": "executor.tasks",
    "ValidationReport": "monitoring.validator",
    "WorkItem": "bus.consumer",
    "WorkQueue": "bus.workqueue",
    "attach": "client",
    "connect": "connection",
    "in_thread": "agents.agent",
}

__all__ = [
    "Agent",
    "AgentEnded",
    "AgentPoolConfig",
    "AlertThresholds",
    "AsyncFileManager",
    "ClaudeConnectionPool",
    "Client",
    "Config",
    "Connection",
    "Constraints",
    "Consumer",
    "Context",
    "DamagedEntry",
    "DeadLetter",
    "EnhancedEventBus",
    "IncomingMessage",
    "LatencySummary",
    "ManagerStatistics",
    "Monitor",
    "NamespaceConfig",
    "OptimizedExecutor",
    "PerformanceMetrics",
    "PerformanceValidator",
    "Persistence",
    "PersistenceStatistics",
    "Profile",
    "Publication",
    "Queue",
    "QueueReceiver",
    "Restart",
    "RestoreReport",
    "Result",
    "SharedSemaphore",
    "SnapshotDone",
    "State",
    "Subscription",
    "TTLMap",
    "Task",
    "Timer",
    "TokenBucket",
    "TopicMatcher",
    "UltraFastAgentManager",
    "UltraFastCommunicationBus",
    "UltraFastMemoryStore",
    "UltrafastError",
    "Usage",
    "ValidationReport",
    "WorkItem",
    "WorkQueue",
    "__version__",
    "attach",
    "connect",
    "in_thread",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ultrafast' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ultrafast.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
