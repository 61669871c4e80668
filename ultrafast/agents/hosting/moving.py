"""`Moving`: how agents leave a worker for another, and how they arrive.

Stands on `Lodging`, whose agents they are, and on the core's departures, which say when all that
was sent to an agent here has come. At each step the agent's record says who has it, so that a
successor of either worker goes on where its predecessor died. Which agents move, and when, others
decide.
"""

from __future__ import annotations

import itertools
import logging
import random
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from ultrafast.agents.context import SystemContext
from ultrafast.agents.hosting.endings import text_of
from ultrafast.agents.hosting.hosted import Hosted
from ultrafast.agents.hosting.lodging import Lodging
from ultrafast.agents.hosting.timers import Due
from ultrafast.agents.placing.rebalancing import Shedding
from ultrafast.agents.placing.relocation import Answer
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import REPLY_LANE, Kind, Operation, Reason
from ultrafast.core import AgentInfo, Departure, Message, now_ns
from ultrafast.core._agents import ACTIVE, ARRIVING, MOVING, SLOT_BITS, TAKING
from ultrafast.core._status import OK
from ultrafast.metric_names import Counter

__all__ = ["Moving"]

log = logging.getLogger(__name__)

_SLOT_MASK: Final = (1 << SLOT_BITS) - 1
# Between two looks at what is waited for: short at first, for most waits are.
_LOOK_S: Final = 0.001
_LONGEST_LOOK_S: Final = 0.016
# Orders that go where their agent is.
_FOLLOW: Final = (Operation.FAIL, Operation.CANCEL, Operation.STOP_NOW, Operation.END)
# Agents among which those that may move are looked for, at a time.
_SAMPLE_FROM: Final = 8192


class _Group:
    """Agents that left at one time: what is waited for, and which of them are still here."""

    def __init__(self, departure: Departure, ids: Iterable[int], until_ns: int) -> None:
        self.departure = departure
        self.ids = set(ids)
        self.until_ns = until_ns
        self.over = False


class Moving(Lodging):
    """The agents of a process, when they change it for another.

    Parameters
    ----------
    system, endpoint
        As `Lodging` wants them.
    """

    # For who is stopped between looking where an agent lives and sending there is waited so long.
    patience_s = 30.0

    def __init__(self, system: SystemContext, endpoint: Endpoint) -> None:
        super().__init__(system, endpoint)
        self._groups: list[_Group] = []
        self._unsaved: set[int] = set()
        # What came before its agent, by the agent; and what came after it had gone, in order.
        self._kept: dict[int, list[Message]] = {}
        self._strays: deque[Message] = deque()
        self._look_s = _LOOK_S
        self._looking = False
        self._staying = False
        self._shedding = Shedding(self._movable, self._handled, self.give_away)

    def _enqueue(self, hosted: Hosted, message: Message | Due) -> None:
        """Have a message wait in an agent's mailbox."""
        raise NotImplementedError

    # --- leaving

    def give_away(self, ids: Iterable[int], to: int) -> list[Answer]:
        """Have agents that are idle live in another worker.

        Parameters
        ----------
        ids : iterable of int
        to : int
            Its queue.

        Returns
        -------
        list of Answer
            For each; one that has BEGUN goes on by itself.
        """
        answers, left = [], []
        for agent_id in ids:
            answer = self._leave(agent_id, to)
            answers.append(answer)
            if answer == Answer.BEGUN:
                left.append(agent_id)
        if left:
            self._depart(left)
        return answers

    def _leave(self, agent_id: int, to: int) -> Answer:
        hosted = self._hosted.get(agent_id)
        if hosted is None or self._staying or self._stopping:
            return Answer.NOT_HERE if hosted is None else Answer.BUSY
        number = self._number(agent_id)
        if number is None or not self._nursery.is_movable(number):
            return Answer.NOT_MOVABLE
        if not _is_idle(hosted) or not self._save(hosted):
            return Answer.BUSY
        left = self._agents.leave(agent_id, self._endpoint.index, to)
        return Answer.BEGUN if left == OK else Answer.BUSY

    def _depart(self, ids: Iterable[int]) -> None:
        """Wait for what was sent to agents that have left, here."""
        departure = Departure(self._endpoint.queues, self._endpoint.index)
        until_ns = now_ns() + int(self.patience_s * 1e9)
        self._groups.append(_Group(departure, ids, until_ns))
        self._look_soon(0.0)

    def _go_on(self, group: _Group) -> None:
        """Let those agents go for whom nothing can come here any more."""
        if not group.over:
            patient = now_ns() < group.until_ns
            group.over = group.departure.is_over(patient)
            if not patient and group.departure.on_way:
                log.warning(
                    "%d processes stand still while they send: %d agents move without waiting for "
                    "them longer than %.1f s; what they were sending will be sent on",
                    group.departure.on_way,
                    len(group.ids),
                    self.patience_s,
                )
        # All of it is taken from the inbox; what is not handed out yet is looked for here.
        if not group.over or self._endpoint.has_for(group.ids):
            return
        gone: dict[int, array[int]] = {}
        for agent_id in list(group.ids):
            hosted = self._hosted.get(agent_id)
            if hosted is not None:
                if not _is_idle(hosted) or not self._save(hosted):
                    continue
                info = self._agents.look(agent_id)
                hosted.let_go()
                del self._hosted[agent_id]
                if info is not None and self._agents.move(agent_id, MOVING, ARRIVING) == OK:
                    gone.setdefault(info.worker, array("Q")).append(agent_id)
            group.ids.discard(agent_id)
        for worker, ids in gone.items():
            self._system.tell_host(worker, ids)

    def _save(self, hosted: Hosted) -> bool:
        """Save an agent's state, if that is the host's business: whether it could be."""
        if hosted.agent.state_saved in (None, "by-hand"):
            return True
        try:
            hosted.agent.state.save()
        except Exception as error:  # noqa: BLE001 - no room, or its own objects raised
            if hosted.id not in self._unsaved:
                self._unsaved.add(hosted.id)
                log.error("agent %#x stays until its state can be saved: %s", hosted.id, error)
            return False
        self._unsaved.discard(hosted.id)
        return True

    # --- arriving

    def _restore(self, agent_id: int, repeated: bool = False) -> Hosted | None:
        if agent_id in self._farewells:
            return None
        info = self._agents.look(agent_id)
        here = self._endpoint.index
        if info is not None and info.state == MOVING:
            if info.left != here:
                return None  # its messages are kept until it comes
            hosted = self._back(agent_id, info.type)  # the predecessor was giving it away
            self._depart((agent_id,))
            return hosted
        if info is not None and info.state == ARRIVING:
            return self._arrive(info) if info.worker == here else None
        return super()._restore(agent_id, repeated)

    def _arrive(self, info: AgentInfo) -> Hosted | None:
        agent_id = info.id
        if self._agents.move(agent_id, ARRIVING, ACTIVE) != OK:
            return None
        self._metrics.add(Counter.MOVED)
        self._shedding.came(agent_id)
        left, worker = map(self._system.host_number, (info.left, info.worker))
        self._system.bus.say("agent.moved", {"agent": agent_id, "left": left, "worker": worker})
        hosted = self._seat(self._nursery.empty(info.type), agent_id, info.type)
        hosted.busy = True
        orders = []
        for message in self._kept.pop(agent_id, ()):
            if message.kind == Kind.CONTROL:
                orders.append(message)
            else:
                self._enqueue(hosted, message)
        if not hosted.mailbox:
            self._agents.set_depth(hosted.slot, 0)
        try:
            agent, warming = self._nursery.build(info.type)
        except Exception as error:  # noqa: BLE001 - the agent's own code may raise anything
            self._fell(hosted, text_of(error), info.type)
        else:
            self._furnish(hosted, agent)
            hosted.busy = False
            self._open(hosted, warming, info.type, False)
        if not hosted.busy and self._hosted.get(agent_id) is hosted:
            self._work(hosted, self._next(hosted))
        for order in orders:
            self._controlled(order)
        return self._hosted.get(agent_id)

    def _keep(self, message: Message) -> bool:
        """Keep a message whose agent is on its way here, or send it on to where the agent is.

        Returns
        -------
        bool
            False: its agent takes no messages, here or elsewhere; it is still the caller's.
        """
        info = self._agents.look(message.receiver)
        here = self._endpoint.index
        if info is None or info.state not in TAKING:
            return False
        # ARRIVING: it has come since this message found nobody; the next look builds it.
        if info.state in (MOVING, ARRIVING) and info.worker == here:
            kept = self._kept.setdefault(info.id, [])
            goes_back = info.state == MOVING and self._is_for_old_home(message, kept)
            if goes_back and message.forward(info.left, message.lane) == OK:
                return True
            kept.append(message)
            self._agents.set_depth(info.id & _SLOT_MASK, len(kept))
        elif info.worker != here:
            self._strays.append(message)
            self._send_strays()
        else:
            return False
        self._look_soon(_LOOK_S)
        return True

    @staticmethod
    def _is_for_old_home(message: Message, kept: list[Message]) -> bool:
        """Whether a message calls off a task that the agent was given where it comes from, or the
        agent itself."""
        if message.kind == Kind.CONTROL and message.extra == Operation.STOP_NOW:
            return True
        if message.kind != Kind.CONTROL or message.extra != Operation.CANCEL:
            return False
        return all(each.correlation != message.correlation for each in kept)

    def _send_strays(self) -> None:
        """Send on, in order, what came for agents that live elsewhere by now."""
        while self._strays:
            message = self._strays[0]
            info = self._agents.look(message.receiver)
            if info is None or info.state not in TAKING:
                self._strays.popleft()
                self._lose(message)
            elif info.worker == self._endpoint.index:
                self._strays.popleft()
                self._endpoint.dispatch(message)  # it came back meanwhile
            elif message.forward(info.worker, message.lane) == OK:
                self._strays.popleft()
            else:
                return  # no room there: tried again

    def _lose(self, message: Message) -> None:
        if message.kind == Kind.CONTROL:
            self._confirm(message)  # whoever asked for the agent's end need not wait any longer
        else:
            self._system.bus.dead_letter(message, Reason.AGENT_GONE)

    # --- looking after both

    def _look_soon(self, wait_s: float) -> None:
        if self._looking:
            return
        self._looking = True
        self._look_s = _LOOK_S
        self._loop.call_later(wait_s, self._look)

    def _look(self) -> None:
        self._looking = False
        if self._stopping or self._staying or self._endpoint.closed:
            return
        for group in self._groups:
            self._go_on(group)
        self._groups = [group for group in self._groups if group.ids]
        for agent_id in list(self._kept):
            if self._seated(agent_id) is None:
                info = self._agents.look(agent_id)
                if info is None or info.state not in TAKING:
                    for message in self._kept.pop(agent_id, ()):
                        self._lose(message)
        self._send_strays()
        if self._groups or self._kept or self._strays:
            self._looking = True
            self._loop.call_later(self._look_s, self._look)
            self._look_s = min(2 * self._look_s, _LONGEST_LOOK_S)

    def stay(self) -> None:
        """From now on let no agent go or come: a successor goes on with it."""
        self._staying = True

    def _told_to_move(self, message: Message) -> None:
        """Agents are to be given away: ids, then the queue of the worker that gets them."""
        with message.payload as payload, payload.cast("Q") as numbers:
            *ids, to = numbers.tolist()
        asker = message.reply_queue, message.correlation
        message.release()
        answers = self.give_away(ids, to)
        if asker[0]:
            head = (int(Kind.REPLY), 0, 0, 0, asker[1])
            self._endpoint.post(asker[0] - 1, REPLY_LANE, bytes(answers), *head)

    def _controlled(self, message: Message) -> None:
        if message.extra == Operation.MOVE:
            self._told_to_move(message)
            return
        if message.extra == Operation.SHED:
            to, share = msgspec.msgpack.decode(message.payload, type=tuple[int, float])
            message.release()
            self._run(self._shed(to, share))
            return
        if message.extra in _FOLLOW:
            agent_id = message.receiver
            if self._seated(agent_id) is None and self._keep(message):
                return
            if message.extra == Operation.END and self._is_leaving(agent_id):
                self._strays.append(message)  # after what is kept for it there
                self._send_strays()
                self._look_soon(_LOOK_S)
                return
        super()._controlled(message)

    def _is_leaving(self, agent_id: int) -> bool:
        info = self._agents.look(agent_id)
        return info is not None and info.state == MOVING and info.left == self._endpoint.index

    async def _shed(self, to: int, share: float) -> None:
        # Those that were told to go are gone once this inbox's backlog is worked off; until then it
        # says nothing of how much is left to do for the others.
        if to != self._endpoint.index and not self._groups:
            await self._shedding.shed(to, share)

    def _movable(self) -> Iterator[int]:
        """Ids of agents that may be given away, from any of them on."""
        hosted = self._hosted
        first = random.randrange(max(1, len(hosted) - _SAMPLE_FROM + 1))
        for agent_id in list(itertools.islice(hosted, first, first + _SAMPLE_FROM)):
            number = self._number(agent_id)
            if number is not None and self._nursery.is_movable(number):
                yield agent_id

    def _handled(self, agent_id: int) -> int | None:
        info = self._agents.look(agent_id)
        return None if info is None else info.handled

    async def stop_all(self, timeout_s: float) -> None:
        """Run every agent's on_stop and free its record; what came too early is a dead letter."""
        await super().stop_all(timeout_s)
        for kept in (*self._kept.values(), list(self._strays)):
            for message in kept:
                self._lose(message)
        self._kept.clear()
        self._strays.clear()


def _is_idle(hosted: Hosted) -> bool:
    return not (
        hosted.busy
        or hosted.running
        or hosted.mailbox
        or hosted.stopping
        or hosted.fallen is not None
    )
