"""`Ender`: has agents stop, wherever they live, and sees to those that nobody has stop any more.

Stands on the records and on words to hosts. An agent's host does the rest: `Endings` and `Lodging`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import CONTROL_LANE, LANES, Kind, Operation
from ultrafast.core import now_ns
from ultrafast.core._agents import ACTIVE, ARRIVING, DRAINING, MOVING, TAKING
from ultrafast.core._status import OK, STALE
from ultrafast.core.answers import AgentInfo
from ultrafast.errors import QueueFull

__all__ = ["Ender"]

_RETRY_S: Final = 0.01


class Ender:
    """Has agents stop.

    Parameters
    ----------
    endpoint : Endpoint
        This process's.

    Notes
    -----
    Who moves a record to DRAINING owes its host the markers (ADR 0009). One that dies before it has
    put them all leaves an agent that takes nothing and does not end: `finish` has them put again.
    It is called where a death is mended, by a host that begins, and by a manager that adopts.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._agents = endpoint.agents
        self._owed: dict[int, tuple[int, Operation]] = {}

    async def terminate(self, agent_id: int, drain: bool, timeout_s: float) -> bool:
        """Stop an agent; see `SystemContext.terminate_agent`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while (status := self._agents.move(agent_id, ACTIVE, DRAINING)) != OK:
            info = self._agents.look(agent_id)
            if status == STALE or info is None or info.state not in TAKING:
                return False
            if info.state in (MOVING, ARRIVING):
                await self._end_moving(info, drain, until - loop.time())
                return True
            if loop.time() > until:
                raise TimeoutError(f"agent {agent_id:#x} was not started within {timeout_s:g} s")
            await asyncio.sleep(0.001)
        # From here on nobody can send to it. A marker in each lane tells the host when it has seen
        # the last message of that lane.
        info = self._agents.look(agent_id)
        if info is None:
            return True
        operation = Operation.STOP if drain else Operation.STOP_NOW
        correlation = self._endpoint.correlation()
        answer = self._endpoint.expect(correlation, until - loop.time())
        head = (int(Kind.CONTROL), 0, 0, agent_id, correlation, now_ns(), self._endpoint.index + 1)
        told = False
        try:
            for lane in range(LANES) if drain else (CONTROL_LANE,):
                left_s = until - loop.time()
                if not await self._endpoint.post_within(
                    left_s, info.worker, lane, b"", *head, 0, int(operation)
                ):
                    raise QueueFull(
                        f"the host of agent {agent_id:#x} took no word within {timeout_s:g} s; the "
                        "agent takes no messages any more, and stops once its host hears of it"
                    )
            told = True
        finally:
            if not told:
                answer.cancel()
                self._owe(agent_id, info.worker, Operation.END if drain else operation)
        (await answer).release()
        return True

    async def _end_moving(self, info: AgentInfo, drain: bool, timeout_s: float) -> None:
        """Stop an agent that changes its worker. To drain it, where it goes to: all that was sent
        to it comes there. At once, where it is."""
        has_left = drain or info.state == ARRIVING
        answer = await self._endpoint.ask(
            info.worker if has_left else info.left,
            CONTROL_LANE,
            b"",
            Kind.CONTROL,
            timeout_s=timeout_s,
            receiver=info.id,
            sent_ns=now_ns(),
            extra=int(Operation.END if drain else Operation.STOP_NOW),
        )
        answer.release()

    def finish(self, worker: int | None = None) -> int:
        """Have every agent end that is DRAINING, whoever began that.

        Parameters
        ----------
        worker : int, optional
            Only those of the host with this inbox.

        Returns
        -------
        int
            How many there are. One whose markers have all been put gets more of them, which changes
            nothing.

        Notes
        -----
        Cost: one pass over the records.
        """
        found = 0
        for host, ids in self._agents.in_state(DRAINING).items():
            if worker is None or host == worker:
                found += len(ids)
                for agent_id in ids:
                    self._owe(agent_id, host, Operation.END)
        return found

    def _owe(self, agent_id: int, worker: int, operation: Operation) -> None:
        """Have a host told as soon as its inbox takes it."""
        self._owed[agent_id] = worker, operation
        if len(self._owed) == 1:
            self._pay()

    def _pay(self) -> None:
        if self._endpoint.closed:
            return
        for agent_id, (worker, operation) in list(self._owed.items()):
            head = (int(Kind.CONTROL), 0, 0, agent_id, 0, now_ns(), 0, 0, int(operation))
            if self._endpoint.post(worker, CONTROL_LANE, b"", *head):
                del self._owed[agent_id]
        if self._owed:
            asyncio.get_running_loop().call_later(_RETRY_S, self._pay)
