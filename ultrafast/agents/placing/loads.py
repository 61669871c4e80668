"""`Loads`: how many agents each host has, and which host is to get the next.

Stands on the agent records. Every process counts for itself, now and then, and adds what it gave
out since: what others gave out meanwhile it sees at its next count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ultrafast.core import Agents, now_ns

__all__ = ["Loads"]

# Between two looks at the counts of all hosts.
_KEPT_NS: Final = 100_000_000


class Loads:
    """Chooses the host that has the fewest agents, warm ones counted.

    Parameters
    ----------
    agents : Agents
    first : int
        Where to begin among hosts that have as many, so that processes begin at different ones.
    """

    def __init__(self, agents: Agents, first: int) -> None:
        self._agents = agents
        self._first = first
        self._loads: dict[int, int] = {}
        self._until_ns = 0

    def least(self, hosts: Sequence[int], now: int) -> int:
        """The host of the next agent, which is taken to be there from now on.

        Parameters
        ----------
        hosts : sequence of int
            Queues of the hosts there are.
        now : int
            CLOCK_MONOTONIC.
        """
        if len(hosts) == 1:
            return hosts[0]
        if now > self._until_ns or len(self._loads) != len(hosts):
            self._count(hosts)
        loads = self._loads
        worker = min(loads, key=loads.__getitem__)
        loads[worker] += 1
        return worker

    def shares(self, hosts: Sequence[int], count: int, now: int) -> dict[int, int]:
        """How many of `count` agents each host is to get, so that all have as many as can be."""
        if now > self._until_ns or len(self._loads) != len(hosts):
            self._count(hosts)
        loads = self._loads
        ordered = sorted(loads, key=loads.__getitem__)
        # The level to which the lowest are filled up: those that stand above it get none.
        filled, total = 0, count
        for worker in ordered:
            if filled and loads[worker] * filled >= total:
                break
            total += loads[worker]
            filled += 1
        level, more = divmod(total, filled)
        shares = {}
        for at, worker in enumerate(ordered[:filled]):
            share = level + (at < more) - loads[worker]
            if share > 0:
                shares[worker] = share
                loads[worker] += share
        return shares

    def _count(self, hosts: Sequence[int]) -> None:
        at = self._first % len(hosts)
        turned = [*hosts[at:], *hosts[:at]]
        self._loads = {worker: self._agents.load(worker) for worker in turned}
        self._until_ns = now_ns() + _KEPT_NS
