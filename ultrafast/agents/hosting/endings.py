"""`Endings`: how agents fail, are restarted as their type's policy says, and end.

Stands on the agent records, the nursery and the cards. How agents come into the process is the
business of `Lodging`, which is one; what happens to their messages that of `AgentHost`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Coroutine
from typing import Any

from ultrafast.agents.agent import Agent
from ultrafast.agents.context import SystemContext
from ultrafast.agents.hosting.hosted import Hosted
from ultrafast.agents.hosting.nursery import Nursery, is_overridden
from ultrafast.agents.hosting.timers import Due
from ultrafast.agents.monitors import AgentEnded, tell_end
from ultrafast.agents.restarts import Restart
from ultrafast.agents.state import forget_state
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import CONTROL_LANE, REPLY_LANE, Kind, Operation, Reason
from ultrafast.core import Message, now_ns
from ultrafast.core._agents import ACTIVE, DRAINING, FREE, SLOT_BITS
from ultrafast.core._status import OK
from ultrafast.metric_names import Counter

__all__ = ["SLOT_MASK", "Endings", "exceeded", "text_of"]

log = logging.getLogger(__name__)

SLOT_MASK = (1 << SLOT_BITS) - 1
_EAGER = sys.version_info >= (3, 12)


class Endings:
    """The agents of a process, when they fail or end.

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
        self._cards = system.cards
        self._tasks: set[asyncio.Task[Any]] = set()
        # Agents whose object is on its way out: nothing of theirs is to be built again here.
        self._farewells: set[int] = set()
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        # Whether the predecessor left on purpose: then no policy of restarts has a say.
        self.handed_over = False

    def _host(
        self, agent: Agent, agent_id: int, warming: Any, number: int, again: bool = False
    ) -> Hosted | None:
        """Let an agent live here."""
        raise NotImplementedError

    def _furnish(self, hosted: Hosted, agent: Agent) -> None:
        """Give an object its agent's id and context, and have its state saved."""
        raise NotImplementedError

    def _open(self, hosted: Hosted, warming: Any, number: int | None, settle: bool) -> None:
        """Run its on_start; number: of its type, where it lived before; settle: without fault."""
        raise NotImplementedError

    async def _stop(self, hosted: Hosted) -> None:
        """The agent's end: on_stop, then all that was its, then its record."""
        raise NotImplementedError

    def _work(self, hosted: Hosted, message: Message | Due | None) -> None:
        """Handle a message, and those that wait after it."""
        raise NotImplementedError

    def _next(self, hosted: Hosted) -> Message | Due | None:
        """The next message that waits; without any, an agent that is to stop does so."""
        raise NotImplementedError

    def _seated(self, agent_id: int) -> Hosted | None:
        """The agent with an id, where it lives here; built now, if need be."""
        raise NotImplementedError

    # --- an agent's worker died

    def _back(self, agent_id: int, number: int) -> Hosted | None:
        """Host again an agent whose worker died, if its type's policy lets it live on."""
        policy = self._nursery.policy(number)
        if policy.when == "never" and not self.handed_over:
            self._end(agent_id, None, "failed", "its worker died")
            return None
        count = 0 if self.handed_over else self._relapsed(agent_id, policy)
        if count > policy.intensity:
            parent = self._end(agent_id, None, "failed", exceeded("its worker died", policy))
            self._escalate(agent_id, parent, policy, "its worker died")
            return None
        self._agents.restarted(agent_id & SLOT_MASK)
        self._metrics.add(Counter.RESTARTED)
        self._say("restarted", agent_id)
        if (wait_s := policy.wait_s(count)) > 0.0:
            hosted = self._seat(self._nursery.empty(number), agent_id, number)
            hosted.busy = True
            self._loop.call_later(wait_s, self._again, hosted, number, True)
            return hosted
        try:
            agent, warming = self._nursery.build(number)
        except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
            hosted = self._seat(self._nursery.empty(number), agent_id, number)
            self._fell(hosted, text_of(error), number)
            return self._hosted.get(agent_id)
        return self._host(agent, agent_id, warming, number, again=True)

    def _relapsed(self, agent_id: int, policy: Restart) -> int:
        return self._agents.relapsed(agent_id & SLOT_MASK, now_ns(), int(policy.period_s * 1e9))

    # --- an agent fails

    def _fell(self, hosted: Hosted, reason: str, number: int | None = None) -> None:
        """An agent failed, or ended itself (reason ""): a new object after a while, or the end."""
        number = self._number(hosted.id) if number is None else number
        if number is None or self._stopping:
            return
        hosted.fallen = None
        policy = self._nursery.policy(number)
        hosted.let_go()
        if reason:
            log.error("agent %#x (%s) failed: %s", hosted.id, hosted.agent.type, reason)
        count = self._relapsed(hosted.id, policy)
        if policy.when == "never" or count > policy.intensity or hosted.stopping:
            why = reason if policy.when == "never" else exceeded(reason, policy)
            self._hosted.pop(hosted.id, None)
            parent = self._end(hosted.id, hosted, "failed", why)
            self._escalate(hosted.id, parent, policy, why)
            return
        hosted.busy = True
        hosted.agent = self._nursery.empty(number)
        self._agents.restarted(hosted.slot)
        self._metrics.add(Counter.RESTARTED)
        self._say("restarted", hosted.id)
        self._loop.call_later(policy.wait_s(count), self._again, hosted, number, False)

    def _again(self, hosted: Hosted, number: int, settle: bool) -> None:
        """Give an agent a new object; its mailbox waited."""
        if self._stopping or self._hosted.get(hosted.id) is not hosted:
            return
        try:
            agent, warming = self._nursery.build(number)
        except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
            self._fell(hosted, text_of(error), number)
            return
        self._furnish(hosted, agent)
        hosted.busy = False
        self._open(hosted, warming, number, settle)
        if not hosted.busy and self._hosted.get(hosted.id) is hosted:
            self._work(hosted, self._next(hosted))

    def fail(self, agent_id: int, reason: str) -> None:
        """Have an agent fail, or with reason "" end, once its handlers have ended."""
        hosted = self._seated(agent_id)
        if hosted is None or hosted.fallen is not None:
            return
        if reason == "":
            policy = self._nursery.policy(self._number(agent_id) or 0)
            if policy.when != "always":
                if self._agents.move(agent_id, ACTIVE, DRAINING) == OK:
                    hosted.stopping = True
                    self._rest(hosted)
                return
        hosted.fallen = reason
        self._rest(hosted)

    def _rest(self, hosted: Hosted) -> None:
        """Whatever an agent is to do when it has nothing to handle: now, if it has not."""
        if hosted.busy or hosted.running:
            return
        if hosted.fallen is not None:
            hosted.busy = True
            self._run(self._fall(hosted))
        elif hosted.stopping and not hosted.mailbox:
            hosted.busy = True
            self._run(self._stop(hosted))

    async def _fall(self, hosted: Hosted) -> None:
        reason, hosted.fallen = hosted.fallen or "", None
        if reason == "":
            await self._farewell(hosted)
        self._fell(hosted, reason)

    def _escalate(self, agent_id: int, parent: int, policy: Restart, reason: str) -> None:
        if not policy.escalate:
            return
        if parent and self._order(parent, Operation.FAIL, f"agent {agent_id:#x}: {reason}"):
            return
        log.error("agent %#x failed for good and there is no agent above it: %s", agent_id, reason)
        self._say("escalated", agent_id, reason=reason)

    def _order(self, agent_id: int, operation: Operation, reason: str) -> bool:
        """Have another agent's host do something about it; False: it is gone or cannot be told."""
        info = self._agents.look(agent_id)
        if info is None:
            return False
        data = reason.encode()
        head = (int(Kind.CONTROL), 0, 0, agent_id, 0, now_ns(), 0, 0, int(operation))
        return self._endpoint.post(info.worker, CONTROL_LANE, data, *head)

    def _number(self, agent_id: int) -> int | None:
        info = self._agents.look(agent_id)
        return None if info is None else info.type

    def _end(self, agent_id: int, hosted: Hosted | None, how: Any, reason: str) -> int:
        """An agent is no more: all that was its is given back, who asked is told: its parent."""
        if hosted is not None:
            hosted.let_go()
            waiting, hosted.mailbox = hosted.mailbox, None
            for each in waiting or ():
                if not isinstance(each, Due):
                    self._system.bus.dead_letter(each, Reason.AGENT_GONE)
        card = self._cards.drop(agent_id)
        had_state = hosted is None or hosted.agent.state_saved is not None
        if had_state and (card is None or not card.name):
            forget_state(self._endpoint.table, agent_id, "")
        if card is not None:
            tell_end(
                self._endpoint, card.watchers, AgentEnded(agent=agent_id, how=how, reason=reason)
            )
            for linked in card.links:
                if how == "failed":
                    self._order(linked, Operation.FAIL, f"its link {agent_id:#x} failed: {reason}")
                self._cards.unlink(linked, agent_id)
        info = self._agents.look(agent_id)
        if info is not None and self._agents.end(agent_id, info.state, FREE) == OK:
            self._metrics.add(Counter.TERMINATED)
            if how == "failed":
                self._say("failed", agent_id, error=reason)
            else:
                self._say("terminated", agent_id)
        for marker in (hosted.markers if hosted is not None else None) or ():
            self._confirm(marker)
        return 0 if info is None else info.parent

    # --- helpers

    def _seat(self, agent: Agent, agent_id: int, number: int) -> Hosted:
        hosted = self._hosted[agent_id] = Hosted(agent, agent_id)
        hosted.limit = self._nursery.concurrent.get(number, 1)
        return hosted

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

    async def _farewell(self, hosted: Hosted) -> None:
        try:
            if is_overridden(hosted.agent, "on_stop"):
                stopped = hosted.agent.on_stop()
                if inspect.isawaitable(stopped):
                    await stopped
            if hosted.agent.state_saved not in (None, "by-hand"):
                hosted.agent.state.save()
        except Exception as error:  # the agent may raise anything; it ends all the same
            log.error("on_stop of agent %#x failed", hosted.id, exc_info=error)

    def _say(self, what: str, agent_id: int, **more: str) -> None:
        self._system.bus.say(f"agent.{what}", {"agent": agent_id, **more})

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


def text_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def exceeded(reason: str, policy: Restart) -> str:
    return (
        f"{reason or 'it ended itself'}; it was restarted {policy.intensity} times within "
        f"{policy.period_s:g} s, as often as its type allows"
    )
