"""`SystemContext`: what any process of a system can do; `Context`: the same in an agent's name.

Stands on the bus, the store and `Spawner`. The manager, an attached client and every agent share
this one set of methods, so that what works in one place works in all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ultrafast.agents.hosting.errands import within_time
from ultrafast.agents.hosting.timers import Timer
from ultrafast.agents.monitors import Monitor
from ultrafast.agents.placing.spawner import Spawner
from ultrafast.agents.population import Population
from ultrafast.agents.state import State
from ultrafast.bus.bus import UltraFastCommunicationBus
from ultrafast.bus.consumer import Acknowledge, Consumer
from ultrafast.bus.deadletters import DeadLetter
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.events import EnhancedEventBus
from ultrafast.bus.subscription import Publication, Subscription, WhenFull
from ultrafast.bus.wire import Kind, ttl_ms_of
from ultrafast.bus.workqueue import WorkQueue
from ultrafast.core import Loan, Outlet, now_ns
from ultrafast.errors import MessageExpired, TaskTimeout, UltrafastError
from ultrafast.executor.executor import failed_result
from ultrafast.executor.profiles import Profile
from ultrafast.executor.tasks import Result, Task
from ultrafast.metric_names import Counter, Histogram
from ultrafast.store import UltraFastMemoryStore

if TYPE_CHECKING:
    import numpy as np

    from ultrafast.agents.hosting.host import AgentHost

__all__ = ["Context", "SystemContext"]

_GRACE_S = 5.0
_TTL_S_MAX = 4_000_000.0


class SystemContext(Population):
    """Messages, publications, the store, agents and tasks.

    Parameters
    ----------
    endpoint : Endpoint
        This process's.
    bus, spawner, store, events
        Built on it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        bus: UltraFastCommunicationBus,
        spawner: Spawner,
        store: UltraFastMemoryStore,
        events: EnhancedEventBus,
    ) -> None:
        super().__init__(endpoint, bus, spawner)
        self.events = events
        self.memory_store = store

    # --- messages

    async def send_message(
        self,
        sender: int | None,
        receiver: int,
        body: Any,
        *,
        priority: str | int = "normal",
        timeout_s: float = 0.0,
        ttl_s: float | None = None,
    ) -> bool:
        """Send a message; see `UltraFastCommunicationBus.send`."""
        return await self.bus.send(
            sender, receiver, body, priority=priority, timeout_s=timeout_s, ttl_s=ttl_s
        )

    async def send_messages(
        self,
        sender: int | None,
        items: Sequence[tuple[int, Any]],
        *,
        priority: str | int = "normal",
    ) -> list[bool]:
        """Send (receiver, body) pairs, in batches: for each, whether it was accepted."""
        return self.bus.send_many_nowait(sender, items, priority=priority)

    async def request(
        self,
        sender: int | None,
        receiver: int,
        body: Any,
        *,
        priority: str | int = "normal",
        timeout_s: float = 5.0,
        ttl_s: float | None = None,
    ) -> Any:
        """Send a message and wait for the answer; see `UltraFastCommunicationBus.request`."""
        return await self.bus.request(
            sender, receiver, body, priority=priority, timeout_s=timeout_s, ttl_s=ttl_s
        )

    async def publish(
        self,
        subject: str,
        payload: Any,
        *,
        priority: str | int = "normal",
        timeout_s: float = 0.0,
        ttl_s: float | None = None,
    ) -> bool:
        """Give a payload to all who subscribed; see `UltraFastCommunicationBus.publish`."""
        return await self.bus.publish(
            subject, payload, priority=priority, timeout_s=timeout_s, ttl_s=ttl_s
        )

    def subscribe(
        self,
        pattern: str,
        callback: Callable[[Publication], Any] | None = None,
        *,
        queue_group: str | None = None,
        buffer: int = 1024,
        when_full: WhenFull = "drop-oldest",
    ) -> Subscription:
        """Receive publications; see `UltraFastCommunicationBus.subscribe`."""
        return self.bus.subscribe(
            pattern, callback, queue_group=queue_group, buffer=buffer, when_full=when_full
        )

    def loan(self, nbytes: int) -> Loan:
        """Memory to write a large body into; see `UltraFastCommunicationBus.loan`."""
        return self.bus.loan(nbytes)

    def loan_array(
        self, shape: int | tuple[int, ...], dtype: Any = float
    ) -> np.ndarray[Any, np.dtype[Any]]:
        """An array to fill and send; see `UltraFastCommunicationBus.loan_array`."""
        return self.bus.loan_array(shape, dtype)

    def queue(self, name: str) -> WorkQueue:
        """A named queue; see `UltraFastCommunicationBus.queue`."""
        return self.bus.queue(name)

    def consume(
        self, queue_id: str, max_batch: int = 32, *, acknowledge: Acknowledge = "auto"
    ) -> Consumer:
        """Take items from a named queue; see `UltraFastCommunicationBus.consume`."""
        return self.bus.consume(queue_id, max_batch, acknowledge)

    def dead_letters(self, limit: int = 1000, *, reason: str | None = None) -> list[DeadLetter]:
        """Read what could not be delivered; see `UltraFastCommunicationBus.dead_letters`."""
        return self.bus.dead_letters(limit, reason=reason)

    def take_dead_letters(self, limit: int = 1000) -> list[DeadLetter]:
        """Take out what could not be delivered, oldest first."""
        return self.bus.take_dead_letters(limit)

    def resend(self, letter: DeadLetter) -> bool:
        """Send a dead letter again; see `UltraFastCommunicationBus.resend`."""
        return self.bus.resend(letter)

    # --- tasks

    async def execute_task(self, agent_id: int, task: Task) -> Result:
        """Have an agent do a task, within `task.constraints.timeout_s` from this call.

        Who stops waiting, by a time limit of their own or because they are cancelled, has the task
        stopped: in its agent's mailbox, in the agent, and at the model.

        Raises
        ------
        TaskTimeout
            Its time was over: before its agent came to it, in the agent, or at the model. A task
            that an agent asks for while it does another has no more time than is left of that.
        TaskFailed, TaskInvalid, ModelError
            As the executor says; AgentGone and QueueFull as `request` says.
        """
        started = now_ns()
        metrics = self._endpoint.metrics
        task = within_time(task)
        timeout_s = task.constraints.timeout_s
        try:
            answer = await self.bus.request(
                None,
                agent_id,
                task,
                timeout_s=timeout_s + _GRACE_S,
                kind=Kind.TASK,
                ttl_s=min(timeout_s, _TTL_S_MAX),
            )
        except MessageExpired:
            metrics.add(Counter.TASKS_FAILED)
            raise TaskTimeout(
                f"task {task.id!r}: agent {agent_id:#x} did not come to it within {timeout_s:g} s"
            ) from None
        except BaseException:
            metrics.add(Counter.TASKS_FAILED)
            raise
        metrics.record(Histogram.TASK, now_ns() - started)
        result = msgspec.convert(answer, Result)
        metrics.add(Counter.TASKS_OK if result.ok else Counter.TASKS_FAILED)
        metrics.add(Counter.INPUT_TOKENS, result.usage.input_tokens)
        metrics.add(Counter.OUTPUT_TOKENS, result.usage.output_tokens)
        metrics.add(Counter.CACHE_HITS, int(result.cached))
        return result

    async def execute_batch(self, items: Iterable[tuple[int, Task]]) -> list[Result]:
        """Have agents do tasks, all at once: results in order, failures as failed results."""

        async def one(agent_id: int, task: Task) -> Result:
            started = now_ns()
            try:
                return await self.execute_task(agent_id, task)
            except (UltrafastError, TimeoutError) as error:
                return failed_result(
                    task, error, duration_s=(now_ns() - started) / 1e9, agent=f"{agent_id:#x}"
                )

        return list(await asyncio.gather(*(one(agent_id, task) for agent_id, task in items)))


class Context(Outlet):
    """What an agent can do: everything of `SystemContext`, in its own name.

    Parameters
    ----------
    sender, agent, ttl_ms_of, system, host
        Given by the host of the agent.

    Attributes
    ----------
    system : SystemContext
        The same without a name.

    Methods
    -------
    send(receiver, body, *, priority="normal", timeout_s=0.0, ttl_s=None) : coroutine of bool
        Send a message to another agent; see `UltraFastCommunicationBus.send`.
    send_nowait(receiver, body, *, priority="normal", sent_ns=0, ttl_s=None) : bool
        Send from any thread of the worker; see `UltraFastCommunicationBus.send_nowait`.
    send_many_nowait(items, *, priority="normal") : list of bool
        Send (receiver, body) pairs; see `UltraFastCommunicationBus.send_many_nowait`.
    """

    __slots__ = ()

    system: SystemContext
    _host: AgentHost
    _agent_id: int

    @property
    def memory_store(self) -> UltraFastMemoryStore:
        """The store that all processes share."""
        return self.system.memory_store

    @property
    def events(self) -> EnhancedEventBus:
        """The event bus of this worker; it is joined to those of all other processes."""
        return self.system.events

    def request(
        self,
        receiver: int,
        body: Any,
        *,
        priority: str | int = "normal",
        timeout_s: float = 5.0,
        ttl_s: float | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Send a message to another agent and wait for its answer."""
        extra = 0 if ttl_s is None else ttl_ms_of(ttl_s)
        return self._host.ask(self._agent_id, receiver, body, priority, timeout_s, extra)

    async def publish(
        self,
        subject: str,
        payload: Any,
        *,
        priority: str | int = "normal",
        timeout_s: float = 0.0,
        ttl_s: float | None = None,
    ) -> bool:
        """Give a payload to all who subscribed."""
        return await self.system.publish(
            subject, payload, priority=priority, timeout_s=timeout_s, ttl_s=ttl_s
        )

    def subscribe(
        self,
        pattern: str,
        callback: Callable[[Publication], Any] | None = None,
        *,
        queue_group: str | None = None,
        buffer: int = 1024,
        when_full: WhenFull = "drop-oldest",
    ) -> Subscription:
        """Receive publications; it ends with the agent."""
        subscription = self.system.subscribe(
            pattern, callback, queue_group=queue_group, buffer=buffer, when_full=when_full
        )
        self._host.keep(self._agent_id, subscription)
        return subscription

    def loan(self, nbytes: int) -> Loan:
        """Memory to write a large body into; see `UltraFastCommunicationBus.loan`."""
        return self.system.bus.loan(nbytes)

    def loan_array(
        self, shape: int | tuple[int, ...], dtype: Any = float
    ) -> np.ndarray[Any, np.dtype[Any]]:
        """An array to fill and send; see `UltraFastCommunicationBus.loan_array`."""
        return self.system.bus.loan_array(shape, dtype)

    def queue(self, name: str) -> WorkQueue:
        """A named queue; see `UltraFastCommunicationBus.queue`."""
        return self.system.queue(name)

    def consume(
        self, queue_id: str, max_batch: int = 32, *, acknowledge: Acknowledge = "auto"
    ) -> Consumer:
        """Take items from a named queue; it ends with the agent."""
        consumer = self.system.consume(queue_id, max_batch, acknowledge=acknowledge)
        self._host.keep(self._agent_id, consumer)
        return consumer

    # --- agents

    def spawn_agent(
        self,
        agent_type: str,
        *,
        priority: str | int = "normal",
        name: str | None = None,
        affinity: int | None = None,
        groups: Iterable[str] = (),
    ) -> Coroutine[Any, Any, int]:
        """Spawn another agent, whose parent is this one; see `SystemContext.spawn_agent`."""
        return self.system.spawn_agent(
            agent_type,
            priority=priority,
            name=name,
            affinity=affinity,
            groups=groups,
            parent=self._agent_id,
        )

    async def spawn_agents(
        self,
        agent_type: str,
        n: int,
        *,
        priority: str | int = "normal",
        affinity: int | None = None,
    ) -> list[int]:
        """Spawn `n` agents of a type, whose parent is this one."""
        return await self.system.spawn_agents(
            agent_type, n, priority=priority, affinity=affinity, parent=self._agent_id
        )

    async def terminate_agent(
        self,
        agent_id: int,
        *,
        drain: bool = True,
        timeout_s: float = 30.0,
        forget_state: bool = False,
    ) -> bool:
        """Stop another agent; see `SystemContext.terminate_agent`. To end itself: `end`."""
        return await self.system.terminate_agent(
            agent_id, drain=drain, timeout_s=timeout_s, forget_state=forget_state
        )

    async def move_agent(
        self,
        agent_id: int,
        *,
        worker: int | None = None,
        affinity: int | None = None,
        timeout_s: float = 5.0,
    ) -> bool:
        """Have another idle agent live in another worker; see `SystemContext.move_agent`."""
        return await self.system.move_agent(
            agent_id, worker=worker, affinity=affinity, timeout_s=timeout_s
        )

    def end(self) -> None:
        """End this agent after the message that it is handling and those that wait."""
        self._host.fail(self._agent_id, "")

    def fail(self, reason: str) -> None:
        """Have this agent fail after the message that it is handling; its type's policy follows."""
        self._host.fail(self._agent_id, reason or "it said so")

    async def ping_agents(
        self, agent_ids: Iterable[int] | None = None, *, timeout_s: float = 10.0
    ) -> int:
        """Ask each agent for a sign of life; see `SystemContext.ping_agents`."""
        return await self.system.ping_agents(agent_ids, timeout_s=timeout_s)

    def lookup(self, name: str) -> int | None:
        """The living agent with a name."""
        return self.system.lookup(name)

    def join(self, group: str, agent_id: int | None = None) -> None:
        """Become a member of a group, or make another agent one."""
        self.system.join(group, self._agent_id if agent_id is None else agent_id)

    def leave(self, group: str, agent_id: int | None = None) -> None:
        """Leave a group."""
        self.system.leave(group, self._agent_id if agent_id is None else agent_id)

    def members(self, group: str) -> list[int]:
        """The living members of a group."""
        return self.system.members(group)

    def pick(self, group: str) -> int | None:
        """One living member of a group, each in turn."""
        return self.system.pick(group)

    async def broadcast(self, group: str, body: Any, *, priority: str | int = "normal") -> int:
        """Send a message to every member of a group but this one: how many accepted it."""
        return await self.system.broadcast(self._agent_id, group, body, priority=priority)

    def monitor(self, agent_id: int) -> Monitor:
        """Watch another agent's end, until this one's; see `SystemContext.monitor`."""
        monitor = self.system.monitor(agent_id)
        self._host.keep(self._agent_id, monitor)
        return monitor

    def link(self, agent_id: int) -> None:
        """Have this agent fail when another one has failed for good, and the other way round."""
        self.system.cards.link(self._agent_id, agent_id)

    def unlink(self, agent_id: int) -> None:
        """The opposite of `link`."""
        self.system.cards.unlink(self._agent_id, agent_id)
        self.system.cards.unlink(agent_id, self._agent_id)

    def open_state(self) -> State:
        """What this agent kept; `Agent.state` calls it."""
        return self._host.open_state(self._agent_id)

    def timer(self, seconds: float, call: Callable[[], Any], *, again: bool) -> Timer:
        """A call between messages; `Agent.every` and `Agent.after` make it."""
        return self._host.timer(self._agent_id, seconds, call, again)

    async def run_in_thread(self, handler: Callable[..., Any], *given: Any) -> Any:
        """Run a blocking function in the worker's pool of threads."""
        return await self._host.run_in_thread(handler, *given)

    # --- tasks

    async def execute_task(self, agent_id: int, task: Task) -> Result:
        """Have another agent do a task."""
        return await self.system.execute_task(agent_id, task)

    async def execute(self, task: Task, profile: Profile | None = None) -> Result:
        """Ask the model, through this worker's executor."""
        return await self._host.execute(task, profile, self._agent_id)
