"""`Watch`: tells a process of the ends of agents, each end once.

Stands on the cards and an endpoint. Whoever ends an agent writes to its watchers; where that is
lost with a process or to a full inbox, a look at the record each second says it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, Final, Literal

import msgspec

from ultrafast.agents.cards import Cards
from ultrafast.bus.endpoint import Endpoint
from ultrafast.bus.wire import CONTROL_LANE, Kind
from ultrafast.core import Message

__all__ = ["AgentEnded", "Monitor", "Watch", "tell_end"]

_LOOK_S: Final = 1.0


class AgentEnded(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an agent.

    Attributes
    ----------
    agent : int
    how : {"stopped", "failed", "gone"}
        stopped: it was terminated, or ended itself. failed: for good. gone: it has ended, and who
        ended it did not live to say how; or it had ended before it was watched.
    reason : str
    """

    agent: int
    how: Literal["stopped", "failed", "gone"]
    reason: str


class Monitor:
    """The end of one agent, to be awaited or iterated over; `monitor` makes it.

    Parameters
    ----------
    watch, agent_id, token
        Given by `monitor`.
    """

    def __init__(self, watch: Watch, agent_id: int, token: int) -> None:
        self._watch = watch
        self._agent_id = agent_id
        self._token = token
        self._end: asyncio.Future[AgentEnded] = asyncio.get_running_loop().create_future()
        self._given = False
        # A look found it gone; what whoever ended it wrote may be still to be read.
        self._missed = False

    async def wait(self, timeout_s: float | None = None) -> AgentEnded:
        """Wait for the end; `TimeoutError` when it has not come in time."""
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(self._end)

    def __await__(self) -> Generator[Any, None, AgentEnded]:
        return self.wait().__await__()

    def __aiter__(self) -> Monitor:
        return self

    async def __anext__(self) -> AgentEnded:
        if self._given:
            raise StopAsyncIteration
        end = await self.wait()
        self._given = True
        return end

    def close(self) -> None:
        """Watch no more. May be called twice."""
        self._watch.forget(self._agent_id, self._token)
        if not self._end.done():
            self._end.cancel()

    def _ended(self, end: AgentEnded) -> None:
        if not self._end.done():
            self._end.set_result(end)


class Watch:
    """What a process watches.

    Parameters
    ----------
    endpoint : Endpoint
    cards : Cards
    """

    def __init__(self, endpoint: Endpoint, cards: Cards) -> None:
        self._endpoint = endpoint
        self._cards = cards
        self._monitors: dict[int, Monitor] = {}
        self._looking: asyncio.TimerHandle | None = None
        endpoint.on(Kind.ENDED, self._told)

    def monitor(self, agent_id: int) -> Monitor:
        """Watch an agent; see `SystemContext.monitor`."""
        lives = self._endpoint.agents.look(agent_id) is not None
        token = self._endpoint.correlation()
        monitor = self._monitors[token] = Monitor(self, agent_id, token)
        place = (self._endpoint.index, token)
        try:
            self._cards.update(agent_id, lambda card: card.watchers.append(place))
        except BaseException:  # raised again, with nothing registered
            del self._monitors[token]
            raise
        monitor._missed = not lives
        self._look_at(token, monitor)
        if self._monitors and self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look)
        return monitor

    def forget(self, agent_id: int, token: int) -> None:
        """Watch no more."""
        if self._monitors.pop(token, None) is None or self._endpoint.closed:
            return
        if self._cards.read(agent_id) is not None:
            self._cards.update(agent_id, lambda card: _without(card.watchers, token))

    def _told(self, message: Message) -> None:
        monitor = self._monitors.pop(message.correlation, None)
        try:
            if monitor is not None:
                monitor._ended(msgspec.msgpack.decode(message.payload, type=AgentEnded))
        finally:
            message.release()

    def _look_at(self, token: int, monitor: Monitor) -> None:
        if self._endpoint.agents.look(monitor._agent_id) is None:
            if not monitor._missed:
                # Whoever ended it wrote before, and that has until the next look to be read.
                monitor._missed = True
                return
            self._monitors.pop(token, None)
            self._cards.drop(monitor._agent_id)
            monitor._ended(AgentEnded(agent=monitor._agent_id, how="gone", reason="not alive"))

    def _look(self) -> None:
        self._looking = None
        if self._endpoint.closed or self._endpoint.region.closed:
            return
        for token, monitor in list(self._monitors.items()):
            self._look_at(token, monitor)
        if self._monitors:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look)


def tell_end(endpoint: Endpoint, watchers: list[tuple[int, int]], end: AgentEnded) -> None:
    """Write to those who watch an agent; a full inbox will look for itself."""
    if not watchers:
        return
    data = msgspec.msgpack.encode(end)
    for queue, token in watchers:
        endpoint.post(queue, CONTROL_LANE, data, int(Kind.ENDED), 0, 0, 0, token)


def _without(watchers: list[tuple[int, int]], token: int) -> None:
    watchers[:] = [each for each in watchers if each[1] != token]
