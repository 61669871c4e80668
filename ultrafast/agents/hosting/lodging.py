"""`Lodging`: how agents come into a process and leave it, and come back after a death.

Stands on the agent records, the nursery and `Endings`, which knows what becomes of an agent that
failed. What happens to their messages is the business of `AgentHost`, which is one.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from array import array
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec

from ultrafast.agents.agent import Agent
from ultrafast.agents.context import Context, SystemContext
from ultrafast.agents.hosting.endings import SLOT_MASK, Endings, exceeded, text_of
from ultrafast.agents.hosting.hosted import Hosted
from ultrafast.agents.hosting.nursery import is_overridden
from ultrafast.agents.hosting.rollcall import answer_roll
from ultrafast.agents.hosting.timers import Due, Timer
from ultrafast.agents.hosting.warming import warm_many
from ultrafast.agents.state import State, save_after_messages
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import LANES, REPLY_LANE, Kind, Operation, Reason
from ultrafast.core import Message, now_ns
from ultrafast.core._agents import (
    ACTIVE,
    ARRIVING,
    DRAINING,
    FREE,
    MOVING,
    STARTING,
    STOPPED,
    TAKING,
    WARM,
)
from ultrafast.errors import AgentGone

__all__ = ["Lodging"]

log = logging.getLogger(__name__)

_FOR_EVER_NS: Final = 1 << 62
# For room in this inbox, before it is said that there is none.
_MARKING_S: Final = 5.0
# For handlers to end that are cancelled at the end of all.
_CANCELLED_S: Final = 0.5


class Lodging(Endings):
    """The agents of a process, from their start to their end.

    Parameters
    ----------
    system : SystemContext
        What their contexts stand on.
    endpoint : Endpoint
    """

    def __init__(self, system: SystemContext, endpoint: Endpoint) -> None:
        super().__init__(system, endpoint)
        self._began_ns = now_ns()
        self._warming: set[asyncio.Task[None]] = set()
        self._stops = -1  # what was said of such agents when they were last looked for
        endpoint.on(Kind.CONTROL, self._controlled)
        system.host_here(self.start_all)

    def _context(self, agent_id: int) -> Context:
        """What an agent can do here."""
        raise NotImplementedError

    def _cancel(self, agent_id: int, number: int) -> None:
        """Stop the task that an agent was asked for by a message."""
        raise NotImplementedError

    def _cut_short(self, hosted: Hosted) -> None:
        """Stop all tasks that an agent has begun, and cancel its handlers that wait."""
        raise NotImplementedError

    def _restore(self, agent_id: int, repeated: bool = False) -> Hosted | None:
        """Build again an agent that lived here before this process did, or is about to start."""
        info = self._agents.look(agent_id)
        if info is None or info.worker != self._endpoint.index:
            return None
        if info.state == STARTING:
            return self._start(agent_id, info.type, repeated)
        if info.state not in (ACTIVE, DRAINING):
            return None
        return self._back(agent_id, info.type)

    # --- agents begin and end

    def _controlled(self, message: Message) -> None:
        operation = message.extra
        agent_id = message.receiver
        if operation == Operation.START:
            with message.payload as payload, payload.cast("Q") as ids:
                self.start_all(ids.tolist(), message.redelivered)
            message.release()
        elif operation == Operation.WARM:
            # What can't be read, the endpoint reports; the count is believed up to all records.
            number, count = msgspec.msgpack.decode(message.payload, type=tuple[int, int])
            task = self._loop.create_task(self._warm(number, count, message))
            for tasks in (self._tasks, self._warming):
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        elif operation == Operation.ROLL:
            answer_roll(self._endpoint, message, self._seated)
        elif operation in (Operation.STOP, Operation.STOP_NOW):
            self._told_to_stop(agent_id, message, now=operation == Operation.STOP_NOW)
        elif operation == Operation.END:
            self._told_to_end(agent_id, message)
        elif operation == Operation.CANCEL:
            number = message.correlation
            message.release()
            self._cancel(agent_id, number)
        elif operation == Operation.FAIL:
            reason = bytes(message.payload).decode("utf-8", "replace")
            message.release()
            self.fail(agent_id, reason or "another process said so")
        else:
            log.warning("control message with operation %d", operation)
            message.release()

    async def _warm(self, number: int, count: int, order: Message) -> None:
        """Build what was ordered, and answer. The order is kept until then: if this process dies,
        its successor gets it again, and answers at once: what is missing is ordered anew."""
        try:
            built = 0
            if not order.redelivered:
                built = await warm_many(self._nursery, number, min(count, self._agents.capacity))
            if order.reply_queue:
                head = (int(Kind.REPLY), 0, 0, 0, order.correlation)
                self._endpoint.post(order.reply_queue - 1, REPLY_LANE, array("Q", [built]), *head)
        finally:
            order.release()

    def _seated(self, agent_id: int) -> Hosted | None:
        """The agent with an id, where it lives here; built now, if need be."""
        hosted = self._hosted.get(agent_id)
        if hosted is None:
            number = self._agents.starting(agent_id, self._endpoint.index)
            hosted = self._start(agent_id, number) if number >= 0 else self._restore(agent_id)
        return hosted

    def start_all(self, ids: Iterable[int], repeated: bool = False) -> None:
        """Host those of the agents whose records are STARTING; repeated: a death came between."""
        hosted, starting, here = self._hosted, self._agents.starting, self._endpoint.index
        for agent_id in ids:
            if agent_id not in hosted:
                number = starting(agent_id, here)
                if number >= 0:
                    self._start(agent_id, number, repeated)
                    continue
                info = self._agents.look(agent_id)
                if info is not None and info.state == ARRIVING:
                    self._restore(agent_id)

    def _start(self, agent_id: int, number: int, repeated: bool = False) -> Hosted | None:
        """Host an agent whose record is STARTING; its first messages wait for its on_start."""
        if number in self._nursery.never and self._began_before(agent_id):
            self._end(agent_id, None, "failed", "its worker died before it had started")
            return None
        if repeated:  # what killed its worker may have been its start
            policy = self._nursery.policy(number)
            if self._relapsed(agent_id, policy) > policy.intensity:
                self._end(agent_id, None, "failed", exceeded("its worker died", policy))
                return None
        agent, warming = self._nursery.take(agent_id), None
        if agent is None:
            try:
                agent, warming = self._nursery.build(number)
            except Exception as error:  # whatever it was, the others start
                log.error("agent %#x could not be started", agent_id, exc_info=error)
                self._end(agent_id, None, "failed", text_of(error))
                return None
        return self._host(agent, agent_id, warming, number, repeated)

    def _began_before(self, agent_id: int) -> bool:
        """Whether an agent that is never to be begun again was, and now it is."""
        slot = agent_id & SLOT_MASK
        return not self.handed_over and self._agents.relapsed(slot, now_ns(), _FOR_EVER_NS) > 1

    def _host(
        self, agent: Agent, agent_id: int, warming: Any, number: int, again: bool = False
    ) -> Hosted | None:
        # As `_seat`, `_furnish` and `_open` do it, in line: this is the way of every spawn.
        hosted = self._hosted[agent_id] = Hosted(agent, agent_id)
        if self._nursery.concurrent:
            hosted.limit = self._nursery.concurrent.get(number, 1)
        agent.id = agent_id
        agent.context = self._context(agent_id)
        if agent.state_saved is not None:
            self._keep_state(hosted, agent)
        if warming is None and not again and not is_overridden(agent, "on_start"):
            self._agents.move(agent_id, STARTING, ACTIVE)
            return hosted
        self._open(hosted, warming, number if again else None, again)
        return self._hosted.get(agent_id)

    def _furnish(self, hosted: Hosted, agent: Agent) -> None:
        hosted.agent = agent
        agent.id = hosted.id
        agent.context = self._context(hosted.id)
        if agent.state_saved is not None:
            self._keep_state(hosted, agent)

    def _keep_state(self, hosted: Hosted, agent: Agent) -> None:
        when = agent.state_saved
        if when == "message":
            save_after_messages(agent)
        elif isinstance(when, int | float):
            self.timer(hosted.id, when, lambda: agent.state.save(), again=True)

    def _open(self, hosted: Hosted, warming: Any, number: int | None, settle: bool) -> None:
        """An `on_start` that does not wait is done when this returns: what its spawner publishes
        afterwards finds its subscriptions."""
        agent = hosted.agent
        waits_for: Awaitable[Any] | None = None
        if warming is not None and inspect.isawaitable(warming):
            waits_for = _in_turn(warming, agent)
        elif is_overridden(agent, "on_start"):
            try:
                started = agent.on_start()
            except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
                self._not_started(hosted, error, number)
                return
            if inspect.isawaitable(started):
                waits_for = started
        if waits_for is None:
            self._agents.move(hosted.id, STARTING, ACTIVE)
            if settle:
                self._agents.settled(hosted.slot)
            return
        hosted.busy = True
        self._run(self._begin_agent(hosted, waits_for, number, settle))

    async def _begin_agent(
        self, hosted: Hosted, waits_for: Awaitable[Any], number: int | None, settle: bool
    ) -> None:
        try:
            await waits_for
        except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
            self._not_started(hosted, error, number)
            return
        self._agents.move(hosted.id, STARTING, ACTIVE)
        if settle:
            self._agents.settled(hosted.slot)
        hosted.busy = False
        self._work(hosted, self._next(hosted))

    def _not_started(self, hosted: Hosted, error: Exception, number: int | None) -> None:
        """Its on_start raised: a first one is the end, another one for its type's policy."""
        log.error("agent %#x could not be started", hosted.id, exc_info=error)
        if number is not None:
            self._fell(hosted, text_of(error), number)
        else:
            self._hosted.pop(hosted.id, None)
            self._end(hosted.id, hosted, "failed", text_of(error))

    def open_state(self, agent_id: int) -> State:
        """What an agent kept."""
        card = self._cards.read(agent_id)
        return State(self._endpoint.table, agent_id, card.name if card is not None else "")

    def timer(self, agent_id: int, seconds: float, call: Callable[[], Any], again: bool) -> Timer:
        """A timer of an agent; it ends with the agent's object."""
        hosted = self._hosted.get(agent_id)
        if hosted is None:
            raise AgentGone(f"agent {agent_id:#x} has ended, and has no timers any more")
        if hosted.timers is None:
            hosted.timers = set()
        return Timer(hosted.timers, lambda due: self._due(hosted, due), seconds, call, again)

    def _due(self, hosted: Hosted, due: Due) -> None:
        """The time of a timer has come: its call takes its turn."""
        raise NotImplementedError

    def _told_to_stop(self, agent_id: int, message: Message, *, now: bool) -> None:
        hosted = self._seated(agent_id)
        if hosted is None:
            self._confirm(message)
            return
        if hosted.markers is None:
            hosted.markers = []
        hosted.markers.append(message)
        # One of each lane; more than one, where who was to put them died before it had done.
        if not now and len({marker.lane for marker in hosted.markers}) < LANES:
            return
        hosted.stopping = True
        if now:
            waiting, hosted.mailbox = hosted.mailbox, None
            for letter in waiting or ():
                if not isinstance(letter, Due):
                    self._system.bus.dead_letter(letter, Reason.AGENT_STOPPED)
            self._cut_short(hosted)
        self._rest(hosted)

    def _told_to_end(self, agent_id: int, order: Message) -> None:
        """An agent that has come here since is to stop as if it had been here all the time: nobody
        can send to it from now on, and markers tell when all that was sent has come."""
        if self._seated(agent_id) is None:
            self._confirm(order)
            return
        self._agents.move(agent_id, ACTIVE, DRAINING)  # it is already, where another says so too
        self._run(self._mark(agent_id, order))

    async def _mark(self, agent_id: int, order: Message) -> None:
        """Put markers into this inbox. The order is kept until then: a successor gets it again."""
        number, asker = order.correlation, order.reply_queue
        head = (int(Kind.CONTROL), 0, 0, agent_id, number, now_ns(), asker, 0, int(Operation.STOP))
        for lane in range(LANES):
            while not await self._endpoint.post_within(
                _MARKING_S, self._endpoint.index, lane, b"", *head
            ):
                if self._stopping or self._endpoint.closed:
                    return
                log.warning("agent %#x is to end, and lane %d here is full", agent_id, lane)
        order.release()

    async def _stop(self, hosted: Hosted) -> None:
        """The agent's end: on_stop, then all that was its, then its record."""
        hosted.stopping = False
        if self._hosted.pop(hosted.id, None) is None:
            return
        hosted.busy = True
        self._farewells.add(hosted.id)
        try:
            await self._farewell(hosted)
            self._end(hosted.id, hosted, "stopped", "terminated" if hosted.markers else "ended")
        finally:
            self._farewells.discard(hosted.id)

    # --- all of them

    async def restore_all(self) -> int:
        """Build again every agent whose record names this inbox: how many there were."""
        restored = 0
        for slot in range(self._agents.capacity):
            info = self._agents.at(slot)
            if slot % 500 == 499:
                await asyncio.sleep(0)
            host = info.left if info.state == MOVING else info.worker
            if info.state == FREE or host != self._endpoint.index:
                continue
            if info.state == WARM and not self._nursery.has(info.id):
                # Its object died with the last process.
                self._run(self._nursery.warm_again(info.id, info.type))
            elif (info.state in TAKING or info.state == DRAINING) and info.id not in self._hosted:
                before = info.spawned_ns < self._began_ns
                restored += self._restore(info.id, before) is not None
        self.sweep()
        self._system.ender.finish(self._endpoint.index)
        return restored

    def sweep(self) -> None:
        """Let go of agents whose record says that nobody wants them, for their spawner died; and
        have those that are to arrive, whose last worker could not say so."""
        stops = self._agents.stops()
        if stops == self._stops:
            return
        self._stops = stops
        for slot in range(self._agents.capacity):
            info = self._agents.at(slot)
            if info.worker != self._endpoint.index:
                continue
            if info.state == ARRIVING:
                self._seated(info.id)
            elif info.state == STOPPED:
                self._hosted.pop(info.id, None)
                self._nursery.take(info.id)
                self._agents.move(info.id, STOPPED, FREE)

    async def stop_all(self, timeout_s: float) -> None:
        """Run every agent's on_stop and free its record; handlers get `timeout_s` to finish."""
        for task in set(self._warming):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout_s)
        self._stopping = True
        cancelled = set(self._tasks)
        for task in cancelled:
            task.cancel()
        if cancelled:  # what they do about it may need the region, which closes after this
            await asyncio.wait(cancelled, timeout=_CANCELLED_S)
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
