"""`AgentHost`: the agents of one process, and what happens to each message that arrives for them.

Stands on the bus, the agent records and the nursery. One message at a time for each agent; a
handler that does not suspend costs no task. The plain case (a message come for the first time, an
agent that is free, a handler that returns) is the endpoint's door's; everything else comes here.
The same class serves a worker process and a manager without workers.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

import msgspec

from ultrafast.agents.agent import Agent, IncomingMessage
from ultrafast.agents.context import Context, SystemContext
from ultrafast.agents.hosted import Hosted, Repeats
from ultrafast.agents.nursery import Nursery, is_overridden
from ultrafast.agents.registry import AgentType
from ultrafast.agents.rollcall import answer_roll
from ultrafast.bus import tracing
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import LANES, REPLY_LANE, Kind, Operation, Reason, is_overdue, origin_of
from ultrafast.core import Message, now_ns
from ultrafast.core._agents import ACTIVE, BUILDING, DRAINING, FAILED, FREE, STARTING, STOPPED, WARM
from ultrafast.core._status import OK
from ultrafast.errors import DecodeError
from ultrafast.executor.profiles import Profile
from ultrafast.executor.tasks import Result, Task
from ultrafast.metric_names import Counter, Histogram

__all__ = ["AgentHost", "TaskRunner"]

log = logging.getLogger(__name__)

_EAGER = sys.version_info >= (3, 12)


class TaskRunner(Protocol):
    """What executes tasks on the model; `OptimizedExecutor` is one."""

    async def execute(
        self, task: Task, profile: Profile | None = None, *, agent: str | None = None
    ) -> Result: ...


class AgentHost:
    """Hosts agents in this process.

    Parameters
    ----------
    system : SystemContext
        What their contexts stand on.
    endpoint : Endpoint
    executor : callable
        Gives the runner of this process's tasks; called at the first task.
    max_redeliveries : int
        How often a message may come again after a death, unless its agent's type says otherwise.
    """

    def __init__(
        self,
        system: SystemContext,
        endpoint: Endpoint,
        executor: Callable[[], TaskRunner],
        max_redeliveries: int = 3,
    ) -> None:
        self._system = system
        self._endpoint = endpoint
        self.sender = endpoint.sender
        self._agents = endpoint.agents
        self._metrics = endpoint.metrics
        self._make_executor = executor
        self._executor: TaskRunner | None = None
        self._me = endpoint.region.slot
        self._hosted: dict[int, Hosted] = {}
        self._nursery = Nursery(endpoint, self._hosted)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._repeats = Repeats(endpoint.table, max_redeliveries)
        for kind in (Kind.DATA, Kind.TASK, Kind.PING):
            endpoint.on(kind, self._arrived)
        self._incoming = endpoint.seat(
            self._hosted, IncomingMessage, self._ended, self._raised_anything
        )
        endpoint.on(Kind.CONTROL, self._controlled)

    # --- types

    def register(self, kind: AgentType) -> None:
        """Learn an agent type; `WorkerFailed` when its class can't be loaded here."""
        self._nursery.learn(kind)
        self._repeats.set_limit(kind.name, kind.max_redeliveries)

    async def execute(self, task: Task, profile: Profile | None, agent_id: int) -> Result:
        """Do a task on this process's executor."""
        if self._executor is None:
            self._executor = self._make_executor()
        return await self._executor.execute(task, profile, agent=f"{agent_id:#x}")

    def keep(self, agent_id: int, subscription: Any) -> None:
        """Close a subscription with its agent."""
        hosted = self._hosted.get(agent_id)
        if hosted is not None:
            if hosted.subscriptions is None:
                hosted.subscriptions = []
            hosted.subscriptions.append(subscription)

    @property
    def count(self) -> int:
        """Agents here, warm ones not counted."""
        return len(self._hosted)

    # --- a message arrives

    def _arrived(self, message: Message) -> None:
        hosted = self._seated(message.receiver)
        if hosted is None:
            self._system.bus.dead_letter(message, Reason.AGENT_GONE)
            return
        if hosted.busy:
            self._enqueue(hosted, message)
        else:
            self._work(hosted, message)

    def _enqueue(self, hosted: Hosted, message: Message) -> None:
        if hosted.mailbox is None:
            hosted.mailbox = deque()
        hosted.mailbox.append(message)
        self._agents.set_depth(hosted.slot, len(hosted.mailbox))

    def _work(self, hosted: Hosted, message: Message | None) -> None:
        """Handle messages one after the other, until none is left or a handler suspends."""
        while message is not None:
            awaiting = self._begin(hosted, message)
            if awaiting is not None:
                self._await(hosted, message, awaiting)
                if hosted.busy:
                    return
            message = self._next(hosted)

    def _next(self, hosted: Hosted) -> Message | None:
        if hosted.mailbox:
            message = hosted.mailbox.popleft()
            self._agents.set_depth(hosted.slot, len(hosted.mailbox))
            return message
        if hosted.stopping and not hosted.busy:
            self._run(self._stop(hosted))
        return None

    def _begin(self, hosted: Hosted, message: Message) -> Awaitable[Any] | None:
        """Call the handler. None: it is done, and answered."""
        kind = message.kind
        if message.extra and is_overdue(message):
            self._system.bus.dead_letter(message, Reason.EXPIRED)
            return None
        if message.redelivered and (why := self._repeats.begin(message, hosted.agent.type)):
            self._system.bus.dead_letter(message, why)
            return None
        if kind == Kind.PING:
            self._done(hosted, message, None)
            return None
        try:
            if kind == Kind.DATA:
                self._timed(message)
                outcome = tracing.call(
                    message.trace, hosted.agent.on_message, self._incoming(message)
                )
            else:
                task = msgspec.msgpack.decode(message.payload, type=Task)
                outcome = tracing.call(message.trace, hosted.agent.execute, task)
        except msgspec.MsgspecError as error:
            self._raised(hosted, message, DecodeError(str(error)))
            return None
        except BaseException as error:  # noqa: BLE001 - the agent's own code may raise anything
            self._raised_anything(hosted, message, error)
            return None
        if outcome is not None and inspect.isawaitable(outcome):
            return outcome
        self._done(hosted, message, outcome)
        return None

    def _ended(self, hosted: Hosted, message: Message, outcome: Any) -> None:
        """A handler that the door called returned what somebody waits for, or what must be."""
        if inspect.isawaitable(outcome):
            self._await(hosted, message, outcome)
            if not hosted.busy:
                self._work(hosted, self._next(hosted))
        else:
            self._done(hosted, message, outcome)

    def _await(self, hosted: Hosted, message: Message, awaiting: Awaitable[Any]) -> None:
        hosted.busy = True
        self._run(self._complete(hosted, message, awaiting))

    async def _complete(self, hosted: Hosted, message: Message, awaiting: Awaitable[Any]) -> None:
        """Wait for a handler that suspended, then go on with the agent's next message."""
        try:
            outcome = await awaiting
        except asyncio.CancelledError:
            if self._stopping:
                raise  # the message is not given back, so a successor would get it again
            self._raised(hosted, message, RuntimeError("the handler was cancelled"))
        except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
            self._raised(hosted, message, error)
        else:
            self._done(hosted, message, outcome)
        hosted.busy = False
        if hosted.mailbox or hosted.stopping:
            self._work(hosted, self._next(hosted))

    def _timed(self, message: Message) -> None:
        """Record how long the message was under way, from its intended send time."""
        taken = now_ns() - message.sent_ns
        local = origin_of(message.correlation) == self._me
        self._metrics.record(
            Histogram.LOCAL_COMMUNICATION if local else Histogram.COMMUNICATION, max(taken, 0)
        )

    def _done(self, hosted: Hosted, message: Message, outcome: Any) -> None:
        try:
            self._system.bus.reply(message, outcome)
        except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
            self._raised(hosted, message, error)
            return
        self._finished(hosted, message, failed=False)

    def _raised_anything(self, hosted: Hosted, message: Message, error: BaseException) -> None:
        """A handler raised; what is meant to end the process goes on once it is accounted for."""
        self._raised(hosted, message, error)
        if isinstance(error, SystemExit | KeyboardInterrupt):
            raise error

    def _raised(self, hosted: Hosted, message: Message, error: BaseException) -> None:
        if not message.reply_queue:
            log.error(
                "agent %#x (%s) failed on a message", hosted.id, hosted.agent.type, exc_info=error
            )
        self._system.bus.reply_error(message, error)
        self._finished(hosted, message, failed=True)

    def _finished(self, hosted: Hosted, message: Message, *, failed: bool) -> None:
        metrics = self._metrics
        if message.kind == Kind.DATA or message.kind == Kind.TASK or message.kind == Kind.PING:
            metrics.add(Counter.DELIVERED)
        metrics.add(Counter.FAILED if failed else Counter.HANDLED)
        if message.redelivered:
            metrics.add(Counter.REDELIVERED)
            self._repeats.end(message)
        self._agents.handled(hosted.slot, failed, now_ns())
        message.release()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task; where the interpreter can, begin it at once."""
        if _EAGER:
            task = asyncio.Task(coroutine, loop=self._loop, eager_start=True)  # type: ignore[call-arg]  # 3.12
            if task.done():
                return
        else:
            task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- agents begin and end

    def _controlled(self, message: Message) -> None:
        operation = message.extra
        agent_id = message.receiver
        if operation == Operation.START:
            message.release()
            if agent_id not in self._hosted:
                self._start(agent_id)
        elif operation == Operation.WARM:
            # What can't be read, the endpoint reports; the count is believed up to all records.
            number, count = msgspec.msgpack.decode(message.payload, type=tuple[int, int])
            message.release()
            for _ in range(min(count, self._agents.capacity)):
                self._run(self._nursery.warm_up(number))
        elif operation == Operation.ROLL:
            answer_roll(self._endpoint, message, self._seated)
        elif operation in (Operation.STOP, Operation.STOP_NOW):
            self._told_to_stop(agent_id, message, now=operation == Operation.STOP_NOW)
        else:
            log.warning("control message with operation %d", operation)
            message.release()

    def _seated(self, agent_id: int) -> Hosted | None:
        """The agent with an id, where it lives here; built now, if need be."""
        return self._hosted.get(agent_id) or self._restore(agent_id)

    def _start(self, agent_id: int) -> Hosted | None:
        """Host an agent whose record is STARTING; its first messages wait for its on_start."""
        info = self._agents.look(agent_id)
        if info is None or info.state != STARTING:
            return None
        agent, warming = self._nursery.take(agent_id), None
        if agent is None:
            try:
                agent, warming = self._nursery.build(info.type)
            except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
                self._failed_to_start(agent_id, error)
                return None
        return self._host(agent, agent_id, warming)

    def _host(self, agent: Agent, agent_id: int, warming: Any = None) -> Hosted:
        hosted = Hosted(agent, agent_id)
        agent.id = agent_id
        agent.context = Context(self._system, self, agent_id)
        self._hosted[agent_id] = hosted
        if inspect.isawaitable(warming) or is_overridden(agent, "on_start"):
            hosted.busy = True
            self._run(self._begin_agent(hosted, warming))
        else:
            self._agents.move(agent_id, STARTING, ACTIVE)
        return hosted

    async def _begin_agent(self, hosted: Hosted, warming: Any) -> None:
        try:
            if inspect.isawaitable(warming):
                await warming
            started = hosted.agent.on_start()
            if inspect.isawaitable(started):
                await started
        except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
            self._hosted.pop(hosted.id, None)
            self._failed_to_start(hosted.id, error)
            for message in hosted.mailbox or ():
                self._system.bus.dead_letter(message, Reason.AGENT_GONE)
            return
        self._agents.move(hosted.id, STARTING, ACTIVE)
        hosted.busy = False
        self._work(hosted, self._next(hosted))

    def _failed_to_start(self, agent_id: int, error: Exception) -> None:
        log.error("agent %#x could not be started", agent_id, exc_info=error)
        for state in (STARTING, ACTIVE, BUILDING):
            if self._agents.move(agent_id, state, FAILED) == OK:
                break
        if self._agents.move(agent_id, FAILED, FREE) == OK:
            self._metrics.add(Counter.TERMINATED)
            self._say("failed", agent_id, error=f"{type(error).__name__}: {error}")

    def _say(self, what: str, agent_id: int, **more: str) -> None:
        self._system.bus.say(f"agent.{what}", {"agent": agent_id, **more})

    def _told_to_stop(self, agent_id: int, message: Message, *, now: bool) -> None:
        hosted = self._seated(agent_id)
        if hosted is None:
            self._confirm(message)
            return
        if hosted.markers is None:
            hosted.markers = []
        hosted.markers.append(message)
        if not now and len(hosted.markers) < LANES:
            return
        hosted.stopping = True
        if now:
            waiting, hosted.mailbox = hosted.mailbox, None
            for letter in waiting or ():
                self._system.bus.dead_letter(letter, Reason.AGENT_STOPPED)
        if not hosted.busy and not hosted.mailbox:
            self._run(self._stop(hosted))

    async def _stop(self, hosted: Hosted) -> None:
        """The agent's end: on_stop, subscriptions, record."""
        hosted.stopping = False
        if self._hosted.pop(hosted.id, None) is None:
            return
        hosted.busy = True
        try:
            if is_overridden(hosted.agent, "on_stop"):
                stopped = hosted.agent.on_stop()
                if inspect.isawaitable(stopped):
                    await stopped
        except Exception as error:
            log.error("on_stop of agent %#x failed", hosted.id, exc_info=error)
        for subscription in hosted.subscriptions or ():
            subscription.close()
        if self._agents.move(hosted.id, DRAINING, FREE) == OK:
            self._metrics.add(Counter.TERMINATED)
            self._say("terminated", hosted.id)
        for marker in hosted.markers or ():
            self._confirm(marker)

    def _confirm(self, marker: Message) -> None:
        if marker.reply_queue:
            self._endpoint.post(
                marker.reply_queue - 1,
                REPLY_LANE,
                b"",
                int(Kind.REPLY),
                0,
                0,
                0,
                marker.correlation,
            )
        marker.release()

    # --- after a death

    def _restore(self, agent_id: int) -> Hosted | None:
        """Build again an agent that lived here before this process did, or is about to start."""
        info = self._agents.look(agent_id)
        if info is None or info.worker != self._endpoint.index:
            return None
        if info.state == STARTING:
            return self._start(agent_id)
        if info.state not in (ACTIVE, DRAINING):
            return None
        try:
            agent, warming = self._nursery.build(info.type)
        except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
            self._failed_to_start(agent_id, error)
            return None
        self._agents.restarted(info.id & 0xFFFFFF)
        self._metrics.add(Counter.RESTARTED)
        self._say("restarted", agent_id)
        return self._host(agent, agent_id, warming)

    async def restore_all(self) -> int:
        """Build again every agent whose record names this inbox: how many there were."""
        restored = 0
        for slot in range(self._agents.capacity):
            info = self._agents.at(slot)
            if slot % 500 == 499:
                await asyncio.sleep(0)
            if info.state == FREE or info.worker != self._endpoint.index:
                continue
            if info.state == WARM and not self._nursery.has(info.id):
                # Its object died with the last process.
                self._run(self._nursery.warm_again(info.id, info.type))
            elif info.state in (ACTIVE, STARTING, DRAINING) and info.id not in self._hosted:
                restored += self._restore(info.id) is not None
        self.sweep()
        return restored

    def sweep(self) -> None:
        """Let go of agents whose record says that nobody wants them: their spawner died."""
        if not self._agents.tally(self._endpoint.index)[:, STOPPED].any():
            return
        for slot in range(self._agents.capacity):
            info = self._agents.at(slot)
            if info.state == STOPPED and info.worker == self._endpoint.index:
                self._hosted.pop(info.id, None)
                self._nursery.take(info.id)
                self._agents.move(info.id, STOPPED, FREE)

    async def stop_all(self, timeout_s: float) -> None:
        """Run every agent's on_stop and free its record; handlers get `timeout_s` to finish."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout_s)
        self._stopping = True
        for task in set(self._tasks):
            task.cancel()
        for hosted in list(self._hosted.values()):
            self._agents.move(hosted.id, ACTIVE, DRAINING)
            await self._stop(hosted)
        self._nursery.close()
        close = getattr(self._executor, "aclose", None)
        if close is not None:
            await close()
