"""`Lodging`: how agents come into a process and leave it, and come back after a death.

Stands on the agent records and the nursery. What happens to their messages is the business of
`AgentHost`, which is one.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any

import msgspec

from ultrafast.agents.agent import Agent
from ultrafast.agents.context import Context, SystemContext
from ultrafast.agents.hosted import Hosted
from ultrafast.agents.nursery import Nursery, is_overridden
from ultrafast.agents.rollcall import answer_roll
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import LANES, REPLY_LANE, Kind, Operation, Reason
from ultrafast.core import Message
from ultrafast.core._agents import ACTIVE, BUILDING, DRAINING, FAILED, FREE, STARTING, STOPPED, WARM
from ultrafast.core._status import OK
from ultrafast.metric_names import Counter

__all__ = ["Lodging"]

log = logging.getLogger(__name__)

_EAGER = sys.version_info >= (3, 12)


class Lodging:
    """The agents of a process, from their start to their end.

    Parameters
    ----------
    system : SystemContext
        What their contexts stand on.
    endpoint : Endpoint
    """

    def __init__(self, system: SystemContext, endpoint: Endpoint) -> None:
        self._system = system
        self._endpoint = endpoint
        self._agents = endpoint.agents
        self._metrics = endpoint.metrics
        self._hosted: dict[int, Hosted] = {}
        self._nursery = Nursery(endpoint, self._hosted)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        endpoint.on(Kind.CONTROL, self._controlled)
        system.host_here(self.start_all)

    def _context(self, agent_id: int) -> Context:
        """What an agent can do here."""
        raise NotImplementedError

    def _work(self, hosted: Hosted, message: Message | None) -> None:
        """Handle a message, and those that wait after it."""
        raise NotImplementedError

    def _next(self, hosted: Hosted) -> Message | None:
        """The next message that waits; without any, an agent that is to stop does so."""
        raise NotImplementedError

    def _restore(self, agent_id: int) -> Hosted | None:
        """Build again an agent that lived here before this process did, or is about to start."""
        info = self._agents.look(agent_id)
        if info is None or info.worker != self._endpoint.index:
            return None
        if info.state == STARTING:
            return self._start(agent_id, info.type)
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
            with message.payload as payload, payload.cast("Q") as ids:
                self.start_all(ids.tolist())
            message.release()
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

    def start_all(self, ids: Iterable[int]) -> None:
        """Host those of the agents whose records are STARTING."""
        hosted, look = self._hosted, self._agents.look
        for agent_id in ids:
            if agent_id not in hosted:
                info = look(agent_id)
                if info is not None and info.state == STARTING:
                    self._start(agent_id, info.type)

    def _start(self, agent_id: int, number: int) -> Hosted | None:
        """Host an agent whose record is STARTING; its first messages wait for its on_start."""
        agent, warming = self._nursery.take(agent_id), None
        if agent is None:
            try:
                agent, warming = self._nursery.build(number)
            except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
                self._failed_to_start(agent_id, error)
                return None
        return self._host(agent, agent_id, warming)

    def _host(self, agent: Agent, agent_id: int, warming: Any = None) -> Hosted | None:
        """Let it live here. An `on_start` that does not wait is done when this returns: what its
        spawner publishes afterwards finds its subscriptions."""
        hosted = Hosted(agent, agent_id)
        agent.id = agent_id
        agent.context = self._context(agent_id)
        self._hosted[agent_id] = hosted
        waits_for: Awaitable[Any] | None = None
        if warming is not None and inspect.isawaitable(warming):
            waits_for = _in_turn(warming, agent)
        elif is_overridden(agent, "on_start"):
            try:
                started = agent.on_start()
            except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
                del self._hosted[agent_id]
                self._failed_to_start(agent_id, error)
                return None
            if inspect.isawaitable(started):
                waits_for = started
        if waits_for is None:
            self._agents.move(agent_id, STARTING, ACTIVE)
            return hosted
        hosted.busy = True
        self._run(self._begin_agent(hosted, waits_for))
        return hosted

    async def _begin_agent(self, hosted: Hosted, waits_for: Awaitable[Any]) -> None:
        try:
            await waits_for
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
        except Exception as error:  # its own code may raise anything; it ends all the same
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

    # --- all of them

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


async def _in_turn(warming: Awaitable[Any], agent: Agent) -> None:
    """What is left of an agent's warming, then its start."""
    await warming
    started = agent.on_start()
    if inspect.isawaitable(started):
        await started
